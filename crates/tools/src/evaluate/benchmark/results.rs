//! The images to score: found in a folder, or generated one at a time by a pack, so that an interrupted run can resume.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::sampling::Sampling;
use super::case::{Case, Cases, input};
use crate::train::checkpoint;
use unireal::Image;
use unireal::{Error, Result};

/// Settings of a run. A run resumes only with the same settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// The profile's name.
    pub profile: String,
    /// Data set folder.
    pub data: String,
    /// A hash of the ids, prompts and inputs of the cases.
    pub cases: String,
    /// Split of the data set, where it has several.
    pub split: String,
    /// A hash of the list of excluded cases, where there is one.
    pub exclude: Option<String>,
    /// Folder of externally generated results.
    pub images: Option<String>,
    /// The pack that generated the results.
    pub pack: Option<String>,
    /// A hash of the pack's weights.
    pub weights: Option<String>,
    /// Sampling options of the pack.
    pub sampling: Option<Sampling>,
    /// Seed of the first case; each case adds its index.
    pub seed: Option<u64>,
}

impl Settings {
    /// Writes the settings into the run's folder, or compares them with those already there.
    ///
    /// # Errors
    /// [`Error::Request`] with the first setting that differs.
    pub(super) fn store(&self, out: &Path) -> Result<()> {
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

/// Returns the first field in which two values differ, with both values.
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

/// Generates the missing results, writing each image atomically, and returns the paths of all by case id. `make` gets a case,
/// its index and its input.
///
/// # Errors
/// [`Error::Format`] when an input is not an image or a file cannot be written; errors of `make`.
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
            let image = make(case, number as u64, input(case, &results)?)?;
            checkpoint::write(&path, &image.to_png()?)?;
            eprintln!("{} of {count}: {}", number + 1, case.id);
        }
        results.insert(case.id.clone(), path);
    }
    Ok(results)
}
