//! One request of a benchmark, with the references for its result.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::data::IMAGE_EXTENSIONS;
use crate::data::shard::sorted_entries;
use unireal::Image;
use unireal::Role;
use unireal::{Error, Result};

/// Source of an input image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A file of the data set.
    File(PathBuf),
    /// The result of an earlier case, given by its id.
    Result(String),
}

/// The source image of an edit, with captions before and after.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The source image.
    pub image: PathBuf,
    /// Its caption.
    pub before: String,
    /// The caption after.
    pub after: String,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Unique; letters, digits, `-` and `_`.
    pub id: String,
    /// Group of dependent cases, such as the turns of one session.
    pub group: String,
    /// File names without extension under which an external result may be found, the preferred first.
    pub names: Vec<String>,
    /// The prompt.
    pub prompt: String,
    /// The input image.
    pub input: Input,
    /// Role of the input image.
    pub role: Role,
    /// Images to compare the result with.
    pub references: Vec<PathBuf>,
    /// The change that the directional CLIP similarity compares, where the benchmark has captions for it.
    pub change: Option<Change>,
    /// Caption of the requested image.
    pub caption: String,
    /// Whether the result is scored; otherwise it is only the input of another case.
    pub is_scored: bool,
}

/// The cases of a benchmark.
#[derive(Debug)]
pub(super) struct Cases {
    /// Ordered so that each result exists before it is needed.
    pub cases: Vec<Case>,
    /// File names in a results folder that belong to another setting of the same benchmark.
    pub others: HashSet<String>,
    /// Number of cases that the profile leaves out.
    pub left_out: usize,
}

/// Joins `names` into an id that is a safe file name on every system.
pub(super) fn id(names: &[&str]) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    names.join("-").chars().map(safe).collect()
}

/// A set of cases without other settings or omitted cases.
impl From<Vec<Case>> for Cases {
    fn from(cases: Vec<Case>) -> Self {
        Cases {
            cases,
            others: HashSet::new(),
            left_out: 0,
        }
    }
}

impl Cases {
    /// Checks the invariants of all benchmarks: unique ids, existing images, non-empty captions and prompts.
    ///
    /// # Errors
    /// [`Error::Format`] with the name of the file, or `data` and the field.
    pub(super) fn check(self, data: &Path) -> Result<Cases> {
        let fail = |field: &str, reason: String| {
            Error::format(data.display().to_string(), format!("{field}: {reason}"))
        };
        if self.cases.iter().all(|case| !case.is_scored) {
            return Err(fail("cases", "none, expected at least one".into()));
        }
        let mut seen = HashSet::new();
        for case in &self.cases {
            if !seen.insert(&case.id) {
                return Err(fail(
                    "id",
                    format!("\"{}\" occurs twice, expected unique ids", case.id),
                ));
            }
            let change = case.change.iter();
            let change =
                change.flat_map(|c| [("caption before", &c.before), ("caption after", &c.after)]);
            let texts = [("prompt", &case.prompt), ("caption", &case.caption)];
            for (field, text) in texts.into_iter().chain(change) {
                if text.trim().is_empty() {
                    return Err(fail(
                        &format!("{field} of {}", case.id),
                        "empty, expected text".into(),
                    ));
                }
            }
            let input = match &case.input {
                Input::File(path) => Some(path),
                Input::Result(_) => None,
            };
            let before = case.change.as_ref().map(|change| &change.image);
            for path in input.into_iter().chain(&case.references).chain(before) {
                if !path.is_file() {
                    let reason = format!("missing, expected an image of case {}", case.id);
                    return Err(Error::format(path.display().to_string(), reason));
                }
            }
        }
        Ok(self)
    }
}

/// Returns whether a path has the extension of an image.
pub(in crate::evaluate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| IMAGE_EXTENSIONS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Returns the images below a folder, keyed by their relative path without extension.
///
/// # Errors
/// [`Error::Format`] when a folder cannot be read, or when two images differ only in their extension.
pub(super) fn images(folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for path in sorted_entries(&at)? {
            if path.is_dir() {
                folders.push(path);
            } else if is_image(&path) {
                let inside = path
                    .strip_prefix(folder)
                    .unwrap_or(&path)
                    .with_extension("");
                let names: Vec<_> = inside.iter().map(|name| name.to_string_lossy()).collect();
                if let Some(other) = found.insert(names.join("/"), path.clone()) {
                    let reason = format!("a second image beside {}, expected one", other.display());
                    return Err(Error::format(path.display().to_string(), reason));
                }
            }
        }
    }
    Ok(found)
}

/// Finds externally generated results in a folder, keyed by the ids of the scored cases.
///
/// # Errors
/// [`Error::Format`] when a result is missing, or when unexpected images show that the folder belongs to another benchmark.
pub(super) fn find_results(cases: &Cases, folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut present = images(folder)?;
    let (mut found, mut missing) = (HashMap::new(), Vec::new());
    let scored = cases.cases.iter().filter(|case| case.is_scored);
    for case in scored.clone() {
        match case.names.iter().find_map(|name| present.remove(name)) {
            Some(path) => {
                found.insert(case.id.clone(), path);
            }
            None => missing.push(case.names.join(" or ")),
        }
    }
    let name = || folder.display().to_string();
    if let Some(first) = missing.first() {
        let reason = format!(
            "{} of {} results are missing, expected {first} (.png, .jpg, .jpeg or .webp)",
            missing.len(),
            scored.count()
        );
        return Err(Error::format(name(), reason));
    }
    present.retain(|name, _| !cases.others.contains(name));
    if let Some((first, count)) = present.keys().min().map(|first| (first, present.len())) {
        let reason = format!(
            "{count} images belong to no case, such as {first}; expected {}",
            found.len()
        );
        return Err(Error::format(name(), reason));
    }
    Ok(found)
}

/// Reads a JSON file.
///
/// # Errors
/// [`Error::Format`] when it is missing or does not have this structure.
pub(in crate::evaluate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let fail = |e: &dyn std::fmt::Display| Error::format(path.display().to_string(), e);
    let text = std::fs::read(path).map_err(|e| fail(&e))?;
    serde_json::from_slice(&text).map_err(|e| fail(&e))
}

/// Loads the first input image of a case, given the results so far.
///
/// # Errors
/// [`Error::Format`] when it is not an image, [`Error::Internal`] when a required result does not exist yet.
pub(super) fn input(case: &Case, results: &HashMap<String, PathBuf>) -> Result<Image> {
    match &case.input {
        Input::File(path) => Image::open(path),
        Input::Result(id) => match results.get(id) {
            Some(path) => Image::open(path),
            None => Err(Error::Internal(format!(
                "input of {}: no result of {id}, expected after that case",
                case.id
            ))),
        },
    }
}
