//! The pictures that are measured: found in a folder that somebody else filled, or made by a pack, one after the other, so that a
//! run that was interrupted goes on where it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::sampling::Sampling;
use super::case::{Case, Cases, input};
use crate::train::checkpoint;
use unireal::Image;
use unireal::{Error, Result};

/// What a folder of a run holds. A run goes on only with the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// The profile's name.
    pub profile: String,
    /// The data set's folder.
    pub data: String,
    /// A hash of its cases: ids, prompts and inputs.
    pub cases: String,
    /// Its split, where it has several.
    pub split: String,
    /// A hash of the list of cases that are left out, where there is one.
    pub exclude: Option<String>,
    /// The folder of results, where somebody else made them.
    pub images: Option<String>,
    /// The pack that made the results.
    pub pack: Option<String>,
    /// A hash of its weights.
    pub weights: Option<String>,
    /// How it made them.
    pub sampling: Option<Sampling>,
    /// Seed of the first case; each has one of its own.
    pub seed: Option<u64>,
}

impl Settings {
    /// Writes them into the run's folder, or compares them with those that are there.
    ///
    /// # Errors
    /// [`Error::Request`] that names the first setting that differs.
    pub(super) fn keep(&self, out: &Path) -> Result<()> {
        let path = out.join("settings.json");
        let fail = |e: &dyn std::fmt::Display| Error::format(path.display().to_string(), e);
        let ours = serde_json::to_value(self).map_err(|e| fail(&e))?;
        if !path.is_file() {
            let text = serde_json::to_vec_pretty(&ours).map_err(|e| fail(&e))?;
            return checkpoint::write(&path, &text);
        }
        let theirs: Value = super::case::json(&path)?;
        match first_difference(&theirs, &ours, "") {
            None => Ok(()),
            Some((field, old, new)) => Err(Error::Request(format!(
                "{} holds a run with another {field}: {old} there, {new} now; choose another --out",
                out.display()
            ))),
        }
    }
}

/// The first field in which two values differ, with both contents.
fn first_difference(a: &Value, b: &Value, field: &str) -> Option<(String, String, String)> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => x.keys().chain(y.keys()).find_map(|key| {
            let (a, b) = (x.get(key), y.get(key));
            let name = if field.is_empty() {
                key.clone()
            } else {
                format!("{field}.{key}")
            };
            first_difference(a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null), &name)
        }),
        _ if a == b => None,
        _ => Some((field.into(), a.to_string(), b.to_string())),
    }
}

/// Makes what is not there yet, each picture written whole; gives all of them by their cases' ids. `make` is given a case, its
/// number and its input.
///
/// # Errors
/// [`Error::Format`] when an input is no picture or the disk refuses; as `make`'s.
pub(super) fn make_results(
    cases: &Cases,
    out: &Path,
    mut make: impl FnMut(&Case, u64, Image) -> Result<Image>,
) -> Result<HashMap<String, PathBuf>> {
    let mut results = HashMap::new();
    let count = cases.cases.len();
    for (number, case) in cases.cases.iter().enumerate() {
        let path = out.join("images").join(format!("{}.png", case.id));
        if !path.is_file() {
            let picture = make(case, number as u64, input(case, &results)?)?;
            checkpoint::write(&path, &picture.to_png()?)?;
            eprintln!("{} of {count}: {}", number + 1, case.id);
        }
        results.insert(case.id.clone(), path);
    }
    Ok(results)
}
