//! Samples of objects: customisation, insertion, object-add and segmentation.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::super::prompts::{self, definite, indefinite, join_list, some};
use super::super::sample::Kind;
use super::{Draft, SampleBuilder, mask};
use unireal::Image;
use unireal::{Role, Tag};

/// Number of frame pairs per clip for customisation and insertion, and of frames for object-add and segmentation.
const PER_CLIP: usize = 2;
/// Maximum number of masks per segmented frame. Masks take little memory and teach which object a phrase refers to.
const MAX_MASKS: usize = 4;
/// Maximum number of objects per customisation.
const MAX_ASSETS: usize = 3;
/// Probability that an insertion, or a customisation with one object, has the target mask as a further input.
const WITH_TARGET_MASK: f64 = 0.3;
/// Probability that an insertion without a target mask has the object's mask as a second output.
const WITH_MASK: f64 = 0.12;

impl<R: Rng> SampleBuilder<'_, R> {
    pub(super) fn object_samples(&mut self) {
        let frames = self.shuffled_frames();
        for pair in self.pairs(&frames) {
            self.customise(pair);
        }
        for pair in self.pairs(&frames) {
            self.insert(pair);
        }
        self.insert_with_ground_truth();
        for &frame in frames.iter().cycle().take(PER_CLIP) {
            self.add(frame);
            self.segment(frame);
        }
    }

    /// Returns random pairs of a frame to take objects from and another to show them in.
    fn pairs(&mut self, frames: &[usize]) -> Vec<[usize; 2]> {
        let mut pairs = Vec::new();
        while pairs.len() < PER_CLIP && frames.len() > 1 {
            let from = frames[self.rng.random_range(0..frames.len())];
            let to = frames[self.rng.random_range(0..frames.len())];
            if from != to {
                pairs.push([from, to]);
            }
        }
        pairs
    }

    /// Returns the usable entities that both frames show.
    fn common(&mut self, [from, to]: [usize; 2]) -> Vec<usize> {
        let visible_after = self.visible(to);
        let mut entities = self.visible(from);
        entities.retain(|entity| visible_after.contains(entity));
        entities
    }

    fn asset(&self, frame: usize, entity: usize) -> Option<(Image, Role)> {
        let mask = &self.clip.entities[entity].masks[frame];
        Some((mask::cut_out(&self.clip.frames[frame], mask)?, Role::Asset))
    }

    fn phrase(&mut self, entity: usize) -> String {
        let phrase = self.unique[entity].choose(self.rng);
        definite(phrase.map_or("object", String::as_str))
    }

    /// Builds a customisation: objects cut out of one frame, and another frame that shows them.
    fn customise(&mut self, pair: [usize; 2]) {
        let mut entities = self.common(pair);
        entities.truncate(self.rng.random_range(1..=MAX_ASSETS));
        let assets = entities
            .iter()
            .filter_map(|&entity| self.asset(pair[0], entity));
        let mut inputs: Vec<_> = assets.collect();
        if inputs.is_empty() {
            return;
        }
        let captions = some(self.clip.captions_of(pair[1]), self.rng);
        let wording = if captions.is_empty() {
            &prompts::CUSTOMISE_FREELY
        } else {
            &prompts::CUSTOMISE
        };
        let mut fillings = Vec::new();
        for i in 0..captions.len().max(1) {
            let phrases = entities.iter().enumerate();
            let phrases: Vec<_> = phrases
                .map(|(n, &entity)| format!("{} of IMG{}", self.phrase(entity), n + 1))
                .collect();
            let caption = captions.get(i).cloned().unwrap_or_default();
            fillings.push(vec![("objects", join_list(&phrases)), ("caption", caption)]);
        }
        let mut prompts = wording.all(self.settings.held_out, &fillings, self.rng);
        if inputs.len() == 1 && self.rng.random_bool(WITH_TARGET_MASK) {
            (prompts, inputs) = self.with_target_mask(prompts, inputs, entities[0], pair[1]);
        }
        let draft = Draft {
            kind: Kind::Customisation,
            variant: ["one", "two", "three"][entities.len().min(3) - 1],
            prompts,
            context: self.context(&[Tag::NovelScenario, Tag::WithReferenceObject]),
            inputs,
            outputs: vec![self.frame(pair[1])],
            changed: None,
        };
        self.push(&pair, draft);
    }

    /// Adds the target mask of the object to the inputs and the prompts.
    fn with_target_mask(
        &mut self,
        prompts: Vec<String>,
        mut inputs: Vec<(Image, Role)>,
        entity: usize,
        frame: usize,
    ) -> (Vec<String>, Vec<(Image, Role)>) {
        let target = self.mask_image(&self.clip.entities[entity].masks[frame]);
        inputs.push((target, Role::Control));
        let name = [("mask", format!("IMG{}", inputs.len()))];
        let prompts = prompts::POSITION.around(self.settings.held_out, &prompts, &name, self.rng);
        (prompts, inputs)
    }

    /// Builds an insertion: an object cut out of one frame returns to another frame from which it was erased.
    fn insert(&mut self, pair: [usize; 2]) {
        let Some(&entity) = self.common(pair).first() else {
            return;
        };
        let Some(asset) = self.asset(pair[0], entity) else {
            return;
        };
        let mask = &self.clip.entities[entity].masks[pair[1]];
        let frame = self.frame(pair[1]);
        let canvas = mask::erased(&frame, &self.with_border(mask));
        let mut prompts = self.insertion_prompts(Some(entity));
        let mut inputs = vec![(canvas, Role::Canvas), asset];
        let mut outputs = vec![frame];
        if self.rng.random_bool(WITH_TARGET_MASK) {
            (prompts, inputs) = self.with_target_mask(prompts, inputs, entity, pair[1]);
        } else if self.rng.random_bool(WITH_MASK) {
            prompts = prompts::WITH_MASK.around(self.settings.held_out, &prompts, &[], self.rng);
            outputs.push(self.mask_image(mask));
        }
        let changed = Some(self.mask_image(mask));
        self.push_insertion(&pair, "erased", prompts, inputs, outputs, changed);
    }

    fn insertion_prompts(&mut self, entity: Option<usize>) -> Vec<String> {
        let phrases = match entity {
            Some(entity) => self.unique[entity].iter().map(|p| definite(p)).collect(),
            None => Vec::new(),
        };
        let mut phrases = some(&phrases, self.rng);
        phrases.push("the object".into());
        let fillings: Vec<_> = phrases.into_iter().map(|p| vec![("object", p)]).collect();
        prompts::INSERT.all(self.settings.held_out, &fillings, self.rng)
    }

    fn push_insertion(
        &mut self,
        frames: &[usize],
        variant: &str,
        prompts: Vec<String>,
        inputs: Vec<(Image, Role)>,
        outputs: Vec<Image>,
        changed: Option<Image>,
    ) {
        let draft = Draft {
            kind: Kind::Insertion,
            variant,
            prompts,
            context: self.context(&[Tag::StaticScenario, Tag::WithReferenceObject]),
            inputs,
            outputs,
            changed,
        };
        self.push(frames, draft);
    }

    /// Builds insertions from the edits with ground truth that add or remove one object. They include its shadow and
    /// reflections.
    fn insert_with_ground_truth(&mut self) {
        let clip = self.clip;
        for edit in &clip.edits {
            let (without, with) = match edit.variant.as_str() {
                "remove" => (&edit.after, &edit.before),
                "add" => (&edit.before, &edit.after),
                _ => continue,
            };
            let share = mask::share(&edit.changed);
            let usable = (self.settings.min_object..self.settings.max_object).contains(&share);
            // Other objects that fall would be part of the cut-out and of the canvas as well.
            let single = edit.solids == 1 && mask::regions(&edit.changed, self.width()).len() == 1;
            if !usable || !single {
                continue;
            }
            let Some(object) = mask::cut_out(with, &edit.changed) else {
                continue;
            };
            // The canvas does not show where the object goes; a mask does, as in the paper's "at the position of IMG3".
            let target = self.mask_image(&edit.changed);
            let mut inputs = vec![(without.clone(), Role::Canvas), (object, Role::Asset)];
            inputs.push((target.clone(), Role::Control));
            let name = [("mask", format!("IMG{}", inputs.len()))];
            let texts = self.insertion_prompts(None);
            let texts = prompts::POSITION.around(self.settings.held_out, &texts, &name, self.rng);
            let changed = Some(target);
            self.push_insertion(&[], "truth", texts, inputs, vec![with.clone()], changed);
        }
    }

    /// Dilates a mask to cover the border pixels into which the object's edge blends.
    fn with_border(&self, mask: &[bool]) -> Vec<bool> {
        let width = self.width() as usize;
        mask::grown(mask, width, 1 + width / 64)
    }

    /// Builds an object-add sample: an erased part of a frame returns from its description.
    fn add(&mut self, frame: usize) {
        let Some(&entity) = self.visible(frame).first() else {
            return;
        };
        let mut hole = self.with_border(&self.clip.entities[entity].masks[frame]);
        // A hole of the object's shape reveals too much, so half of the holes are boxes.
        if self.rng.random() {
            hole = mask::boxed(&hole, self.width() as usize);
        }
        let phrases = some(&self.unique[entity].clone(), self.rng);
        let fill = |phrase: &String| vec![("object", indefinite(phrase))];
        let fillings: Vec<_> = phrases.iter().map(fill).collect();
        let draft = Draft {
            kind: Kind::ObjectAdd,
            variant: "",
            prompts: prompts::ADD.all(self.settings.held_out, &fillings, self.rng),
            context: self.context(&[Tag::StaticScenario]),
            inputs: vec![(mask::hole(&self.clip.frames[frame], &hole), Role::Canvas)],
            outputs: vec![self.frame(frame)],
            changed: Some(self.mask_image(&hole)),
        };
        self.push(&[frame], draft);
    }

    /// Builds segmentation samples: the masks of objects named by phrases.
    fn segment(&mut self, frame: usize) {
        for entity in self.visible(frame).into_iter().take(MAX_MASKS) {
            self.segment_one(frame, entity);
        }
    }

    fn segment_one(&mut self, frame: usize, entity: usize) {
        let phrases = some(&self.unique[entity].clone(), self.rng);
        let fill = |phrase: &String| vec![("object", definite(phrase))];
        let fillings: Vec<_> = phrases.iter().map(fill).collect();
        let mask = self.mask_image(&self.clip.entities[entity].masks[frame]);
        let draft = Draft {
            kind: Kind::Segmentation,
            variant: "",
            prompts: prompts::SEGMENT.all(self.settings.held_out, &fillings, self.rng),
            context: self.context(&[Tag::PerceptionTask]),
            inputs: vec![(self.frame(frame), Role::Canvas)],
            outputs: vec![mask],
            changed: None,
        };
        self.push(&[frame], draft);
    }
}
