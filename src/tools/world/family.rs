//! Training and test data: a scene, scenes one instruction away from it, their pictures, and every task among them.

use std::collections::HashMap;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::edit::{self, Edit, Kind};
use super::render::{covered, render};
use super::scene::{Scene, pick};
use super::words;
use crate::image::Image;
use crate::request::{Role, Tag, text};

/// What a [`Pair`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The edit from scene `from` to scene `to`.
    Edit(Edit),
    /// The picture of scene `to` from words.
    TextToImage,
    /// The mask of this solid of scene `from`.
    Segment(usize),
}

/// One task of a [`Family`]: which of its images goes in, which is to come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The input's index in [`Family::images`] and [`Family::scenes`]; none for text to image.
    pub from: Option<usize>,
    /// The output's index in [`Family::images`].
    pub to: usize,
    /// What is asked for.
    pub task: Task,
}

impl Pair {
    /// The kind of task.
    pub fn kind(&self) -> Kind {
        match self.task {
            Task::Edit(edit) => edit.kind(),
            Task::TextToImage => Kind::TextToImage,
            Task::Segment(_) => Kind::Segment,
        }
    }

    /// The base prompt, a fresh paraphrase with every draw, and the context tags. `family` is the one it belongs to.
    pub fn prompt(&self, family: &Family, rng: &mut impl Rng) -> (String, Vec<Tag>) {
        (self.words(&family.scenes, rng), self.kind().tags())
    }

    fn words(&self, scenes: &[Scene], rng: &mut impl Rng) -> String {
        let from = &scenes[self.from.unwrap_or(0)];
        match self.task {
            Task::Edit(edit) => words::instruction(from, &scenes[self.to], edit, rng),
            Task::TextToImage => words::caption(&scenes[self.to], rng),
            Task::Segment(solid) => words::segment(from, solid, rng),
        }
    }
}

/// Related pictures and all tasks among them.
#[derive(Clone, Debug)]
pub struct Family {
    /// The pictures of the scenes, in their order, then the masks (white on black) that segmentation pairs ask for.
    pub images: Vec<Image>,
    /// The scenes; they are the first `scenes.len()` of the images.
    pub scenes: Vec<Scene>,
    /// For every scene and pixel, rows from the top: 0 is the table, `i + 1` is solid `i`.
    pub ids: Vec<Vec<u8>>,
    /// All tasks: edits that one instruction describes in either direction, captions, masks.
    pub pairs: Vec<Pair>,
}

impl Family {
    /// Renders `scenes` at `size` pixels a side and finds all tasks among them.
    pub fn new(scenes: Vec<Scene>, size: u32) -> Family {
        let (mut images, ids): (Vec<_>, Vec<_>) = scenes
            .iter()
            .map(|scene| render(scene, size))
            .map(|rendered| (rendered.image, rendered.ids))
            .unzip();
        // A solid that an edit leaves alone has the same mask before and after: one image serves both.
        let mut masks: HashMap<Vec<bool>, usize> = HashMap::new();
        let mut pairs = tasks(&scenes);
        for pair in &mut pairs {
            if let (Task::Segment(solid), Some(from)) = (pair.task, pair.from) {
                let mask = covered(&ids[from], solid);
                pair.to = *masks.entry(mask).or_insert_with_key(|mask| {
                    images.push(white_on_black(mask, images[0].width, images[0].height));
                    images.len() - 1
                });
            }
        }
        Family {
            images,
            scenes,
            ids,
            pairs,
        }
    }

    /// The pixels of the pair's solid, before or after; all pixels for text to image. Rows from the top.
    pub fn mask(&self, pair: &Pair) -> Vec<bool> {
        let before = |solid| pair.from.map(|from| covered(&self.ids[from], solid));
        let after = |solid| covered(&self.ids[pair.to], solid);
        let none = || vec![false; self.ids[0].len()];
        match pair.task {
            Task::TextToImage => vec![true; self.ids[pair.to].len()],
            Task::Segment(solid) | Task::Edit(Edit::Remove(solid)) => {
                before(solid).unwrap_or_else(none)
            }
            Task::Edit(Edit::Add(solid)) => after(solid),
            Task::Edit(Edit::Recolour(solid) | Edit::Move(solid)) => {
                let before = before(solid).unwrap_or_else(none);
                std::iter::zip(before, after(solid))
                    .map(|(a, b)| a || b)
                    .collect()
            }
        }
    }
}

/// The pixels in which two pictures of one size differ: an edit's effect, shadows included.
pub fn effect(before: &Image, after: &Image) -> Vec<bool> {
    std::iter::zip(before.rgb.chunks_exact(3), after.rgb.chunks_exact(3))
        .map(|(a, b)| a != b)
        .collect()
}

fn white_on_black(mask: &[bool], width: u32, height: u32) -> Image {
    Image {
        width,
        height,
        rgb: mask
            .iter()
            .flat_map(|&on| [if on { 255 } else { 0 }; 3])
            .collect(),
    }
}

/// All tasks among `scenes`; those for masks get their `to` when the masks are made.
fn tasks(scenes: &[Scene]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (to, after) in scenes.iter().enumerate() {
        for (from, before) in scenes.iter().enumerate() {
            pairs.extend(Edit::between(before, after).map(|edit| Pair {
                from: Some(from),
                to,
                task: Task::Edit(edit),
            }));
        }
        pairs.push(Pair {
            from: None,
            to,
            task: Task::TextToImage,
        });
        pairs.extend((0..after.solids.len()).map(|solid| Pair {
            from: Some(to),
            to,
            task: Task::Segment(solid),
        }));
    }
    pairs
}

fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A scene first, then two recolours of one of its solids, one solid less, one moved, one more (where four stand, another
/// one less instead).
fn relatives(rng: &mut impl Rng) -> Vec<Scene> {
    loop {
        let count = pick(&[1, 2, 2, 2, 3, 3, 3, 4], rng);
        let base = Scene::draw(count, rng);
        let solid = rng.random_range(0..count);
        let Some(first) = edit::recolour(&base, solid, &[], rng) else {
            continue;
        };
        let Some(second) = edit::recolour(&base, solid, &[first.solids[solid].colour], rng) else {
            continue;
        };
        let others = (
            edit::remove(&base, rng),
            edit::shift(&base, rng),
            edit::add(&base, rng).or_else(|| edit::remove(&base, rng)),
        );
        if let (Some(less), Some(moved), Some(more)) = others {
            return vec![base, first, second, less, moved, more];
        }
    }
}

/// Six related pictures of `size` pixels a side, their masks, and all tasks among them. The same seed gives the same
/// family.
pub fn family(seed: u64, size: u32) -> Family {
    Family::new(relatives(&mut generator(seed, 0)), size)
}

/// One task with its pictures and its truth.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The kind of task.
    pub kind: Kind,
    /// The base prompt.
    pub prompt: String,
    /// The context prompt.
    pub tags: Vec<Tag>,
    /// Empty for text to image, else one canvas.
    pub inputs: Vec<(Image, Role)>,
    /// What is to come out.
    pub output: Image,
    /// The pixels of the solid that the task is about, before or after, rows from the top; all for text to image.
    pub mask: Vec<bool>,
}

/// A task of `kind` of `size` pixels a side. The same seed gives the same task.
pub fn sample(kind: Kind, seed: u64, size: u32) -> Sample {
    let rng = &mut generator(seed, 1 + kind as u64);
    let (scenes, pair) = draw(kind, rng);
    let prompt = pair.words(&scenes, rng);
    let family = Family::new(scenes, size);
    // Masks are images of the rendered family only; its pairs come in the order of the scenes' tasks.
    let pair = family
        .pairs
        .iter()
        .find(|found| (found.from, found.task) == (pair.from, pair.task))
        .copied()
        .unwrap_or(pair);
    Sample {
        kind,
        prompt,
        tags: kind.tags(),
        inputs: pair
            .from
            .map(|from| (family.images[from].clone(), Role::Canvas))
            .into_iter()
            .collect(),
        output: family.images[pair.to].clone(),
        mask: family.mask(&pair),
    }
}

/// As few scenes as a task of `kind` needs, and the task.
fn draw(kind: Kind, rng: &mut impl Rng) -> (Vec<Scene>, Pair) {
    loop {
        let count = pick(&[1, 2, 2, 2, 3, 3, 3, 4], rng);
        let base = Scene::draw(count, rng);
        let other = match kind {
            Kind::Recolour => edit::recolour(&base, rng.random_range(0..count), &[], rng),
            Kind::Remove => edit::remove(&base, rng),
            Kind::Add => edit::add(&base, rng),
            Kind::Move => edit::shift(&base, rng),
            Kind::TextToImage | Kind::Segment => None,
        };
        let scenes: Vec<Scene> = std::iter::once(base).chain(other).collect();
        let mut fitting = tasks(&scenes);
        fitting.retain(|pair| pair.kind() == kind && pair.from.is_none_or(|from| from == 0));
        if !fitting.is_empty() {
            let pair = pick(&fitting, rng);
            return (scenes, pair);
        }
    }
}

/// `count` texts of all kinds as the encoder reads them, to make the tokenizer from; nothing is rendered.
pub fn corpus(seed: u64, count: usize) -> Vec<String> {
    let rng = &mut generator(seed, 1 + Kind::ALL.len() as u64);
    (0..count)
        .map(|i| {
            let kind = Kind::ALL[i % Kind::ALL.len()];
            let (scenes, pair) = draw(kind, rng);
            text(&kind.tags(), &pair.words(&scenes, rng))
        })
        .collect()
}
