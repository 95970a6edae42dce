//! The images to score: found in a folder, or generated one at a time by a pack, so that an interrupted run can resume.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::profile::{Filter, Profile};
use super::super::sampling::Sampling;
use super::Options;
use super::case::{Case, Cases, find_results, input};
use crate::train::checkpoint;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};
use unireal::{Image, Request};

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
                "{field} of the run in {}: {old}, expected {new}; choose another --out",
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

/// Returns the result files by case id, and the settings of the run.
///
/// # Errors
/// [`Error::Format`] when a result is missing, [`Error::Request`] when the folder has another run; errors of the pack.
pub(super) fn results(
    options: &Options,
    profile: &Profile,
    cases: &Cases,
) -> Result<(HashMap<String, PathBuf>, Settings)> {
    let excluded_hash = match (&options.exclude, profile.filter) {
        (Some(path), Filter::List) => {
            let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            Some(hex(&Sha256::digest(bytes)))
        }
        _ => None,
    };
    let images = options.images.as_ref();
    let mut settings = Settings {
        profile: profile.name.into(),
        data: options.data.display().to_string(),
        cases: fingerprint(cases),
        split: options.split.clone(),
        exclude: excluded_hash,
        images: images.map(|folder| folder.display().to_string()),
        pack: options.pack.clone(),
        weights: None,
        sampling: None,
        seed: None,
    };
    let Some(pack) = &options.pack else {
        let folder = options.images.as_deref().unwrap_or(Path::new(""));
        let found = find_results(cases, folder)?;
        settings.store(&options.out)?;
        return Ok((found, settings));
    };
    let (pipeline, weights) = pollster::block_on(options.sampling.open(pack))?;
    settings.weights = Some(weights);
    // Records the resolved number of steps, because the pack's default may change.
    settings.sampling = Some(Sampling {
        steps: Some(pipeline.steps(options.sampling.steps)),
        ..options.sampling.clone()
    });
    settings.seed = Some(options.seed);
    settings.store(&options.out)?;
    let generated = generate_missing(cases, &options.out, |case, number, input| {
        let mut request = Request::new(&case.prompt).frame(input, case.role);
        request.seed = options.seed + number;
        pollster::block_on(options.sampling.image(&pipeline, request))
    })?;
    Ok((generated, settings))
}

/// Returns a hash of the ids, prompts and inputs of the cases.
fn fingerprint(cases: &Cases) -> String {
    let mut hash = Sha256::new();
    for case in &cases.cases {
        hash.update(format!("{}\n{}\n{:?}\n", case.id, case.prompt, case.input));
    }
    hex(&hash.finalize())
}

/// Generates the missing results, writing each image atomically, and returns the paths of all by case id. `generate`
/// gets a case, its index and its input.
///
/// # Errors
/// [`Error::Format`] when an input is not an image or a file cannot be written; errors of `generate`.
pub(super) fn generate_missing(
    cases: &Cases,
    out: &Path,
    mut generate: impl FnMut(&Case, u64, Image) -> Result<Image>,
) -> Result<HashMap<String, PathBuf>> {
    let mut results = HashMap::new();
    let count = cases.cases.len();
    for (number, case) in cases.cases.iter().enumerate() {
        let path = out.join("images").join(format!("{}.png", case.id));
        if !path.is_file() {
            let image = generate(case, number as u64, input(case, &results)?)?;
            checkpoint::write(&path, &image.to_png()?)?;
            eprintln!("{} of {count}: {}", number + 1, case.id);
        }
        results.insert(case.id.clone(), path);
    }
    Ok(results)
}
