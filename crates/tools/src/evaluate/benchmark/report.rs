//! The report of a run: means with confidence intervals, beside published results; and the comparison of runs, which is refused
//! when their scores were computed differently.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::profile::{Metric, Profile};
use super::super::statistics::Interval;
use super::case::json;
use super::published;
use super::results::Settings;
use super::scores::Scored;
use crate::data::shard::sorted_entries;
use unireal::{Error, Result};

/// The report of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The profile's name.
    pub profile: String,
    /// The definition of the profile.
    pub how: serde_json::Value,
    /// Name of the run in tables.
    pub name: String,
    /// Settings of the run.
    pub settings: Settings,
    /// Number of scored cases.
    pub cases: usize,
    /// Number of independent groups of cases, such as sessions and subjects.
    pub groups: usize,
    /// Number of cases that the profile leaves out.
    pub left_out: usize,
    /// The networks used, and a hash of their weights.
    pub backbones: BTreeMap<String, String>,
    /// By [`Metric::name`]: the mean, with its 95% confidence interval.
    pub metrics: BTreeMap<String, Interval>,
}

/// Returns the means over the cases, with intervals.
pub(super) fn means(cases: &[Scored]) -> BTreeMap<String, Interval> {
    let of = |metric: Metric| {
        let values = cases.iter().filter_map(|case| {
            let value = case.scores.get(metric.name())?;
            Some((case.group.as_str(), *value))
        });
        Some((metric.name().into(), Interval::of(values)?))
    };
    Metric::ALL.into_iter().filter_map(of).collect()
}

/// Cells of a table, rendered by [`markdown`] and the page.
pub(super) struct Table {
    /// Column headings.
    pub heading: Vec<String>,
    /// Rows of the same number of cells.
    pub rows: Vec<Vec<String>>,
}

/// Returns the table of the runs of one profile, followed by the published results.
pub(super) fn table(reports: &[&Report], profile: &Profile) -> Table {
    let metrics = profile.metrics;
    let mut heading = vec!["method".to_owned()];
    heading.extend(metrics.iter().map(|metric| metric.heading().to_owned()));
    heading.extend(["protocol".to_owned(), "source".to_owned()]);
    let ours = reports.iter().map(|report| {
        let cell = |metric: &Metric| {
            let interval = report.metrics.get(metric.name());
            interval.map_or("-".into(), |interval| interval.text(3))
        };
        let mut row = vec![report.name.clone()];
        row.extend(metrics.iter().map(cell));
        row.extend([
            report.profile.clone(),
            format!("this run, {} cases", report.cases),
        ]);
        row
    });
    let published = published::rows(profile.benchmark).iter().map(|row| {
        let cell = |metric: &Metric| {
            let value = row.values.iter().find(|(of, _)| of == metric);
            value.map_or("-".into(), |(_, value)| format!("{value:.3}"))
        };
        let mut cells = vec![row.method.to_owned()];
        cells.extend(metrics.iter().map(cell));
        cells.extend([row.protocol.to_owned(), row.source.to_owned()]);
        cells
    });
    let rows = ours.chain(published).collect();
    Table { heading, rows }
}

/// Formats a table as Markdown.
pub(super) fn markdown(table: &Table) -> String {
    let cell = |text: &String| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let line = |cells: &[String]| {
        format!(
            "| {} |\n",
            cells.iter().map(cell).collect::<Vec<_>>().join(" | ")
        )
    };
    let rule: Vec<String> = table.heading.iter().map(|_| "---".into()).collect();
    let rows: String = table.rows.iter().map(|row| line(row)).collect();
    line(&table.heading) + &line(&rule) + &rows
}

/// A finished run, read from its folder.
pub(in crate::evaluate) struct Run {
    /// The report.
    pub report: Report,
    /// The scored cases, by id.
    pub cases: BTreeMap<String, Scored>,
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// [`Error::Format`] when the run is not finished, a file is invalid, an id is duplicated or the counts differ.
    pub(in crate::evaluate) fn read(folder: &Path) -> Result<Run> {
        let path = folder.join("report.json");
        let fail = |reason: String| Error::format(path.display().to_string(), reason);
        if !path.is_file() {
            return Err(fail(
                "missing, expected the folder of a finished run".into(),
            ));
        }
        let report: Report = json(&path)?;
        let mut cases = BTreeMap::new();
        for file in sorted_entries(&folder.join("cases"))? {
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let scored: Scored = json(&file)?;
            let name = file.display().to_string();
            if let Some(twice) = cases.insert(scored.id.clone(), scored) {
                return Err(Error::format(
                    name,
                    format!("id: \"{}\" occurs twice, expected unique ids", twice.id),
                ));
            }
        }
        if cases.len() != report.cases {
            let reason = format!(
                "cases: {} files in the folder of cases, expected {}",
                cases.len(),
                report.cases
            );
            return Err(fail(reason));
        }
        Ok(Run { report, cases })
    }
}

/// Checks that two runs are comparable.
///
/// # Errors
/// [`Error::Request`] with the difference.
pub(super) fn check_alike(a: &Run, b: &Run) -> Result<()> {
    let names = format!("\"{}\" and \"{}\"", a.report.name, b.report.name);
    let refuse = |what: &str, a: &str, b: &str| {
        Err(Error::Request(format!(
            "comparison of {names}: {what} {a} and {b}, expected the same"
        )))
    };
    let (x, y) = (&a.report, &b.report);
    if (&x.profile, &x.how) != (&y.profile, &y.how) {
        return refuse("profiles", &x.profile, &y.profile);
    }
    for (backbone, hash) in &x.backbones {
        if let Some(other) = y.backbones.get(backbone).filter(|other| *other != hash) {
            return refuse(&format!("weights of {backbone}"), hash, other);
        }
    }
    check_same_cases(a, b)
}

/// Checks that two runs have the same cases.
///
/// # Errors
/// [`Error::Request`] with a case that differs.
pub(in crate::evaluate) fn check_same_cases(a: &Run, b: &Run) -> Result<()> {
    let names = format!("\"{}\" and \"{}\"", a.report.name, b.report.name);
    let refuse = |what: &str, a: &str, b: &str| {
        Err(Error::Request(format!(
            "comparison of {names}: {what} {a} and {b}, expected the same"
        )))
    };
    let unpaired = a.cases.keys().find(|id| !b.cases.contains_key(*id));
    let unpaired = unpaired.or_else(|| b.cases.keys().find(|id| !a.cases.contains_key(*id)));
    if let Some(id) = unpaired {
        return refuse(
            &format!("cases (such as {id})"),
            &a.cases.len().to_string(),
            &b.cases.len().to_string(),
        );
    }
    // The same id with another prompt belongs to another data set.
    let other = a
        .cases
        .values()
        .find(|case| b.cases[&case.id].prompt != case.prompt);
    match other {
        Some(case) => refuse(
            &format!("prompts of {}", case.id),
            &case.prompt,
            &b.cases[&case.id].prompt,
        ),
        None => Ok(()),
    }
}

/// Returns the mean per-case differences of two runs; positive where the second is larger.
pub(super) fn differences(a: &Run, b: &Run) -> BTreeMap<String, Interval> {
    let of = |metric: Metric| {
        let pairs = a.cases.values().filter_map(|case| {
            let other = b.cases.get(&case.id)?.scores.get(metric.name())?;
            Some((case.group.as_str(), other - case.scores.get(metric.name())?))
        });
        Some((metric.name().into(), Interval::of(pairs)?))
    };
    Metric::ALL.into_iter().filter_map(of).collect()
}
