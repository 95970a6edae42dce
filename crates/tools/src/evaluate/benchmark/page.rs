//! Renders a run as static HTML pages: the table, and every case with its images, a hundred per page. The pages have no
//! scripts, work from a disk or a server, and escape all text of the data set.

use std::path::{Path, PathBuf};

use super::super::profile::{Metric, Profile, Reference};
use super::case::Case;
use super::report::{Report, Table, table};
use super::scores::Scored;
use crate::train::checkpoint;
use unireal::Image;
use unireal::Result;

/// Maximum number of cases per page.
const CASES: usize = 100;

/// Maximum side of an image on the page, in pixels.
const SIDE: u32 = 320;

/// Escapes text for HTML, including quoted attributes.
pub(in crate::evaluate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Returns the head of a page with a policy against inline scripts; `script` is the name of one allowed file.
pub(in crate::evaluate) fn head(title: &str, style: &str, script: Option<&str>) -> String {
    let policy = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file:; style-src 'self' file:";
    let (policy, script) = match script {
        None => (policy.to_owned(), String::new()),
        Some(file) => (
            format!("{policy}; script-src 'self' file:"),
            format!("<script src=\"{file}\" defer></script>\n"),
        ),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"{style}\">\n{script}",
        escape(title)
    )
}

/// Returns the images of a case: label, path in the run's folder and source file.
pub(super) fn images(
    case: &Case,
    profile: &Profile,
    scored: &Scored,
) -> Vec<(&'static str, PathBuf, Option<PathBuf>)> {
    let path = |name: &str| PathBuf::from("pictures").join(format!("{}-{name}.jpg", case.id));
    let mut all = vec![("input", path("input"), Some(scored.input.clone()))];
    all.push(("result", path("result"), Some(scored.result.clone())));
    if profile.reference == Reference::Target {
        all.push(("truth", path("truth"), case.references.first().cloned()));
    }
    all.retain(|(_, _, source)| source.is_some());
    all
}

/// Writes the images of a case for the page.
///
/// # Errors
/// [`unireal::Error::Format`] when an image cannot be read or written.
pub(super) fn write_images(
    case: &Case,
    profile: &Profile,
    scored: &Scored,
    out: &Path,
) -> Result<()> {
    for (_, path, source) in images(case, profile, scored) {
        let Some(source) = source else { continue };
        let path = out.join(path);
        if let Some(folder) = path.parent() {
            let fail = |e: std::io::Error| unireal::Error::io(folder, e);
            std::fs::create_dir_all(folder).map_err(fail)?;
        }
        shrink(&Image::open(&source)?, SIDE).save(&path)?;
    }
    Ok(())
}

/// Returns the image, scaled down if its longer side exceeds `max_side`.
pub(in crate::evaluate) fn shrink(image: &Image, max_side: u32) -> Image {
    let long = image.width.max(image.height);
    if long <= max_side {
        return image.clone();
    }
    let side = |side: u32| (side * max_side / long).max(1);
    image.resize(side(image.width), side(image.height))
}

/// Writes the pages; the first is `index.html`.
///
/// # Errors
/// [`unireal::Error::Format`] when a file cannot be written.
pub(super) fn write(
    out: &Path,
    report: &Report,
    profile: &Profile,
    cases: &[(&Case, &Scored)],
) -> Result<()> {
    checkpoint::write(&out.join("page.css"), include_bytes!("page.css"))?;
    let pages = cases.len().div_ceil(CASES).max(1);
    let file = |page: usize| match page {
        0 => "index.html".to_owned(),
        _ => format!("page-{}.html", page + 1),
    };
    for page in 0..pages {
        let links: String = (0..pages)
            .map(|other| {
                if other == page {
                    format!("<a aria-current=\"page\">{}</a>", other + 1)
                } else {
                    format!("<a href=\"{}\">{}</a>", file(other), other + 1)
                }
            })
            .collect();
        let nav = match pages {
            1 => String::new(),
            _ => format!("<nav aria-label=\"pages\">{links}</nav>\n"),
        };
        let end = (CASES * (page + 1)).min(cases.len());
        let items: String = cases[CASES * page..end]
            .iter()
            .map(|(case, scored)| item(case, scored, profile))
            .collect();
        let mut html = head(
            &format!("{} on {}", report.name, report.profile),
            "page.css",
            None,
        );
        html += &format!(
            "<h1>{} on {}</h1>\n",
            escape(&report.name),
            escape(&report.profile)
        );
        if page == 0 {
            html += &summary(report, profile);
        }
        html += &format!(
            "<h2>Cases</h2>\n{nav}<ol class=\"cases\" start=\"{}\">\n{items}</ol>\n{nav}</html>\n",
            CASES * page + 1
        );
        checkpoint::write(&out.join(file(page)), html.as_bytes())?;
    }
    Ok(())
}

fn summary(report: &Report, profile: &Profile) -> String {
    let left_out = match report.left_out {
        0 => String::new(),
        n => format!(" The profile leaves out {n} cases."),
    };
    format!(
        "<p class=\"note\">{} cases in {} independent groups; in brackets: 95% of bootstrap resamples of the groups.{left_out} \
         Rows of other protocols than <b>{}</b> are not comparable with this run: on the same images, scores change by a third \
         from one backbone to another.</p>\n<p class=\"note\">How: {}.</p>\n{}",
        report.cases,
        report.groups,
        escape(&report.profile),
        escape(profile.source),
        html(&table(&[report], profile))
    )
}

fn html(table: &Table) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
        cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect()
    };
    let rows: String = table
        .rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            format!(
                "<tr{}>{}</tr>\n",
                if i == 0 { " class=\"ours\"" } else { "" },
                cells("td", row)
            )
        })
        .collect();
    format!(
        "<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n",
        cells("th", &table.heading)
    )
}

fn item(case: &Case, scored: &Scored, profile: &Profile) -> String {
    let figures: String = images(case, profile, scored)
        .iter()
        .map(|(name, path, _)| {
            let source = path.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join("/");
            format!("<figure><img loading=\"lazy\" src=\"{source}\" alt=\"{name}\"><figcaption>{name}</figcaption></figure>")
        })
        .collect();
    let numbers: Vec<String> = Metric::ALL
        .iter()
        .filter_map(|metric| {
            Some(format!(
                "{} {:.3}",
                metric.heading(),
                scored.scores.get(metric.name())?
            ))
        })
        .collect();
    let caption = if scored.caption == scored.prompt {
        String::new()
    } else {
        format!(
            "<p class=\"scores\">caption: {}</p>",
            escape(&scored.caption)
        )
    };
    format!(
        "<li id=\"{id}\"><h3>{}</h3><div class=\"pictures\">{figures}</div>{caption}<p class=\"scores\">{id}: {}</p></li>\n",
        escape(&scored.prompt),
        numbers.join(", "),
        id = escape(&scored.id)
    )
}
