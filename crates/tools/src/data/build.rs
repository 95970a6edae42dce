//! `unireal data build`: builds shards from videos. The work splits into parts for any scheduler, a re-run resumes where the
//! last one was killed, and unreadable videos are reported and skipped.

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
use super::shard::{self, Writer};
use super::video;
use report::Report;
use source::{Item, Made, SampleBuilder};
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
    #[arg(long, value_name = "K/N", default_value = "1/1", value_parser = part)]
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
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Folder that caches the endpoint's answers; OUT/answers by default
    #[arg(long, value_name = "DIR")]
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

fn part(text: &str) -> std::result::Result<(usize, usize), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parsed {
        Some((k, n)) if (1..=n).contains(&k) => Ok((k, n)),
        _ => Err(format!(
            "\"{text}\" is not a part; write the first of four parts as 1/4"
        )),
    }
}

impl Options {
    fn video(&self) -> video::Settings {
        video::Settings {
            side: self.size,
            square: self.square,
            clips: self.clips,
            limit: Duration::from_secs(self.limit),
            ..video::Settings::default()
        }
    }

    fn samples(&self) -> kinds::Settings {
        kinds::Settings {
            held_out: self.held_out,
            ..kinds::Settings::default()
        }
    }

    /// Returns the options that determine the samples of a video or scene.
    fn shape(&self) -> serde_json::Value {
        let mut shape = json!({
            "size": self.size, "square": self.square, "held_out": self.held_out, "frames": self.frames, "clips": self.clips,
            "annotations": self.annotations, "endpoint": self.endpoint, "model": self.model,
        });
        // Reports from before this option existed have no such entry.
        if self.easy {
            shape["easy"] = true.into();
        }
        shape
    }

    /// Returns the annotators that need all frames of a clip, and those that need only the selected frames.
    fn annotators(&self) -> Result<[Vec<Box<dyn Annotator>>; 2]> {
        let mut late: Vec<Box<dyn Annotator>> = Vec::new();
        if let Some(folder) = &self.annotations {
            let missing = |e| Error::format(folder.display().to_string(), e);
            std::fs::read_dir(folder).map_err(missing)?;
            late.push(Box::new(EntityFiles {
                folder: folder.clone(),
            }));
            late.push(Box::new(DepthMaps {
                folder: folder.join("depth"),
            }));
        }
        if let (Some(url), Some(model)) = (&self.endpoint, &self.model) {
            let answers = self
                .answers
                .clone()
                .unwrap_or_else(|| self.out.join("answers"));
            late.push(Box::new(Chat::new(
                chat::Settings::new(url, model),
                &answers,
            )));
        }
        Ok([vec![Box::new(Moving::default())], late])
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
/// [`Error::Request`] for invalid options or when there are no items, [`Error::Format`] when a file cannot be read or written,
/// [`Error::Unsupported`] when a program is missing. An unreadable video is not an error but a line of the report.
pub fn build(options: &Options) -> Result<Report> {
    let started = Instant::now();
    if !(1..=64).contains(&options.frames) {
        let frames = options.frames;
        return Err(Error::Request(format!(
            "{frames} frames of a clip; use 1 to 64"
        )));
    }
    super::fit::Fit::new((64, 64), options.size, options.square)?;
    let items = source::items(options)?;
    let (k, n) = options.part;
    let prefix = format!("part-{k:04}-of-{n:04}");
    let mut report = Report::open(&options.out, &prefix, options.part)?;
    let done = done(options)?;
    report.options = Some(options.shape());
    let mine: Vec<Item> = items.into_iter().skip(k - 1).step_by(n).collect();
    report.items = mine.len();
    let todo: Vec<Item> = mine
        .into_iter()
        .filter(|item| !done.contains(&item.name()))
        .collect();
    report.skipped = report.items - todo.len();
    let builder = SampleBuilder::new(options)?;
    let mut output = Output {
        writer: Writer::create(&options.out, &prefix, options.shard)?,
        pending: Pending::default(),
        report,
    };
    let progress = progress(todo.len());
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));
    ordered(
        threads,
        todo.len(),
        |i| builder.make(&todo[i]),
        |i, made| {
            output.take(&todo[i], made)?;
            progress.inc(1);
            progress.set_message(format!("{} samples", output.report.samples()));
            Ok(())
        },
    )?;
    output.close()?;
    progress.finish_and_clear();
    output.report.seconds += started.elapsed().as_secs_f64();
    output.report.save(&options.out)?;
    Ok(output.report)
}

/// Returns the names of the items that complete shards of any part hold, or that yielded no sample.
fn done(options: &Options) -> Result<HashSet<String>> {
    let mut done = HashSet::new();
    for (_, note) in shard::notes(&options.out)? {
        let items = note["items"].as_array().into_iter().flatten();
        done.extend(items.filter_map(|item| item.as_str().map(str::to_owned)));
    }
    done.extend(report::empty(&options.out, &options.shape())?);
    Ok(done)
}

fn progress(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} to go");
    let bar = ProgressBar::new(count as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The open shard with its pending note, and the report.
struct Output {
    writer: Writer,
    pending: Pending,
    report: Report,
}

/// The contents of the open shard, for its note.
#[derive(Default)]
struct Pending {
    items: Vec<String>,
    clips: u64,
    counts: kinds::Counts,
}

impl Output {
    /// Writes an item's samples. They all go into one shard, so that the shard's note tells whether the item is done.
    fn take(&mut self, item: &Item, made: Result<Made>) -> Result<()> {
        let made = match made {
            Ok(made) => made,
            // A missing program (ffmpeg or ffprobe) fails the whole run: no video can be read without it.
            Err(e @ Error::Unsupported(_)) if e.to_string().contains("the program") => {
                return Err(e);
            }
            Err(e) => {
                self.report.failed.insert(item.name(), e.to_string());
                return self.report.save_beside();
            }
        };
        self.report.failed.remove(&item.name());
        if made.members.is_empty() {
            self.report.empty.insert(item.name());
            self.report.add(made.clips, &made.counts);
            return self.report.save_beside();
        }
        for members in &made.members {
            self.writer.append(members)?;
        }
        self.pending.items.push(item.name());
        self.pending.clips += made.clips;
        self.pending.counts.merge(&made.counts);
        if self.writer.full() {
            self.close()
        } else {
            Ok(())
        }
    }

    fn close(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let note = json!({
            "items": pending.items,
            "clips": pending.clips,
            "samples": pending.counts.samples,
            "dropped": pending.counts.dropped,
        });
        if let Some(path) = self.writer.close(Some(&note))? {
            self.report.shard(&path, pending.clips, &pending.counts);
            self.report.save_beside()?;
        }
        Ok(())
    }
}
