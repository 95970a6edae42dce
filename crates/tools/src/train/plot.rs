//! Plots the loss curves of a stage over samples, overall and by kind, as SVG beside the CSV files.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::coord::combinators::IntoLogRange;
use plotters::prelude::*;

use super::checkpoint;
use unireal::{Error, Result};

/// A line of a plot: its name and its points (samples, loss).
type Line = (String, Vec<(f64, f64)>);

/// Maximum number of points per line; more are averaged, since a plot of every tenth step of a day is noise.
const MAX_POINTS: usize = 400;

/// Plots `curves/NAME.svg` and `curves/NAME-kinds.svg` of a stage from the CSV files beside them.
///
/// # Errors
/// [`Error::Format`] when a file cannot be read or written.
pub(super) fn draw(run: &Path, stage: &str) -> Result<()> {
    let folder = run.join("curves");
    let training = read(&folder.join(format!("{stage}.csv")), |f| {
        (String::new(), f[4])
    })?;
    let mut overall: Vec<Line> = rename(training, "training");
    overall.extend(rename(
        read(&folder.join(format!("{stage}-held-out.csv")), |f| {
            (String::new(), f[2])
        })?,
        "held out",
    ));
    write(
        &folder.join(format!("{stage}.svg")),
        &format!("{stage}: loss"),
        &overall,
    )?;
    let kinds = read(&folder.join(format!("{stage}-kinds.csv")), |f| {
        (f[2].to_owned(), f[3])
    })?;
    let title = format!("{stage}: loss by kind");
    write(&folder.join(format!("{stage}-kinds.svg")), &title, &kinds)
}

/// Gives all lines the same name.
fn rename(lines: Vec<Line>, name: &str) -> Vec<Line> {
    lines
        .into_iter()
        .map(|(_, points)| (name.to_owned(), points))
        .collect()
}

/// Reads the lines of a CSV file whose second column is samples; `of` returns a row's line name and loss. A missing file has none.
fn read(path: &Path, of: impl for<'a> Fn(&[&'a str]) -> (String, &'a str)) -> Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path, e)),
    };
    let columns = text
        .lines()
        .next()
        .map_or(0, |line| line.split(',').count());
    let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in text.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        if fields.len() != columns || columns < 3 {
            continue;
        }
        let (name, loss) = of(&fields);
        if let (Ok(samples), Ok(loss)) = (fields[1].parse(), loss.parse()) {
            lines.entry(name).or_default().push((samples, loss));
        }
    }
    let thinned = lines
        .into_iter()
        .map(|(name, points)| (name, thin(&points)));
    Ok(thinned.collect())
}

/// Averages neighbouring points, so that at most [`MAX_POINTS`] remain.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let count = chunk.len() as f64;
        let (x, y) = chunk
            .iter()
            .fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        (x / count, y / count)
    };
    points.chunks(size).map(mean).collect()
}

/// Writes the plot of `lines`, unless they have no losses to plot.
fn write(path: &Path, title: &str, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let (mut low, mut high) = (f64::INFINITY, 0f64);
    for (_, loss) in points().filter(|(_, loss)| *loss > 0.0) {
        (low, high) = (low.min(loss), high.max(loss));
    }
    let right = points().map(|(samples, _)| samples).fold(0.0, f64::max);
    if low >= high || right <= 0.0 {
        return Ok(()); // No line has two points yet.
    }
    let mut svg = String::new();
    chart(&mut svg, title, lines, right, (low, high))
        .map_err(|e| Error::Internal(format!("plotting {title}: {e}")))?;
    checkpoint::write(path, svg.as_bytes())
}

/// Draws `lines` up to `right` samples, with losses from `low` to `high` on a logarithmic axis.
fn chart(
    svg: &mut String,
    title: &str,
    lines: &[Line],
    right: f64,
    (low, high): (f64, f64),
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (900, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..right, (low * 0.95..high * 1.05).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("samples")
        .y_desc("loss")
        .light_line_style(WHITE)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .draw()?;
    for (i, (name, points)) in lines.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_every_kind_and_has_its_points() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("curves");
        std::fs::create_dir(&folder).unwrap();
        let mut overall = String::from("step,samples,seconds,rate,loss\n");
        let mut kinds = String::from("step,samples,kind,loss,count\n");
        for step in 1..=1000 {
            overall += &format!(
                "{step},{},1.0,1e-3,{:.5}\n",
                8 * step,
                1.0 / f64::from(step)
            );
            kinds += &format!(
                "{step},{},edit/move,0.5,4\n{step},{},control,0.25,4\n",
                8 * step,
                8 * step
            );
        }
        overall += "1001,80";
        std::fs::write(folder.join("a.csv"), overall).unwrap();
        std::fs::write(folder.join("a-kinds.csv"), kinds).unwrap();
        draw(run.path(), "a").unwrap();
        let svg = std::fs::read_to_string(folder.join("a.svg")).unwrap();
        let line = svg
            .split("<polyline")
            .find(|part| part.matches(',').count() > 300);
        assert!(
            line.is_some_and(|line| line.matches(',').count() <= 402),
            "{}",
            svg.len()
        );
        let svg = std::fs::read_to_string(folder.join("a-kinds.svg")).unwrap();
        assert!(svg.contains("edit/move") && svg.contains("control"));
    }
}
