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
use super::super::shard::{Members, encode, sorted_entries};
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

    /// Returns the prefix of its samples' keys: the readable part of the name and a hash of the whole name.
    fn key(&self) -> String {
        let readable = self.readable_name();
        let hash = Sha256::digest(self.name().as_bytes());
        format!(
            "{readable}-{:02x}{:02x}{:02x}{:02x}",
            hash[0], hash[1], hash[2], hash[3]
        )
    }

    /// Returns the first 40 characters of the stem, with `-` for all but ASCII letters and digits.
    pub(in super::super) fn readable_name(&self) -> String {
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
const VIDEO_EXTENSIONS: [&str; 14] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "ogv", "flv", "wmv", "gif",
    "y4m",
];

/// Returns the items of the options' part, in an order that does not depend on the machine.
///
/// # Errors
/// [`Error::Request`] when the options name no item, [`Error::Io`] for a path that does not exist.
pub(in super::super) fn items_of_part(options: &Options) -> Result<Vec<Item>> {
    let (k, n) = options.part;
    Ok(items(options)?.into_iter().skip(k - 1).step_by(n).collect())
}

/// Returns all items that the options name, sorted.
fn items(options: &Options) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for path in &options.videos {
        find_videos(path, 0, &mut items)?;
    }
    if let Some(folder) = &options.toolkit {
        for path in sorted_entries(&folder.join("pairs"))? {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if file.ends_with(".png") {
                items.push(Item::Pair(folder.clone(), file.into_owned()));
            }
        }
    }
    items.extend((0..options.world).map(|i| Item::World(options.seed.wrapping_add(i))));
    items.sort();
    items.dedup();
    if items.is_empty() {
        Err(Error::Request(format!(
            "finding input: nothing to build from, expected --world scenes, --toolkit pairs, or --videos with files or folders of files that end in {}",
            VIDEO_EXTENSIONS.join(", ")
        )))
    } else {
        Ok(items)
    }
}

/// Maximum depth of nested folders, which stops at cycles of symbolic links.
const MAX_DEPTH: usize = 16;

fn find_videos(path: &Path, depth: usize, items: &mut Vec<Item>) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !metadata.is_dir() {
        items.push(Item::Video(path.to_owned()));
        return Ok(());
    }
    for path in sorted_entries(path)? {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if path.is_dir() && depth < MAX_DEPTH {
            find_videos(&path, depth + 1, items)?;
        } else if extension.is_some_and(|e| VIDEO_EXTENSIONS.contains(&e.as_str())) {
            items.push(Item::Video(path));
        }
    }
    Ok(())
}

/// Checks that the programs that read videos can be run, if any item is a video. Without them, every video would fail.
///
/// # Errors
/// [`Error::Unsupported`] with the program that is missing.
pub(in super::super) fn check_programs(items: &[Item]) -> Result<()> {
    if items.iter().any(|item| matches!(item, Item::Video(_))) {
        video::check_programs()
    } else {
        Ok(())
    }
}

/// The encoded samples of an item.
pub(super) struct ItemSamples {
    pub(super) encoded: Vec<Members>,
    pub(super) clips: u64,
    pub(super) counts: Counts,
}

/// Builds the samples of items; shared by the threads.
pub(in super::super) struct ItemBuilder {
    options: Options,
    /// Annotators that need all frames of a clip.
    clip_annotators: Vec<Box<dyn Annotator>>,
    /// Annotators that need only the selected frames.
    frame_annotators: Vec<Box<dyn Annotator>>,
    /// Instructions of the toolkit's pairs, by file name.
    instructions: BTreeMap<String, String>,
}

impl ItemBuilder {
    pub(in super::super) fn new(options: &Options) -> Result<ItemBuilder> {
        let [clip_annotators, frame_annotators] = options.annotators()?;
        let toolkit = options.toolkit.as_deref().map(toolkit::instructions);
        Ok(ItemBuilder {
            options: options.clone(),
            clip_annotators,
            frame_annotators,
            instructions: toolkit.transpose()?.unwrap_or_default(),
        })
    }

    pub(super) fn build(&self, item: &Item) -> Result<ItemSamples> {
        let mut counts = Counts::default();
        let clips = self.clips(item, &mut counts)?;
        let (key, mut rng) = (item.key(), item.rng(self.options.seed));
        let settings = self.options.sample_settings();
        let mut encoded = Vec::new();
        for (c, clip) in clips.iter().enumerate() {
            let samples = kinds::samples(clip, &settings, &mut rng, &mut counts)?;
            for (s, sample) in samples.iter().enumerate() {
                encoded.push(encode(&format!("{key}-{c:02}-{s:03}"), sample)?);
            }
        }
        Ok(ItemSamples {
            encoded,
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
        let (clips, fit) = video::clips(path, &self.options.video_settings(), counts)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let annotate = |clip: Clip| self.annotate(clip, &stem, fit, counts);
        clips.into_iter().map(annotate).collect()
    }

    /// Selects frames of a clip and runs the annotators.
    fn annotate(&self, clip: Clip, video: &str, fit: Fit, counts: &mut Counts) -> Result<Clip> {
        let mut shot = Shot { clip, video, fit };
        run_annotators(&self.clip_annotators, &mut shot, counts)?;
        let frames = video::select(&shot.clip, self.options.frames);
        shot.clip = video::select_frames(shot.clip, &frames);
        run_annotators(&self.frame_annotators, &mut shot, counts)?;
        if shot.clip.instructions.is_empty() {
            shot.clip.instructions = describe::instructions(&shot.clip);
        }
        Ok(shot.clip)
    }
}

/// Runs annotators. The failure of one is counted and the clip continues without it. A network error fails the item
/// instead, so that a re-run asks the endpoint again.
fn run_annotators(
    annotators: &[Box<dyn Annotator>],
    shot: &mut Shot<'_>,
    counts: &mut Counts,
) -> Result<()> {
    for annotator in annotators {
        match annotator.annotate(shot, counts) {
            Err(e @ Error::Network { .. }) => return Err(e),
            Err(e) => counts.drop(&format!("clip without {}: {e}", annotator.name())),
            Ok(()) => (),
        }
    }
    Ok(())
}
