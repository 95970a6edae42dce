//! Samples of whole frames: text to image, text to video, edits, frame pairs, depth and edges.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::super::prompts::{self, Wording, join_list, some};
use super::super::quality::{Change, is_cut};
use super::super::sample::Kind;
use super::{Draft, SampleBuilder};
use unireal::Image;
use unireal::{Role, Tag};

/// Number of text-to-image samples per clip.
const TEXT_TO_IMAGE: usize = 2;
/// Number of frames of a text-to-video sample.
const VIDEO_FRAMES: std::ops::RangeInclusive<usize> = 2..=4;
/// Number of frame pairs per clip whose instruction is the clip's caption.
const CAPTION_PAIRS: usize = 2;
/// Probability that an edit has the mask of the changed pixels as a second output.
const WITH_MASK: f64 = 0.12;

impl<R: Rng> SampleBuilder<'_, R> {
    /// Builds text-to-image samples.
    pub(super) fn text_to_image(&mut self) {
        for frame in self.shuffled_frames().into_iter().take(TEXT_TO_IMAGE) {
            let prompts = some(self.clip.captions_of(frame), self.rng);
            let draft = Draft {
                kind: Kind::TextToImage,
                variant: "",
                prompts,
                context: self.context(&[]),
                inputs: Vec::new(),
                outputs: vec![self.frame(frame)],
                changed: None,
            };
            self.push(&[frame], draft);
        }
    }

    /// Builds a text-to-video sample with several frames as outputs.
    pub(super) fn text_to_video(&mut self) {
        let max = self.usable.len().min(*VIDEO_FRAMES.end());
        if max < *VIDEO_FRAMES.start() {
            return;
        }
        let count = self.rng.random_range(*VIDEO_FRAMES.start()..=max);
        let spread = |i: usize| self.usable[i * (self.usable.len() - 1) / (count - 1)];
        let frames: Vec<usize> = (0..count).map(spread).collect();
        let results: Vec<String> = (1..=count).map(|n| format!("RES{n}")).collect();
        let fill = |caption: &String| {
            vec![
                ("caption", caption.clone()),
                ("count", count.to_string()),
                ("results", join_list(&results)),
            ]
        };
        let fillings: Vec<_> = self.clip.captions.iter().map(fill).collect();
        let draft = Draft {
            kind: Kind::TextToVideo,
            variant: "",
            prompts: prompts::VIDEO.all(self.settings.held_out, &fillings, self.rng),
            context: self.context(&[Tag::DynamicScenario]),
            inputs: Vec::new(),
            outputs: frames.iter().map(|&frame| self.frame(frame)).collect(),
            changed: None,
        };
        self.push(&frames, draft);
    }

    /// Builds edits with ground truth, some with the mask of the changed pixels as a second output.
    pub(super) fn edits(&mut self) {
        let clip = self.clip;
        for edit in &clip.edits {
            if edit.before == edit.after {
                self.counts.drop("no change");
                continue;
            }
            let held_out = self.settings.held_out;
            let mut texts = prompts::name_images_in_some(&edit.texts, held_out, self.rng);
            let changed = self.mask_image(&edit.changed);
            let mut outputs = vec![edit.after.clone()];
            if edit.changed.contains(&true) && self.rng.random_bool(WITH_MASK) {
                texts = prompts::WITH_MASK.around(held_out, &texts, &[], self.rng);
                outputs.push(changed.clone());
            }
            let draft = Draft {
                kind: Kind::Edit,
                variant: &edit.variant,
                prompts: texts,
                context: edit.context.clone(),
                inputs: vec![(edit.before.clone(), Role::Canvas)],
                outputs,
                changed: Some(changed),
            };
            self.push(&[], draft);
        }
    }

    /// Builds frame pairs with exact instructions, and frame pairs with the clip's caption.
    pub(super) fn frame_pairs(&mut self) {
        let clip = self.clip;
        for instruction in &clip.instructions {
            let pair = [instruction.from, instruction.to];
            if pair.iter().all(|frame| self.usable.contains(frame)) {
                let held_out = self.settings.held_out;
                let texts = prompts::name_images_in_some(&instruction.texts, held_out, self.rng);
                self.frame_pair(pair, "instruction", texts);
            }
        }
        let mut pairs = Vec::new();
        for (n, &from) in self.usable.iter().enumerate() {
            pairs.extend(self.usable[n + 1..].iter().map(|&to| [from, to]));
        }
        pairs.shuffle(self.rng);
        for pair in pairs.into_iter().take(CAPTION_PAIRS) {
            let captions = some(&clip.captions, self.rng);
            self.frame_pair(pair, "caption", captions);
        }
    }

    fn frame_pair(&mut self, [from, to]: [usize; 2], variant: &str, prompts: Vec<String>) {
        let (before, after) = (self.frame(from), self.frame(to));
        if is_cut(&before, &after) {
            return self.counts.drop("cut between the frames");
        }
        let change = Change::between(&before, &after);
        if change.is_negligible() {
            return self.counts.drop("no change");
        }
        let draft = Draft {
            kind: Kind::FrameToFrame,
            variant,
            prompts,
            context: self.context(&[change.tag()]),
            inputs: vec![(before, Role::Canvas)],
            outputs: vec![after],
            changed: None,
        };
        self.push(&[from, to], draft);
    }

    /// Builds control samples: depth and edges from a frame, and a frame from each.
    pub(super) fn control(&mut self) {
        let frames = self.shuffled_frames();
        if let Some(&frame) = frames.first().filter(|_| !self.clip.depths.is_empty()) {
            match depth_image(&self.clip.depths[frame], self.width()) {
                Some(map) => {
                    let wordings = [&prompts::DEPTH, &prompts::FROM_DEPTH];
                    self.both_directions(frame, map, ["depth", "from-depth"], wordings);
                }
                None => self.counts.drop("flat depth map"),
            }
        }
        if let Some(&frame) = frames.last() {
            match edges(&self.clip.frames[frame]) {
                Some(map) => {
                    let wordings = [&prompts::EDGES, &prompts::FROM_EDGES];
                    self.both_directions(frame, map, ["canny", "from-canny"], wordings);
                }
                None => self.counts.drop("no edges"),
            }
        }
    }

    /// Builds a sample with a frame's map as the output, and one with the map as the input.
    fn both_directions(
        &mut self,
        frame: usize,
        map: Image,
        variants: [&str; 2],
        wordings: [&Wording; 2],
    ) {
        let held_out = self.settings.held_out;
        let draft = Draft {
            kind: Kind::Control,
            variant: variants[0],
            prompts: wordings[0].all(held_out, &[vec![]], self.rng),
            context: self.context(&[Tag::PerceptionTask]),
            inputs: vec![(self.frame(frame), Role::Canvas)],
            outputs: vec![map.clone()],
            changed: None,
        };
        self.push(&[frame], draft);
        let captions = self.clip.captions_of(frame).iter();
        let fillings: Vec<_> = captions
            .map(|text| vec![("caption", text.clone())])
            .collect();
        let draft = Draft {
            kind: Kind::Control,
            variant: variants[1],
            prompts: wordings[1].all(held_out, &fillings, self.rng),
            context: self.context(&[]),
            inputs: vec![(map, Role::Control)],
            outputs: vec![self.frame(frame)],
            changed: None,
        };
        self.push(&[frame], draft);
    }
}

/// Renders a depth map as Depth Anything does: inverse depth, white for the nearest pixel, black for the farthest. Pixels
/// whose depth is not finite or not above 0 are infinitely far. Returns `None` for a flat map.
pub fn depth_image(depth: &[f32], width: u32) -> Option<Image> {
    let inverse = |&d: &f32| {
        if d.is_finite() && d > 0.0 {
            1.0 / d
        } else {
            0.0
        }
    };
    let inverse: Vec<f32> = depth.iter().map(inverse).collect();
    let min = inverse.iter().copied().fold(f32::INFINITY, f32::min);
    let max = inverse.iter().copied().fold(0.0, f32::max);
    if max - min <= 1e-6 * max || !max.is_finite() {
        return None;
    }
    let grey = |value: f32| [(255.0 * (value - min) / (max - min)).round() as u8; 3];
    Some(Image {
        width,
        height: depth.len() as u32 / width,
        rgb: inverse.into_iter().flat_map(grey).collect(),
    })
}

/// Returns the Canny edges, white on black; `None` when they cover less than 0.2 % or at least 40 % of the image.
pub fn edges(image: &Image) -> Option<Image> {
    let grey = super::super::plane::Plane::new(image);
    let values = grey.values.iter().map(|v| (255.0 * v).round() as u8);
    let grey = image::GrayImage::from_raw(image.width, image.height, values.collect())?;
    let edges = imageproc::edges::canny(&grey, 60.0, 140.0);
    let on: Vec<bool> = edges.as_raw().iter().map(|&value| value > 0).collect();
    let share = super::mask::share(&on);
    (0.002..0.4)
        .contains(&share)
        .then(|| super::mask::to_image(&on, image.width))
}
