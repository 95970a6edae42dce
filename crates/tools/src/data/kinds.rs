//! Builds samples of every kind from a clip (paper, section 3.2 and table 1).

mod frames;
mod objects;

#[cfg(test)]
mod tests;

pub use frames::{depth_image, edges};

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::clip::{Clip, Entity};
use super::sample::{Kind, Sample};
use super::{mask, prompts, quality};
use unireal::Image;
use unireal::{Error, Result};
use unireal::{Role, Tag};

/// Settings of sample building and its filters.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether to use the prompt wordings that training never sees.
    pub held_out: bool,
    /// Smallest object, as a fraction of the image.
    pub min_object: f32,
    /// Largest object, as a fraction of the image.
    pub max_object: f32,
    /// Largest [blur](quality::blur) of a frame; blurrier frames are dropped.
    pub max_blur: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            held_out: false,
            min_object: 0.004,
            max_object: 0.6,
            max_blur: 0.7,
        }
    }
}

/// The number of samples built, and the number dropped with the reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Number of samples by kind, or by kind/variant where there is one.
    pub samples: BTreeMap<String, u64>,
    /// Number of drops by the filters, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn drop(&mut self, reason: &str) {
        *self.dropped.entry(reason.to_owned()).or_default() += 1;
    }

    fn add(&mut self, sample: &Sample) {
        let kind = sample.kind.name();
        let name = if sample.variant.is_empty() {
            kind
        } else {
            format!("{kind}/{}", sample.variant)
        };
        *self.samples.entry(name).or_default() += 1;
    }

    /// Adds the counts of other clips.
    pub fn merge(&mut self, other: &Counts) {
        for (name, count) in &other.samples {
            *self.samples.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.dropped {
            *self.dropped.entry(name.clone()).or_default() += count;
        }
    }
}

/// Builds the samples of a clip, of every kind for which it has annotations, and adds them and the drops of the filters to
/// `counts`. The same clip, settings and state of `rng` give the same samples.
///
/// # Errors
/// [`Error::Internal`] when the clip is inconsistent, which is a defect of an annotator.
pub fn samples(
    clip: &Clip,
    settings: &Settings,
    rng: &mut impl Rng,
    counts: &mut Counts,
) -> Result<Vec<Sample>> {
    check(clip)
        .map_err(|reason| Error::Internal(format!("checking clip {}: {reason}", clip.name)))?;
    let mut builder = SampleBuilder {
        clip,
        settings,
        usable: Vec::new(),
        unique: unique_phrases(clip),
        counts,
        rng,
        samples: Vec::new(),
    };
    builder.filter_frames();
    builder.text_to_image();
    builder.text_to_video();
    builder.edits();
    builder.frame_pairs();
    builder.control();
    builder.object_samples();
    let samples = builder.samples;
    samples.iter().for_each(|sample| counts.add(sample));
    Ok(samples)
}

/// Checks that every annotation fits the frames.
fn check(clip: &Clip) -> std::result::Result<(), String> {
    let frames = clip.frames.len();
    let Some(first) = clip.frames.first() else {
        return Ok(());
    };
    let size = (first.width, first.height);
    let pixels = (size.0 * size.1) as usize;
    let fits = |image: &Image| (image.width, image.height) == size;
    let counted = |what: &str, found: usize| {
        if found == frames {
            Ok(())
        } else {
            Err(format!("{found} {what}, expected {frames}"))
        }
    };
    counted("frame numbers", clip.numbers.len())?;
    if !clip.frame_captions.is_empty() {
        counted("lists of frame captions", clip.frame_captions.len())?;
    }
    if !clip.depths.is_empty() {
        counted("depth maps", clip.depths.len())?;
    }
    for entity in &clip.entities {
        counted("masks of an entity", entity.masks.len())?;
    }
    let masks = clip.entities.iter().flat_map(|entity| &entity.masks);
    let sizes = [
        clip.frames.iter().all(fits),
        clip.edits.iter().all(|e| fits(&e.before) && fits(&e.after)),
        clip.edits.iter().all(|e| e.changed.len() == pixels),
        clip.depths.iter().all(|depth| depth.len() == pixels),
        masks.into_iter().all(|mask| mask.len() == pixels),
    ];
    if sizes.contains(&false) {
        return Err(format!(
            "images or masks of several sizes, expected {}x{} as the first frame",
            size.0, size.1
        ));
    }
    let out_of_range = |i: &super::Instruction| i.from.max(i.to) >= frames;
    match clip.instructions.iter().find(|i| out_of_range(i)) {
        Some(i) => Err(format!(
            "an instruction from frame {} to {}, expected frames below {frames}",
            i.from, i.to
        )),
        None => Ok(()),
    }
}

/// Returns each entity's phrases that no other entity has.
fn unique_phrases(clip: &Clip) -> Vec<Vec<String>> {
    let shared = |index: usize, phrase: &String| {
        let others = clip
            .entities
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != index);
        let mut others = others.map(|(_, other)| other);
        others.any(|other| other.phrases.contains(phrase))
    };
    let unique = |(i, entity): (usize, &Entity)| {
        let phrases = entity.phrases.iter().filter(|phrase| !shared(i, phrase));
        phrases.cloned().collect()
    };
    clip.entities.iter().enumerate().map(unique).collect()
}

/// State that the methods for all kinds share.
struct SampleBuilder<'a, R> {
    clip: &'a Clip,
    settings: &'a Settings,
    /// Frames that passed the filters.
    usable: Vec<usize>,
    /// Phrases of each entity that refer to it alone.
    unique: Vec<Vec<String>>,
    counts: &'a mut Counts,
    rng: &'a mut R,
    samples: Vec<Sample>,
}

impl<R: Rng> SampleBuilder<'_, R> {
    fn filter_frames(&mut self) {
        for (i, frame) in self.clip.frames.iter().enumerate() {
            if quality::blur(frame) > self.settings.max_blur {
                self.counts.drop("blurred frame")
            } else {
                self.usable.push(i)
            }
        }
    }

    fn width(&self) -> u32 {
        self.clip.frames.first().map_or(1, |frame| frame.width)
    }

    /// Returns the clip's style tag followed by `tags`.
    fn context(&self, tags: &[Tag]) -> Vec<Tag> {
        let mut context = vec![self.clip.style.unwrap_or(Tag::RealisticStyle)];
        context.extend(tags);
        context
    }

    /// Returns the usable frames in random order.
    fn shuffled_frames(&mut self) -> Vec<usize> {
        let mut frames = self.usable.clone();
        frames.shuffle(self.rng);
        frames
    }

    /// Returns the entities of a frame that are neither tiny nor huge and have a unique phrase, in random order; the others are
    /// counted as dropped.
    fn visible(&mut self, frame: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for (i, entity) in self.clip.entities.iter().enumerate() {
            match mask::share(&entity.masks[frame]) {
                0.0 => (),
                share if share < self.settings.min_object => self.counts.drop("tiny object"),
                share if share > self.settings.max_object => self.counts.drop("huge object"),
                _ if self.unique[i].is_empty() => {
                    self.counts.drop("object that no phrase means alone")
                }
                _ => found.push(i),
            }
        }
        found.shuffle(self.rng);
        found
    }

    fn mask_image(&self, mask: &[bool]) -> Image {
        mask::to_image(mask, self.width())
    }

    fn frame(&self, index: usize) -> Image {
        self.clip.frames[index].clone()
    }

    /// Adds a sample from these frames; one without prompts is dropped.
    fn push(&mut self, frames: &[usize], draft: Draft) {
        if draft.prompts.is_empty() {
            self.counts.drop("no caption");
            return;
        }
        let numbers: Vec<u64> = frames
            .iter()
            .map(|&frame| self.clip.numbers[frame])
            .collect();
        let mut context = draft.context;
        context.sort();
        context.dedup();
        let mut prompts = draft.prompts;
        let is_request = !matches!(draft.kind, Kind::TextToImage | Kind::TextToVideo);
        if is_request && !self.settings.held_out {
            prompts::add_filler_to_some(&mut prompts, self.rng);
        }
        self.samples.push(Sample {
            kind: draft.kind,
            variant: draft.variant.to_owned(),
            prompts,
            context,
            inputs: draft.inputs,
            outputs: draft.outputs,
            changed: draft.changed,
            source: json!({ "clip": self.clip.name, "frames": numbers }),
        });
    }
}

/// A sample without its source.
struct Draft<'a> {
    kind: Kind,
    variant: &'a str,
    prompts: Vec<String>,
    context: Vec<Tag>,
    inputs: Vec<(Image, Role)>,
    outputs: Vec<Image>,
    changed: Option<Image>,
}
