//! `unireal data build`: builds shards from videos. The work splits into parts for any scheduler, a re-run resumes after the
//! last finished shard, and unreadable videos are reported and skipped.

pub mod report;
pub mod source;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::annotate::Annotator;
use super::annotate::chat::{self, Chat};
use super::annotate::files::EntityFiles;
use super::annotate::maps::DepthMaps;
use super::annotate::moving::Moving;
use super::kinds;
use super::ordered::ordered;
use super::shard::Writer;
use super::video;
use report::{Report, ShardNote};
use source::{Item, ItemBuilder, ItemSamples};
use unireal::{Error, Result};

/// Command-line options of `unireal data build`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Videos, or folders of videos
    #[arg(long, value_name = "DIR|FILE", num_args = 1..)]
    pub videos: Vec<PathBuf>,
    /// A folder in the authors' toolkit format: pairs, masks and instructions
    #[arg(long, value_name = "DIR")]
    pub toolkit: Option<PathBuf>,
    /// Number of tabletop scenes, with consecutive seeds from --seed on
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub world: u64,
    /// Simpler scenes: one to three large objects with distinct colours and shapes, and no film
    #[arg(long, requires = "world")]
    pub easy: bool,
    /// Folder for the shards and the report
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Side of the square whose area the samples have, in pixels
    #[arg(long, value_name = "PX", default_value_t = 128)]
    pub size: u32,
    /// Crop samples to the central square instead of keeping the video's aspect ratio
    #[arg(long)]
    pub square: bool,
    /// Seed of every random choice, and of the first scene
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Use prompt wordings that training never sees, for tests
    #[arg(long)]
    pub held_out: bool,
    /// Process only part K of N
    #[arg(long, value_name = "K/N", default_value = "1/1", value_parser = parse_part)]
    pub part: (usize, usize),
    /// Samples per shard; a shard may hold a few more
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub shard: usize,
    /// Number of frames selected from each clip
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub frames: usize,
    /// Maximum number of clips per video
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub clips: usize,
    /// Folder with annotations of the videos: entities, masks and depth maps, in the formats of the module `annotate`
    #[arg(long, value_name = "DIR")]
    pub annotations: Option<PathBuf>,
    /// Endpoint of OpenAI's chat protocol that writes captions and instructions, such as <https://api.openai.com/v1>; the API key
    /// is read from OPENAI_API_KEY
    #[arg(long, value_name = "URL", requires = "model")]
    pub endpoint: Option<String>,
    /// Name of the endpoint's model
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub model: Option<String>,
    /// Folder that caches the endpoint's answers; OUT/answers by default
    #[arg(long, value_name = "DIR", requires = "endpoint")]
    pub answers: Option<PathBuf>,
    /// Time limit per video, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub limit: u64,
    /// Number of threads; by default the number of cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_part(text: &str) -> std::result::Result<(usize, usize), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parsed {
        Some((k, n)) if (1..=n).contains(&k) => Ok((k, n)),
        _ => Err("expected K/N with K from 1 to N, such as 1/4 for the first of four parts".into()),
    }
}

impl Options {
    fn video_settings(&self) -> video::Settings {
        video::Settings {
            side: self.size,
            square: self.square,
            clips: self.clips,
            limit: Duration::from_secs(self.limit),
            ..video::Settings::default()
        }
    }

    fn sample_settings(&self) -> kinds::Settings {
        kinds::Settings {
            held_out: self.held_out,
            ..kinds::Settings::default()
        }
    }

    /// Checks the ranges of the numeric options.
    pub(super) fn check(&self) -> Result<()> {
        let (frames, clips) = (self.frames, self.clips);
        if !(1..=64).contains(&frames) {
            return Err(Error::Request(format!(
                "selecting frames: {frames} frames per clip, expected 1 to 64"
            )));
        }
        if clips == 0 {
            return Err(Error::Request(
                "selecting clips: 0 clips per video, expected 1 or more".into(),
            ));
        }
        if self.threads == Some(0) {
            return Err(Error::Request(
                "starting threads: 0 threads, expected 1 or more".into(),
            ));
        }
        super::fit::Fit::new((64, 64), self.size, self.square)?;
        Ok(())
    }

    /// Returns the options that determine the samples of an item.
    fn sample_options(&self) -> serde_json::Value {
        let mut options = json!({
            "size": self.size, "square": self.square, "held_out": self.held_out, "frames": self.frames, "clips": self.clips,
            "annotations": self.annotations, "endpoint": self.endpoint, "model": self.model,
        });
        // Reports from before this option existed have no such entry.
        if self.easy {
            options["easy"] = true.into();
        }
        options
    }

    /// Returns the annotators that need all frames of a clip, and those that need only the selected frames.
    fn annotators(&self) -> Result<[Vec<Box<dyn Annotator>>; 2]> {
        let mut frame_annotators: Vec<Box<dyn Annotator>> = Vec::new();
        if let Some(folder) = &self.annotations {
            std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
            frame_annotators.push(Box::new(EntityFiles {
                folder: folder.clone(),
            }));
            frame_annotators.push(Box::new(DepthMaps {
                folder: folder.join("depth"),
            }));
        }
        if let (Some(url), Some(model)) = (&self.endpoint, &self.model) {
            let answers = self
                .answers
                .clone()
                .unwrap_or_else(|| self.out.join("answers"));
            frame_annotators.push(Box::new(Chat::new(
                chat::Settings::new(url, model)?,
                &answers,
            )));
        }
        Ok([vec![Box::new(Moving::default())], frame_annotators])
    }
}

/// Builds the shards and prints the report.
///
/// # Errors
/// As [`build`].
pub fn run(options: &Options) -> Result<()> {
    let report = build(options)?;
    if options.json {
        say!("{}", report.to_json()?)
    } else {
        eprintln!("{report}")
    }
    Ok(())
}

/// Builds the shards of a part and its report, `OUT/part-<K>-of-<N>.report.json`.
///
/// # Errors
/// [`Error::Request`] for invalid options or when there are no items, [`Error::Format`] or [`Error::Io`] when a file cannot be
/// read or written, [`Error::Unsupported`] when a program is missing. An unreadable video is not an error but a line of the
/// report.
pub fn build(options: &Options) -> Result<Report> {
    let started = Instant::now();
    options.check()?;
    let items = source::items_of_part(options)?;
    let (k, n) = options.part;
    let prefix = format!("part-{k:04}-of-{n:04}");
    let mut report = Report::open(&options.out, &prefix, options.part)?;
    let finished = finished_items(options)?;
    report.options = Some(options.sample_options());
    report.items = items.len();
    let remaining: Vec<Item> = items
        .into_iter()
        .filter(|item| !finished.contains(&item.name()))
        .collect();
    report.skipped = report.items - remaining.len();
    source::check_programs(&remaining)?;
    let builder = ItemBuilder::new(options)?;
    let mut output = Output {
        writer: Writer::create(&options.out, &prefix, options.shard)?,
        note: ShardNote::default(),
        report,
    };
    let progress = progress(remaining.len());
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    ordered(
        threads,
        remaining.len(),
        |i| builder.build(&remaining[i]),
        |i, result| {
            output.add(&remaining[i], result)?;
            progress.inc(1);
            progress.set_message(format!("{} samples", output.report.samples()));
            Ok(())
        },
    )?;
    output.close_shard()?;
    progress.finish_and_clear();
    output.report.seconds += started.elapsed().as_secs_f64();
    output.report.save()?;
    Ok(output.report)
}

/// Returns the names of the items that complete shards of any part hold, or that yielded no sample.
fn finished_items(options: &Options) -> Result<HashSet<String>> {
    let mut finished = HashSet::new();
    for (_, note) in report::shard_notes(&options.out)? {
        finished.extend(note.items);
    }
    finished.extend(report::empty_items(
        &options.out,
        &options.sample_options(),
    )?);
    Ok(finished)
}

fn progress(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} to go");
    let bar = ProgressBar::new(count as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The shard writer and the report.
struct Output {
    writer: Writer,
    /// The note of the open shard.
    note: ShardNote,
    report: Report,
}

impl Output {
    /// Writes an item's samples, or reports why there are none. All samples of an item go into one shard, so that the shard's
    /// note tells whether the item is finished.
    fn add(&mut self, item: &Item, result: Result<ItemSamples>) -> Result<()> {
        let item_samples = match result {
            Ok(item_samples) => item_samples,
            Err(e) => {
                self.report.failed.insert(item.name(), e.to_string());
                return self.report.save();
            }
        };
        self.report.failed.remove(&item.name());
        if item_samples.encoded.is_empty() {
            self.report
                .add_empty(item.name(), item_samples.clips, &item_samples.counts);
            return self.report.save();
        }
        for members in &item_samples.encoded {
            self.writer.append(members)?;
        }
        self.note.items.push(item.name());
        self.note.clips += item_samples.clips;
        self.note.counts.merge(&item_samples.counts);
        if self.writer.full() {
            self.close_shard()
        } else {
            Ok(())
        }
    }

    fn close_shard(&mut self) -> Result<()> {
        let note = std::mem::take(&mut self.note);
        let json = serde_json::to_value(&note).map_err(|e| Error::Internal(e.to_string()))?;
        if let Some(path) = self.writer.close(Some(&json))? {
            self.report.add_shard(&path, &note);
            self.report.save()?;
        }
        Ok(())
    }
}
