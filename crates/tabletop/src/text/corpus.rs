//! Texts about random scenes, for building a tokenizer and for tests.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Wording, caption, clip_caption, instruction, motion};
use crate::draw::pick;
use crate::edit::{Edit, EditKind};
use crate::scene::Scene;

/// Returns `count` texts in the training wording; the same seed gives the same texts.
pub fn corpus(seed: u64, count: usize) -> Vec<String> {
    texts(seed, count, Wording::Training)
}

/// Returns `count` texts. Half are instructions for edits, the rest captions and motions.
pub(super) fn texts(seed: u64, count: usize, wording: Wording) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut all = Vec::with_capacity(count);
    let mut scene = Scene::draw(&mut rng);
    while all.len() < count {
        // Use each scene for several texts.
        if rng.random_bool(0.25) {
            scene = Scene::draw(&mut rng);
        }
        let text = if rng.random() {
            an_instruction(&scene, wording, &mut rng)
        } else {
            other(&scene, wording, &mut rng)
        };
        all.extend(text);
    }
    all
}

fn an_instruction(scene: &Scene, wording: Wording, rng: &mut impl Rng) -> Option<String> {
    let kind = pick(EditKind::ALL, rng);
    let edit = Edit::draw(kind, scene, rng)?;
    instruction(scene, &edit, wording, rng)
}

fn other(scene: &Scene, wording: Wording, rng: &mut impl Rng) -> Option<String> {
    let choice = rng.random_range(0..4);
    if choice < 2 {
        return Some(caption(scene, wording, rng));
    }
    let kind = pick(&[EditKind::Move, EditKind::Move, EditKind::Camera], rng);
    let after = Edit::draw(kind, scene, rng)?.apply(scene)?;
    match choice {
        2 => motion(scene, &after, wording, rng),
        _ => Some(clip_caption(&[scene.clone(), after], wording, rng)),
    }
}
