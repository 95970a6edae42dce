//! What a part of the work made, from all its runs.

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
    /// The part, as k/n.
    pub part: String,
    /// Videos and scenes of the part.
    pub items: usize,
    /// Of them, those that an earlier run did.
    pub skipped: usize,
    /// Those that could not be read, and why; a re-run tries them again.
    pub failed: BTreeMap<String, String>,
    /// Those that gave no sample.
    pub empty: BTreeSet<String>,
    /// Clips that were looked at.
    pub clips: u64,
    /// Samples by kind, and what was left out by reason.
    #[serde(flatten)]
    pub counts: Counts,
    /// The shards.
    pub shards: Vec<String>,
    /// The options that say what a sample is.
    #[serde(default)]
    pub options: Option<Value>,
    /// Time that all runs took.
    pub seconds: f64,
    /// Where it is kept.
    #[serde(skip)]
    path: PathBuf,
}

const ENDING: &str = ".report.json";

impl Report {
    /// The report so far: what the whole shards of this prefix say, and what an earlier report says beyond them.
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

    /// Samples of all kinds.
    pub fn samples(&self) -> u64 {
        self.counts.samples.values().sum()
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be written so.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).map_err(|e| Error::Internal(e.to_string()))
    }

    /// Writes it into its folder.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::format(folder.display().to_string(), e))?;
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

/// Names of what gave no sample, from the reports of all parts.
///
/// # Errors
/// [`Error::Request`] when a part was made with other options than these: a folder holds samples of one sort.
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
