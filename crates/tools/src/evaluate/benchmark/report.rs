//! What a run comes to: means with intervals, beside the rows of the literature; and the comparison of runs, which is refused where
//! their numbers were not computed alike.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::profile::{Metric, Profile};
use super::super::statistics::Interval;
use super::case::{json, listed};
use super::published;
use super::results::Settings;
use super::scores::Scored;
use unireal::{Error, Result};

/// A run's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The profile's name.
    pub profile: String,
    /// How the profile's numbers are computed.
    pub how: serde_json::Value,
    /// What is called by this name in tables.
    pub name: String,
    /// What was measured.
    pub settings: Settings,
    /// Cases that count.
    pub cases: usize,
    /// Groups of cases that are not independent, such as sessions and subjects.
    pub groups: usize,
    /// Cases that the profile leaves out.
    pub left_out: usize,
    /// The networks that were looked through, and a hash of their weights.
    pub backbones: BTreeMap<String, String>,
    /// By [`Metric::name`]: the mean, and an interval that holds it with 95% confidence.
    pub metrics: BTreeMap<String, Interval>,
}

/// Means over the cases, with intervals.
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

/// Cells of a table; [`markdown`] and the page write it down.
pub(super) struct Table {
    /// One row.
    pub heading: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

/// The rows of runs of one profile, and those of the literature.
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

/// A table as Markdown.
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

/// A finished run as it lies in its folder.
pub(in crate::evaluate) struct Run {
    /// Its numbers.
    pub report: Report,
    /// Its cases, by id.
    pub cases: BTreeMap<String, Scored>,
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// [`Error::Format`] when the run has not ended, a file is not of its form, an id is there twice or the counts differ.
    pub(in crate::evaluate) fn read(folder: &Path) -> Result<Run> {
        let path = folder.join("report.json");
        let fail = |reason: String| Error::format(path.display().to_string(), reason);
        if !path.is_file() {
            return Err(fail(
                "is missing: this is no folder of a run that has ended".into(),
            ));
        }
        let report: Report = json(&path)?;
        let mut cases = BTreeMap::new();
        for file in listed(&folder.join("cases"))? {
            if file.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            let scored: Scored = json(&file)?;
            let name = file.display().to_string();
            if let Some(twice) = cases.insert(scored.id.clone(), scored) {
                return Err(Error::format(
                    name,
                    format!("id: \"{}\" is there twice", twice.id),
                ));
            }
        }
        if cases.len() != report.cases {
            let reason = format!(
                "cases is {}; the folder of cases holds {}",
                report.cases,
                cases.len()
            );
            return Err(fail(reason));
        }
        Ok(Run { report, cases })
    }
}

/// Whether two runs may be compared.
///
/// # Errors
/// [`Error::Request`] that says what differs.
pub(super) fn check_alike(a: &Run, b: &Run) -> Result<()> {
    let names = format!("\"{}\" and \"{}\"", a.report.name, b.report.name);
    let refuse = |what: &str, a: &str, b: &str| {
        Err(Error::Request(format!(
            "{names} cannot be compared: their {what} differ, {a} and {b}"
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

/// Whether two runs have the same cases.
///
/// # Errors
/// [`Error::Request`] that names one that differs.
pub(in crate::evaluate) fn check_same_cases(a: &Run, b: &Run) -> Result<()> {
    let names = format!("\"{}\" and \"{}\"", a.report.name, b.report.name);
    let refuse = |what: &str, a: &str, b: &str| {
        Err(Error::Request(format!(
            "{names} cannot be compared: their {what} differ, {a} and {b}"
        )))
    };
    let lone = a.cases.keys().find(|id| !b.cases.contains_key(*id));
    let lone = lone.or_else(|| b.cases.keys().find(|id| !a.cases.contains_key(*id)));
    if let Some(id) = lone {
        return refuse(
            &format!("cases (such as {id})"),
            &a.cases.len().to_string(),
            &b.cases.len().to_string(),
        );
    }
    // The same id with other words is another data set's.
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

/// The difference of two runs, case by case: positive where the second is larger.
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
