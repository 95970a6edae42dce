//! Edit cases: a scene at rest, edits of it, and the scene after each edit as ground truth. The data engine renders them for
//! training and evaluation; the page renders them to show the ground truth beside the model's result.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::clip::film;
use super::edit::{Edit, EditKind};
use super::scene::Scene;
use super::text::{self, Wording};

/// First held-out seed: training uses smaller seeds; evaluation and the page use this seed and larger ones.
pub const HELD_OUT: u64 = 1 << 40;

/// Number of simulated frames of a clip, and frames per second.
pub const CLIP_LENGTH: (usize, f64) = (17, 8.0);
/// Indices of the simulated frames that are used.
pub const CLIP_FRAMES: [usize; 3] = [0, 6, 16];
/// Number of edits drawn per scene.
const EDITS: u64 = 6;

/// The clip, scene and edits of a seed, before rendering.
#[derive(Clone, Debug)]
pub struct EditCases {
    /// The frames [`CLIP_FRAMES`] of its clip.
    pub film: Vec<Scene>,
    /// The scene that is edited.
    pub scene: Scene,
    /// Edits of the scene, each with the scene after it.
    pub edits: Vec<(Edit, Scene)>,
}

/// Returns the clip, the scene and the edits of seed `seed`. The same seed gives the same result.
pub fn edit_cases(seed: u64) -> EditCases {
    let all = film(seed, CLIP_LENGTH.0, CLIP_LENGTH.1);
    let film: Vec<Scene> = CLIP_FRAMES.iter().map(|&i| all[i].clone()).collect();
    let mut rng = stream(seed, 1);
    let scene = at_rest(&film, &mut rng).unwrap_or_else(|| Scene::draw(&mut rng));
    EditCases {
        edits: edits(seed, &scene, &mut rng),
        film,
        scene,
    }
}

/// Returns the simple scene of seed `seed` ([`Scene::draw_easy`]) with edits of it; its clip is that one frame.
pub fn easy_edit_cases(seed: u64) -> EditCases {
    let mut rng = stream(seed, 3);
    let scene = Scene::draw_easy(&mut rng);
    EditCases {
        edits: edits(seed, &scene, &mut rng),
        film: vec![scene.clone()],
        scene,
    }
}

impl EditCases {
    /// Returns the instruction for each edit, as in `truth.json` of `unireal world`; `None` where no text identifies the
    /// objects.
    pub fn instructions(&self, seed: u64, wording: Wording) -> Vec<Option<String>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let edits = self.edits.iter();
        edits
            .map(|(edit, _)| text::instruction(&self.scene, edit, wording, &mut rng))
            .collect()
    }
}

/// Returns an independent random stream of a scene's seed.
pub fn stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// Returns the first or last frame if all objects are at rest in it; `None` for a third of the clips, so that some edits
/// start from newly drawn scenes with upright objects.
fn at_rest(film: &[Scene], rng: &mut impl Rng) -> Option<Scene> {
    let ends = match rng.random_range(0..3) {
        0 => [film.last(), film.first()],
        1 => [film.first(), film.last()],
        _ => [None, None],
    };
    let mut ends = ends.into_iter().flatten();
    ends.find(|scene| scene.is_at_rest()).cloned()
}

/// Draws edits, each with the scene after it. Over the seeds, the kinds cycle through [`EditKind::WEIGHTED`]; where the scene
/// allows no edit of a kind, any other kind replaces it.
fn edits(seed: u64, scene: &Scene, rng: &mut impl Rng) -> Vec<(Edit, Scene)> {
    let kinds = EditKind::WEIGHTED;
    let mut all: Vec<Edit> = Vec::new();
    for i in 0..EDITS {
        // A stride of 7 over the 25 entries separates neighbours in the list.
        let index = seed.wrapping_mul(EDITS).wrapping_add(i).wrapping_mul(7);
        let kind = kinds[(index % kinds.len() as u64) as usize];
        let edit = Edit::draw(kind, scene, rng).or_else(|| Edit::draw_any(scene, rng));
        all.extend(edit.filter(|edit| !all.contains(edit)));
    }
    let apply = |edit: Edit| edit.apply(scene).map(|after| (edit, after));
    all.into_iter().filter_map(apply).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn kinds_occur_at_their_weighted_frequency() {
        let mut counts: BTreeMap<EditKind, usize> = BTreeMap::new();
        let mut total = 0;
        for seed in 0..100 {
            let mut rng = stream(seed, 1);
            let scene = Scene::draw(&mut rng);
            for (edit, _) in edits(seed, &scene, &mut rng) {
                *counts.entry(edit.kind()).or_default() += 1;
                total += 1;
            }
        }
        for &kind in EditKind::ALL {
            let weight = EditKind::WEIGHTED.iter().filter(|&&k| k == kind).count();
            let expected = total * weight / EditKind::WEIGHTED.len();
            let found = counts.get(&kind).copied().unwrap_or(0);
            assert!(
                2 * found > expected && found < 2 * expected,
                "{kind:?}: {found}, expected about {expected}"
            );
        }
    }

    #[test]
    fn every_seed_has_a_scene_at_rest_and_most_edits_have_instructions() {
        let (mut edits, mut instructed) = (0, 0);
        for seed in (0..40).map(|i| HELD_OUT + i) {
            let cases = edit_cases(seed);
            assert!(cases.scene.is_at_rest(), "seed {seed}");
            let texts = cases.instructions(seed, Wording::Training);
            assert_eq!(texts.len(), cases.edits.len());
            assert!(texts.iter().any(Option::is_some), "seed {seed}");
            for (edit, after) in &cases.edits {
                assert_eq!(edit.apply(&cases.scene).as_ref(), Some(after));
            }
            edits += texts.len();
            instructed += texts.iter().flatten().count();
        }
        assert!(
            5 * instructed > 4 * edits,
            "{instructed} of {edits} edits have an instruction"
        );
    }
}
