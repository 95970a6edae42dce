//! The report of a part of the work, over all its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::kinds::Counts;
use super::super::shard;
use crate::train::checkpoint;
use unireal::{Error, Result};

/// The report of a part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The part, as K/N.
    pub part: String,
    /// Number of items (videos, pairs and scenes) of the part.
    pub items: usize,
    /// Number of items that an earlier run finished.
    pub skipped: usize,
    /// Items that could not be read, with the reason; a re-run tries them again.
    pub failed: BTreeMap<String, String>,
    /// Items that yielded no sample.
    pub empty: BTreeSet<String>,
    /// Number of clips processed.
    pub clips: u64,
    /// Number of samples by kind, and of dropped candidates by reason.
    #[serde(flatten)]
    pub counts: Counts,
    /// File names of the shards.
    pub shards: Vec<String>,
    /// The options that determine the samples.
    #[serde(default)]
    pub options: Option<Value>,
    /// Time that all runs took, in seconds.
    pub seconds: f64,
    /// Path of the report's file.
    #[serde(skip)]
    path: PathBuf,
}

const ENDING: &str = ".report.json";

impl Report {
    /// Rebuilds the report from the notes of this prefix's complete shards, and from the failed and empty items and the time of
    /// an earlier report.
    pub(super) fn open(folder: &Path, prefix: &str, (k, n): (usize, usize)) -> Result<Report> {
        let path = folder.join(format!("{prefix}{ENDING}"));
        let mut report = Report {
            part: format!("{k}/{n}"),
            path: path.clone(),
            ..Report::default()
        };
        if let Some(earlier) = read(&path)? {
            (report.failed, report.empty) = (earlier.failed, earlier.empty);
            report.seconds = earlier.seconds;
        }
        for (name, note) in shard::notes(folder)? {
            if !name.starts_with(prefix) {
                continue;
            }
            let counts: Counts = serde_json::from_value(note.clone())
                .map_err(|e| Error::format(folder.join(&name).display().to_string(), e))?;
            report.add(note["clips"].as_u64().unwrap_or_default(), &counts);
            report.shards.push(format!("{name}.tar"));
        }
        Ok(report)
    }

    pub(super) fn add(&mut self, clips: u64, counts: &Counts) {
        self.clips += clips;
        self.counts.merge(counts);
    }

    pub(super) fn shard(&mut self, path: &Path, clips: u64, counts: &Counts) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.shards.push(name.into_owned());
        self.add(clips, counts);
    }

    /// Returns the number of samples of all kinds.
    pub fn samples(&self) -> u64 {
        self.counts.samples.values().sum()
    }

    /// Returns the report as JSON.
    ///
    /// # Errors
    /// [`Error::Internal`] when serialisation fails.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::Internal(e.to_string()))
    }

    /// Creates the folder if needed and writes the report.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        self.save_beside()
    }

    pub(super) fn save_beside(&self) -> Result<()> {
        checkpoint::write(&self.path, self.to_json()?.as_bytes())
    }
}

fn read(path: &Path) -> Result<Option<Report>> {
    let name = path.display().to_string();
    match std::fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::format(name, e)),
        Ok(bytes) => {
            let report = serde_json::from_slice(&bytes).map_err(|e| Error::format(name, e))?;
            Ok(Some(report))
        }
    }
}

/// Returns the names of the items that yielded no sample, from the reports of all parts.
///
/// # Errors
/// [`Error::Request`] when a part was built with other options: all samples of a folder share their options.
pub(super) fn empty(folder: &Path, options: &Value) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    if !folder.exists() {
        return Ok(names);
    }
    for path in shard::listed(folder)? {
        if !path.to_string_lossy().ends_with(ENDING) {
            continue;
        }
        let Some(report) = read(&path)? else { continue };
        if let Some(earlier) = report.options.filter(|earlier| earlier != options) {
            let folder = folder.display();
            return Err(Error::Request(format!(
                "{folder} holds samples that were made with {earlier}, and {options} are asked for; use another folder"
            )));
        }
        names.extend(report.empty);
    }
    Ok(names)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "part {}: {} samples of {} clips in {} shards, {:.0} s",
            self.part,
            self.samples(),
            self.clips,
            self.shards.len(),
            self.seconds
        )?;
        for (name, count) in &self.counts.samples {
            writeln!(f, "{count:>9}  {name}")?;
        }
        for (reason, count) in &self.counts.dropped {
            writeln!(f, "{count:>9}  left out: {reason}")?;
        }
        for (name, reason) in &self.failed {
            writeln!(f, "skipped {name}: {reason}")?;
        }
        write!(
            f,
            "{} of {} items were done before",
            self.skipped, self.items
        )
    }
}
