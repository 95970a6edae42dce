//! One request of a benchmark, with what its result is compared with.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use unireal::Image;
use unireal::Role;
use unireal::{Error, Result};

/// Where an input picture comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A file of the data set.
    File(PathBuf),
    /// The result of an earlier case, by its id.
    Result(String),
}

/// A change in pictures and in words.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The picture before.
    pub picture: PathBuf,
    /// Its caption.
    pub before: String,
    /// The caption after.
    pub after: String,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Letters, digits, `-` and `_`; unlike every other's.
    pub id: String,
    /// Cases of one group are not independent of each other.
    pub group: String,
    /// Files without their ending under which somebody else's result may lie, the best known first.
    pub names: Vec<String>,
    /// What is asked for.
    pub prompt: String,
    /// The picture that goes in.
    pub input: Input,
    /// What it is for.
    pub role: Role,
    /// What the result is compared with.
    pub references: Vec<PathBuf>,
    /// What CLIP's direction compares, where there is such a thing.
    pub change: Option<Change>,
    /// The caption of what is asked for.
    pub caption: String,
    /// Whether the result counts; else it is only the input of another case.
    pub counts: bool,
}

/// The cases of a benchmark.
#[derive(Debug)]
pub(super) struct Cases {
    /// In an order in which a result is there before it is needed.
    pub cases: Vec<Case>,
    /// Names in a folder of results that belong to another setting of the same benchmark.
    pub others: HashSet<String>,
    /// Cases that the profile leaves out.
    pub left_out: usize,
}

/// A name that is safe as a file's on every system.
pub(super) fn id(parts: &[&str]) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    parts.join("-").chars().map(safe).collect()
}

/// Nothing else lies in a folder of their results, and none is left out.
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
    /// Checks what every benchmark promises: ids are unique, pictures exist, captions and prompts say something.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file, or `data` and the field.
    pub(super) fn check(self, data: &Path) -> Result<Cases> {
        let fail = |field: &str, reason: String| {
            Error::format(data.display().to_string(), format!("{field}: {reason}"))
        };
        if self.cases.iter().all(|case| !case.counts) {
            return Err(fail("cases", "there are none".into()));
        }
        let mut seen = HashSet::new();
        for case in &self.cases {
            if !seen.insert(&case.id) {
                return Err(fail("id", format!("\"{}\" is there twice", case.id)));
            }
            let change = case.change.iter();
            let change =
                change.flat_map(|c| [("caption before", &c.before), ("caption after", &c.after)]);
            let texts = [("prompt", &case.prompt), ("caption", &case.caption)];
            for (field, text) in texts.into_iter().chain(change) {
                if text.trim().is_empty() {
                    return Err(fail(
                        &format!("{field} of {}", case.id),
                        "it is empty".into(),
                    ));
                }
            }
            let input = match &case.input {
                Input::File(path) => Some(path),
                Input::Result(_) => None,
            };
            let before = case.change.as_ref().map(|change| &change.picture);
            for path in input.into_iter().chain(&case.references).chain(before) {
                if !path.is_file() {
                    let reason = format!("{} needs this picture, which is missing", case.id);
                    return Err(Error::format(path.display().to_string(), reason));
                }
            }
        }
        Ok(self)
    }
}

/// Endings of pictures.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Whether a file's name is that of a picture.
pub(super) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str());
    ending.is_some_and(|e| ENDINGS.contains(&e.to_ascii_lowercase().as_str()))
}

/// The pictures below a folder, by their path in it without the ending.
///
/// # Errors
/// [`Error::Format`] when a folder cannot be read, or when two pictures differ in nothing but their ending.
pub(super) fn pictures(folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut found = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for path in listed(&at)? {
            if path.is_dir() {
                folders.push(path);
            } else if is_picture(&path) {
                let inside = path
                    .strip_prefix(folder)
                    .unwrap_or(&path)
                    .with_extension("");
                let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
                if let Some(other) = found.insert(parts.join("/"), path.clone()) {
                    let reason = format!("there is also {}; which is the result?", other.display());
                    return Err(Error::format(path.display().to_string(), reason));
                }
            }
        }
    }
    Ok(found)
}

/// What lies in a folder, in order.
///
/// # Errors
/// [`Error::Format`] when it cannot be read.
pub(super) fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: std::io::Error| Error::format(folder.display().to_string(), e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        paths.push(entry.map_err(fail)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The results of a folder that somebody else filled, by the ids of the cases that count.
///
/// # Errors
/// [`Error::Format`] when one is missing, or when pictures are left over: the folder is then another benchmark's.
pub(super) fn find_results(cases: &Cases, folder: &Path) -> Result<HashMap<String, PathBuf>> {
    let mut there = pictures(folder)?;
    let (mut found, mut missing) = (HashMap::new(), Vec::new());
    let counting = cases.cases.iter().filter(|case| case.counts);
    for case in counting.clone() {
        match case.names.iter().find_map(|name| there.remove(name)) {
            Some(path) => {
                found.insert(case.id.clone(), path);
            }
            None => missing.push(case.names.join(" or ")),
        }
    }
    let name = || folder.display().to_string();
    if let Some(first) = missing.first() {
        let reason = format!(
            "{} of {} results are missing, the first is {first} (.png, .jpg, .jpeg or .webp)",
            missing.len(),
            counting.count()
        );
        return Err(Error::format(name(), reason));
    }
    there.retain(|name, _| !cases.others.contains(name));
    if let Some((first, count)) = there.keys().min().map(|first| (first, there.len())) {
        let reason = format!(
            "{count} pictures belong to no case, such as {first}; {} were expected",
            found.len()
        );
        return Err(Error::format(name(), reason));
    }
    Ok(found)
}

/// Reads a JSON file.
///
/// # Errors
/// [`Error::Format`] when it is missing or not of this form.
pub(in crate::evaluate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let fail = |e: &dyn std::fmt::Display| Error::format(path.display().to_string(), e);
    let text = std::fs::read(path).map_err(|e| fail(&e))?;
    serde_json::from_slice(&text).map_err(|e| fail(&e))
}

/// The first picture that goes into a case, given the results so far.
///
/// # Errors
/// [`Error::Format`] when it is not a picture, [`Error::Internal`] when a result is not there yet.
pub(super) fn input(case: &Case, results: &HashMap<String, PathBuf>) -> Result<Image> {
    match &case.input {
        Input::File(path) => Image::open(path),
        Input::Result(id) => match results.get(id) {
            Some(path) => Image::open(path),
            None => Err(Error::Internal(format!(
                "{} comes before {id}, whose result it needs",
                case.id
            ))),
        },
    }
}
