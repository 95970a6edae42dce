//! Samples of objects: customisation, insertion, adding by words, segmentation.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::super::prompts::{self, definite, indefinite, listed, some};
use super::super::sample::Kind;
use super::{Draft, SampleBuilder, mask};
use unireal::Image;
use unireal::{Role, Tag};

/// Samples of each of these kinds for each clip.
const OF_EACH: usize = 2;
/// Most masks of each frame that is segmented: they cost next to nothing, and tie words to objects.
const MASKS: usize = 4;
/// Most objects of a customisation.
const MOST_ASSETS: usize = 3;
/// Share of insertions and customisations with the mask of the place as a further input.
const WITH_PLACE: f64 = 0.3;
/// Share of insertions with the mask of the object as a second output.
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
        self.insert_with_truth();
        for &frame in frames.iter().cycle().take(OF_EACH) {
            self.add(frame);
            self.segment(frame);
        }
    }

    /// Frames to take objects from, with frames to show them in.
    fn pairs(&mut self, frames: &[usize]) -> Vec<[usize; 2]> {
        let mut pairs = Vec::new();
        while pairs.len() < OF_EACH && frames.len() > 1 {
            let from = frames[self.rng.random_range(0..frames.len())];
            let to = frames[self.rng.random_range(0..frames.len())];
            if from != to {
                pairs.push([from, to]);
            }
        }
        pairs
    }

    /// The entities that both frames show well.
    fn common(&mut self, [from, to]: [usize; 2]) -> Vec<usize> {
        let there = self.visible(to);
        let here = self.visible(from);
        here.into_iter()
            .filter(|entity| there.contains(entity))
            .collect()
    }

    fn asset(&self, frame: usize, entity: usize) -> Option<(Image, Role)> {
        let mask = &self.clip.entities[entity].masks[frame];
        Some((mask::cut_out(&self.clip.frames[frame], mask)?, Role::Asset))
    }

    fn phrase(&mut self, entity: usize) -> String {
        let phrase = self.unique[entity].choose(self.rng);
        definite(phrase.map_or("object", String::as_str))
    }

    /// Objects cut out of one frame, in another frame.
    fn customise(&mut self, pair: [usize; 2]) {
        let mut entities = self.common(pair);
        entities.truncate(self.rng.random_range(1..=MOST_ASSETS));
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
            fillings.push(vec![("objects", listed(&phrases)), ("caption", caption)]);
        }
        let mut words = wording.all(self.settings.held_out, &fillings, self.rng);
        if inputs.len() == 1 && self.rng.random_bool(WITH_PLACE) {
            (words, inputs) = self.placed(words, inputs, entities[0], pair[1]);
        }
        let draft = Draft {
            kind: Kind::Customisation,
            variant: ["one", "two", "three"][entities.len().min(3) - 1],
            prompts: words,
            context: self.context(&[Tag::NovelScenario, Tag::WithReferenceObject]),
            inputs,
            outputs: vec![self.frame(pair[1])],
            changed: None,
        };
        self.push(&pair, draft);
    }

    /// Adds the mask of where the object is to be.
    fn placed(
        &mut self,
        words: Vec<String>,
        mut inputs: Vec<(Image, Role)>,
        entity: usize,
        frame: usize,
    ) -> (Vec<String>, Vec<(Image, Role)>) {
        let place = self.mask_picture(&self.clip.entities[entity].masks[frame]);
        inputs.push((place, Role::Control));
        let name = [("mask", format!("IMG{}", inputs.len()))];
        let words = prompts::POSITION.around(self.settings.held_out, &words, &name, self.rng);
        (words, inputs)
    }

    /// An object cut out of one frame comes back into another, from which it was erased.
    fn insert(&mut self, pair: [usize; 2]) {
        let Some(&entity) = self.common(pair).first() else {
            return;
        };
        let Some(asset) = self.asset(pair[0], entity) else {
            return;
        };
        let shown = &self.clip.entities[entity].masks[pair[1]];
        let frame = self.frame(pair[1]);
        let canvas = mask::erased(&frame, &self.reach(shown));
        let mut words = self.insertion_words(Some(entity));
        let mut inputs = vec![(canvas, Role::Canvas), asset];
        let mut outputs = vec![frame];
        if self.rng.random_bool(WITH_PLACE) {
            (words, inputs) = self.placed(words, inputs, entity, pair[1]);
        } else if self.rng.random_bool(WITH_MASK) {
            words = prompts::WITH_MASK.around(self.settings.held_out, &words, &[], self.rng);
            outputs.push(self.mask_picture(shown));
        }
        let changed = Some(self.mask_picture(shown));
        self.push_insertion(&pair, "erased", words, inputs, outputs, changed);
    }

    fn insertion_words(&mut self, entity: Option<usize>) -> Vec<String> {
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

    /// Where an edit with truth takes one object away, the same pictures the other way round are an insertion with its
    /// shadow and its reflections.
    fn insert_with_truth(&mut self) {
        let clip = self.clip;
        for edit in &clip.edits {
            let (without, with) = match edit.variant.as_str() {
                "remove" => (&edit.after, &edit.before),
                "add" => (&edit.before, &edit.after),
                _ => continue,
            };
            let share = mask::share(&edit.changed);
            let shown = (self.settings.min_object..self.settings.max_object).contains(&share);
            // What comes down with it would be a part of the object, and of the canvas as well.
            let whole = edit.solids == 1 && mask::regions(&edit.changed, self.width()).len() == 1;
            if !shown || !whole {
                continue;
            }
            let Some(object) = mask::cut_out(with, &edit.changed) else {
                continue;
            };
            // Nothing in the canvas says where; a mask does, as in the paper's "at the position of IMG3".
            let place = self.mask_picture(&edit.changed);
            let mut inputs = vec![(without.clone(), Role::Canvas), (object, Role::Asset)];
            inputs.push((place.clone(), Role::Control));
            let name = [("mask", format!("IMG{}", inputs.len()))];
            let words = self.insertion_words(None);
            let words = prompts::POSITION.around(self.settings.held_out, &words, &name, self.rng);
            let changed = Some(place);
            self.push_insertion(&[], "truth", words, inputs, vec![with.clone()], changed);
        }
    }

    /// A mask with the border that an object's edge mixes into.
    fn reach(&self, shown: &[bool]) -> Vec<bool> {
        let width = self.width() as usize;
        mask::grown(shown, width, 1 + width / 64)
    }

    /// A part of a frame that was erased comes back from words.
    fn add(&mut self, frame: usize) {
        let Some(&entity) = self.visible(frame).first() else {
            return;
        };
        let shown = &self.clip.entities[entity].masks[frame];
        let mut hole = self.reach(shown);
        // A hole in the object's shape says too much; half of them are boxes.
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
            changed: Some(self.mask_picture(&hole)),
        };
        self.push(&[frame], draft);
    }

    /// The masks of objects that words name.
    fn segment(&mut self, frame: usize) {
        for entity in self.visible(frame).into_iter().take(MASKS) {
            self.segment_one(frame, entity);
        }
    }

    fn segment_one(&mut self, frame: usize, entity: usize) {
        let phrases = some(&self.unique[entity].clone(), self.rng);
        let fill = |phrase: &String| vec![("object", definite(phrase))];
        let fillings: Vec<_> = phrases.iter().map(fill).collect();
        let shown = &self.clip.entities[entity].masks[frame];
        let draft = Draft {
            kind: Kind::Segmentation,
            variant: "",
            prompts: prompts::SEGMENT.all(self.settings.held_out, &fillings, self.rng),
            context: self.context(&[Tag::PerceptionTask]),
            inputs: vec![(self.frame(frame), Role::Canvas)],
            outputs: vec![self.mask_picture(shown)],
            changed: None,
        };
        self.push(&[frame], draft);
    }
}
