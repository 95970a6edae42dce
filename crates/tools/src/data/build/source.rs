//! The inputs of the data engine, and the conversion of one input into samples.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::super::annotate::{Annotator, Shot};
use super::super::clip::Clip;
use super::super::fit::Fit;
use super::super::kinds::{self, Counts};
use super::super::shard::{Members, encode};
use super::super::{describe, tabletop, toolkit, video};
use super::Options;
use unireal::{Error, Result};
use unireal_tabletop::Wording;

/// A unit of work: a video, a pair or a scene.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A video.
    Video(PathBuf),
    /// A pair in the toolkit format: its folder and file name.
    Pair(PathBuf, String),
    /// A scene of the tabletop world, by its seed.
    World(u64),
}

impl Item {
    /// Returns the name for the report.
    pub fn name(&self) -> String {
        match self {
            Item::Video(path) => path.display().to_string(),
            Item::Pair(folder, file) => folder.join("pairs").join(file).display().to_string(),
            Item::World(seed) => format!("world-{seed}"),
        }
    }

    /// Returns the prefix of its samples' keys: the legible part of the name and a hash of the whole name.
    fn key(&self) -> String {
        let (name, legible) = (self.name(), self.legible());
        let hash = Sha256::digest(name.as_bytes());
        format!(
            "{legible}-{:02x}{:02x}{:02x}{:02x}",
            hash[0], hash[1], hash[2], hash[3]
        )
    }

    /// Returns the first 40 characters of the stem, with `-` for all but ASCII letters and digits.
    pub(in super::super) fn legible(&self) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.stem().chars().map(letter).take(40).collect()
    }

    /// Returns the file name without its extension.
    pub(in super::super) fn stem(&self) -> String {
        let name = self.name();
        let stem = Path::new(&name).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }

    /// Returns a random generator seeded by `seed` and the item's name, so that it is independent of other items.
    fn rng(&self, seed: u64) -> ChaCha8Rng {
        let hash = Sha256::digest(format!("{seed} {}", self.name()).as_bytes());
        ChaCha8Rng::from_seed(hash.into())
    }
}

/// File extensions of the videos that are found in folders.
const ENDINGS: [&str; 14] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "ogv", "flv", "wmv", "gif",
    "y4m",
];

/// Returns all items that the options name, in an order that does not depend on the machine.
///
/// # Errors
/// [`Error::Request`] when there are none, [`Error::Format`] for a path that does not exist.
pub fn items(options: &Options) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for path in &options.videos {
        find(path, 0, &mut items)?;
    }
    if let Some(folder) = &options.toolkit {
        for path in super::super::shard::listed(&folder.join("pairs"))? {
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if file.ends_with(".png") {
                items.push(Item::Pair(folder.clone(), file));
            }
        }
    }
    items.extend((0..options.world).map(|i| Item::World(options.seed.wrapping_add(i))));
    items.sort();
    items.dedup();
    if items.is_empty() {
        Err(Error::Request(format!(
            "nothing to build from: no --world scenes, no --toolkit pairs and no video; --videos takes files, and folders of files that end in {}",
            ENDINGS.join(", ")
        )))
    } else {
        Ok(items)
    }
}

/// Maximum depth of nested folders.
const DEEPEST: usize = 16;

fn find(path: &Path, depth: usize, items: &mut Vec<Item>) -> Result<()> {
    let fail = |e: std::io::Error| Error::io(path, e);
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        items.push(Item::Video(path.to_owned()));
        return Ok(());
    }
    for path in super::super::shard::listed(path)? {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if path.is_dir() && depth < DEEPEST {
            find(&path, depth + 1, items)?;
        } else if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            items.push(Item::Video(path));
        }
    }
    Ok(())
}

/// The encoded samples of an item.
pub(super) struct Made {
    pub(super) members: Vec<Members>,
    pub(super) clips: u64,
    pub(super) counts: Counts,
}

/// Builds the samples of items; shared by the threads.
pub(in super::super) struct SampleBuilder {
    options: Options,
    /// Annotators that need all frames of a clip.
    early: Vec<Box<dyn Annotator>>,
    /// Annotators that need only the selected frames.
    late: Vec<Box<dyn Annotator>>,
    /// Instructions of the toolkit's pairs, by file name.
    instructions: BTreeMap<String, String>,
}

impl SampleBuilder {
    pub(in super::super) fn new(options: &Options) -> Result<SampleBuilder> {
        let [early, late] = options.annotators()?;
        let toolkit = options.toolkit.as_deref().map(toolkit::instructions);
        Ok(SampleBuilder {
            options: options.clone(),
            early,
            late,
            instructions: toolkit.transpose()?.unwrap_or_default(),
        })
    }

    pub(super) fn make(&self, item: &Item) -> Result<Made> {
        let mut counts = Counts::default();
        let clips = self.clips(item, &mut counts)?;
        let (key, mut rng) = (item.key(), item.rng(self.options.seed));
        let settings = self.options.samples();
        let mut members = Vec::new();
        for (c, clip) in clips.iter().enumerate() {
            let samples = kinds::samples(clip, &settings, &mut rng, &mut counts)?;
            for (s, sample) in samples.iter().enumerate() {
                members.push(encode(&format!("{key}-{c:02}-{s:03}"), sample)?);
            }
        }
        Ok(Made {
            members,
            clips: clips.len() as u64,
            counts,
        })
    }

    /// Returns the item's annotated clips.
    pub(in super::super) fn clips(&self, item: &Item, counts: &mut Counts) -> Result<Vec<Clip>> {
        let (side, square) = (self.options.size, self.options.square);
        match item {
            Item::Video(path) => self.video(path, counts),
            Item::Pair(folder, file) => {
                let pair = toolkit::read(folder, file, &self.instructions, side, square)?;
                Ok(vec![pair])
            }
            Item::World(seed) => Ok(vec![self.world(*seed)]),
        }
    }

    fn world(&self, seed: u64) -> Clip {
        let wording = if self.options.held_out {
            Wording::HeldOut
        } else {
            Wording::Training
        };
        let clip = if self.options.easy {
            tabletop::easy_clip
        } else {
            tabletop::clip
        };
        clip(seed, self.options.size, wording)
    }

    fn video(&self, path: &Path, counts: &mut Counts) -> Result<Vec<Clip>> {
        let (clips, fit) = video::clips(path, &self.options.video(), counts)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let annotate = |clip: Clip| self.annotated(clip, &stem, fit, counts);
        clips.into_iter().map(annotate).collect()
    }

    /// Selects frames of a clip and runs the annotators.
    fn annotated(&self, clip: Clip, video: &str, fit: Fit, counts: &mut Counts) -> Result<Clip> {
        let mut shot = Shot { clip, video, fit };
        run(&self.early, &mut shot, counts)?;
        let frames = video::select(&shot.clip, self.options.frames);
        shot.clip = video::select_frames(shot.clip, &frames);
        run(&self.late, &mut shot, counts)?;
        if shot.clip.instructions.is_empty() {
            shot.clip.instructions = describe::instructions(&shot.clip);
        }
        Ok(shot.clip)
    }
}

/// Runs annotators. The failure of one is counted and the clip continues without it. A network error fails the item
/// instead, so that a re-run asks the endpoint again.
fn run(annotators: &[Box<dyn Annotator>], shot: &mut Shot<'_>, counts: &mut Counts) -> Result<()> {
    for annotator in annotators {
        match annotator.annotate(shot, counts) {
            Err(e @ Error::Network { .. }) => return Err(e),
            Err(e) => counts.drop(&format!("clip without {}: {e}", annotator.name())),
            Ok(()) => (),
        }
    }
    Ok(())
}
