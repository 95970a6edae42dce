//! Texts of every kind, to make the tokenizer from and to test the words with.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::lexicon::table;
use super::{
    Wording, caption, clip_caption, customise, depth, edges, fill, from_depth, from_edges,
    indefinite, insert, instruction, motion, picture, refer, segment,
};
use crate::world::draw::pick;
use crate::world::edit::{Edit, EditKind};
use crate::world::scene::Scene;

/// `count` texts of all kinds in training's wording; the same seed gives the same texts.
pub fn corpus(seed: u64, count: usize) -> Vec<String> {
    texts(seed, count, Wording::Training)
}

/// `count` texts of all kinds. Half are instructions for edits.
pub(super) fn texts(seed: u64, count: usize, wording: Wording) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut all = Vec::with_capacity(count);
    let mut scene = Scene::draw(&mut rng);
    while all.len() < count {
        // A scene is good for several texts.
        if rng.random_bool(0.25) {
            scene = Scene::draw(&mut rng);
        }
        let text = match rng.random() {
            true => an_instruction(&scene, wording, &mut rng),
            false => other(&scene, wording, &mut rng),
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
    let index = rng.random_range(0..scene.solids.len());
    let training = Wording::Training;
    Some(match rng.random_range(0..12) {
        0 => segment(&refer(scene, index, wording, rng)?, wording, rng),
        1 => depth(wording, rng),
        2 => edges(wording, rng),
        3 => from_depth(&caption(scene, training, rng), wording, rng),
        4 => from_edges(&caption(scene, training, rng), wording, rng),
        5 | 6 => picture(&caption(scene, wording, rng), wording, rng),
        7 => insert(
            &refer(scene, index, training, rng)?,
            pick(&["", "on the left", "on the right", "in the middle"], rng),
            wording,
            rng,
        ),
        8 => fill(
            &indefinite(&scene.solids[index], training, rng),
            wording,
            rng,
        ),
        9 => {
            let count = scene.solids.len().min(1 + index);
            let parts = (0..count).map(|i| {
                let place = pick(&["", "on the left", "on the right", "in the middle"], rng);
                Some((refer(scene, i, training, rng)?, place.to_string()))
            });
            let parts = parts.collect::<Option<Vec<_>>>()?;
            customise(
                &parts,
                &table(None, Some(scene.ground_tone), rng),
                wording,
                rng,
            )
        }
        choice => {
            let kind = pick(&[EditKind::Move, EditKind::Move, EditKind::Camera], rng);
            let after = Edit::draw(kind, scene, rng)?.apply(scene)?;
            match choice {
                10 => motion(scene, &after, wording, rng)?,
                _ => clip_caption(&[scene.clone(), after], wording, rng),
            }
        }
    })
}
