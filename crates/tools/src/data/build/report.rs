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
    /// Items that yielded no sample; a re-run skips them.
    pub empty: BTreeSet<String>,
    /// What was counted for the empty items, which no shard's note records.
    #[serde(default)]
    pub empty_counts: EmptyCounts,
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

/// What a shard was built from, beside the shard as JSON.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ShardNote {
    /// Names of the items whose samples the shard holds.
    pub(super) items: Vec<String>,
    /// Number of the items' clips.
    pub(super) clips: u64,
    /// Counts of the items' samples and drops.
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// Returns the notes of a folder's complete shards, with the shards' file stems.
///
/// # Errors
/// [`Error::Format`] or [`Error::Io`] for a note that is not a [`ShardNote`] or cannot be read.
pub(super) fn shard_notes(folder: &Path) -> Result<Vec<(String, ShardNote)>> {
    let notes = shard::notes(folder)?.into_iter();
    let parse = |(name, note): (String, Value)| {
        let path = folder.join(format!("{name}.json"));
        let note = serde_json::from_value(note)
            .map_err(|e| Error::format(path.display().to_string(), e))?;
        Ok((name, note))
    };
    notes.map(parse).collect()
}

/// Clips and drops of the items that yielded no sample.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyCounts {
    /// Number of clips.
    pub clips: u64,
    /// Number of drops by the filters, by reason.
    pub dropped: BTreeMap<String, u64>,
}

const SUFFIX: &str = ".report.json";

impl Report {
    /// Rebuilds the report from the notes of this prefix's complete shards, and from the failed items, the empty items with
    /// their counts, and the time of an earlier report.
    pub(super) fn open(folder: &Path, prefix: &str, (k, n): (usize, usize)) -> Result<Report> {
        let path = folder.join(format!("{prefix}{SUFFIX}"));
        let mut report = Report {
            part: format!("{k}/{n}"),
            path: path.clone(),
            ..Report::default()
        };
        if let Some(earlier) = read(&path)? {
            let EmptyCounts { clips, dropped } = earlier.empty_counts.clone();
            let counts = Counts {
                dropped,
                ..Counts::default()
            };
            report.add(clips, &counts);
            (report.failed, report.empty) = (earlier.failed, earlier.empty);
            (report.empty_counts, report.seconds) = (earlier.empty_counts, earlier.seconds);
        }
        // The hyphen excludes the shards of part 1 of 10000 from the report of part 1 of 1000.
        let shard_prefix = format!("{prefix}-");
        for (name, note) in shard_notes(folder)? {
            if name.starts_with(&shard_prefix) {
                report.add(note.clips, &note.counts);
                report.shards.push(format!("{name}.tar"));
            }
        }
        Ok(report)
    }

    fn add(&mut self, clips: u64, counts: &Counts) {
        self.clips += clips;
        self.counts.merge(counts);
    }

    /// Adds an item that yielded no sample.
    pub(super) fn add_empty(&mut self, name: String, clips: u64, counts: &Counts) {
        if self.empty.insert(name) {
            self.add(clips, counts);
            self.empty_counts.clips += clips;
            for (reason, count) in &counts.dropped {
                *self.empty_counts.dropped.entry(reason.clone()).or_default() += count;
            }
        }
    }

    pub(super) fn add_shard(&mut self, path: &Path, note: &ShardNote) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.shards.push(name.into_owned());
        self.add(note.clips, &note.counts);
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

    /// Writes the report into the folder of the shards.
    pub(super) fn save(&self) -> Result<()> {
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
pub(super) fn empty_items(folder: &Path, options: &Value) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    if !folder.exists() {
        return Ok(names);
    }
    for path in shard::sorted_entries(folder)? {
        if !path.to_string_lossy().ends_with(SUFFIX) {
            continue;
        }
        let Some(report) = read(&path)? else { continue };
        if let Some(earlier) = report.options.filter(|earlier| earlier != options) {
            let folder = folder.display();
            return Err(Error::Request(format!(
                "building into {folder}: its samples were built with {earlier}, expected the present options {options}; use another folder"
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
            writeln!(f, "{count:>9}  dropped: {reason}")?;
        }
        for (name, reason) in &self.failed {
            writeln!(f, "failed {name}: {reason}")?;
        }
        write!(
            f,
            "{} of {} items were finished before",
            self.skipped, self.items
        )
    }
}
