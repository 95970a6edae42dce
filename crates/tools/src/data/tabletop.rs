//! Annotated clips of the tabletop world: a film, and edits of one of its scenes.

use rand::{Rng, RngExt};

use super::clip::{Clip, EditPair, Entity, Instruction};
use crate::frame::{Frame, render};
use unireal::Tag;
use unireal_tabletop::edit_case::{
    CLIP_FRAMES, CLIP_LENGTH, EditCases, easy_edit_cases, edit_cases, stream,
};
use unireal_tabletop::text::{self, Reference};
use unireal_tabletop::{Edit, EditKind, Scene, Settings, Wording};

pub use unireal_tabletop::HELD_OUT;

/// Maximum number of paraphrases of a text.
const PARAPHRASES: usize = 5;
/// Minimum fraction of the image that the changed pixels of an edit cover.
const MIN_CHANGED: f32 = 0.003;

/// A rendered film and rendered edits of one of its scenes; [`clip`] adds the texts.
#[derive(Clone, Debug)]
pub struct RenderedClip {
    /// The film's selected scenes, with their images.
    pub frames: Vec<(Scene, Frame)>,
    /// The scene that is edited, with its image.
    pub base: (Scene, Frame),
    /// Its edits.
    pub edits: Vec<EditCase>,
}

/// An edit with its ground truth.
#[derive(Clone, Debug)]
pub struct EditCase {
    /// The edit.
    pub edit: Edit,
    /// The scene after the edit.
    pub scene: Scene,
    /// The image of that scene.
    pub frame: Frame,
}

/// Renders the film and the edits of `seed` in square images of `side` pixels: nine or ten renders. The same seed gives the
/// same bytes.
pub fn shoot(seed: u64, side: u32) -> RenderedClip {
    render_cases(edit_cases(seed), side)
}

fn render_cases(cases: EditCases, side: u32) -> RenderedClip {
    let settings = Settings::square(side);
    let rendered = |scene: Scene| {
        let frame = render(&scene, &settings);
        (scene, frame)
    };
    let EditCases { film, scene, edits } = cases;
    let frames: Vec<_> = film.into_iter().map(rendered).collect();
    let in_film = frames.iter().find(|(other, _)| *other == scene).cloned();
    let base = in_film.unwrap_or_else(|| rendered(scene));
    let edits = edits.into_iter().map(|(edit, after)| {
        let (scene, frame) = rendered(after);
        EditCase { edit, scene, frame }
    });
    RenderedClip {
        edits: edits.collect(),
        frames,
        base,
    }
}

/// Returns the clip of `seed` in square images of `side` pixels, with masks, depth, captions, instructions between its frames,
/// and edits with ground truth, in both directions where both have an instruction. The images do not depend on the wording.
///
/// [`EditPair::changed`] holds the pixels of the objects that an edit concerns, before or after, without their shadows and
/// reflections. For a change of the table it holds all pixels without an object, for light and camera all pixels.
pub fn clip(seed: u64, side: u32, wording: Wording) -> Clip {
    describe(format!("tabletop-{seed}"), shoot(seed, side), seed, wording)
}

/// As [`clip`], of a simpler scene without a film: one to three large objects with distinct colours and shapes.
pub fn easy_clip(seed: u64, side: u32, wording: Wording) -> Clip {
    let shoot = render_cases(easy_edit_cases(seed), side);
    describe(format!("tabletop-easy-{seed}"), shoot, seed, wording)
}

/// Adds the texts to a rendered film and its edits.
fn describe(name: String, shoot: RenderedClip, seed: u64, wording: Wording) -> Clip {
    let rng = &mut stream(seed, 2);
    let scenes: Vec<&Scene> = shoot.frames.iter().map(|(scene, _)| scene).collect();
    let film: Vec<Scene> = scenes.iter().map(|&scene| scene.clone()).collect();
    Clip {
        name,
        frames: shoot.frames.iter().map(|(_, f)| f.image.clone()).collect(),
        numbers: CLIP_FRAMES[..film.len()]
            .iter()
            .map(|&i| i as u64)
            .collect(),
        rate: CLIP_LENGTH.1,
        style: Some(Tag::RealisticStyle),
        captions: paraphrases(|| Some(text::clip_caption(&film, wording, rng))),
        frame_captions: scenes
            .iter()
            .map(|scene| paraphrases(|| Some(text::caption(scene, wording, rng))))
            .collect(),
        entities: entities(&shoot.frames, wording, rng),
        depths: shoot.frames.iter().map(|(_, f)| f.depth.clone()).collect(),
        instructions: instructions(&scenes, wording, rng),
        edits: edit_pairs(&shoot, wording, rng),
    }
}

/// Returns distinct texts from up to `2 * PARAPHRASES` draws; a draw may yield none.
fn paraphrases(mut draw: impl FnMut() -> Option<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for _ in 0..2 * PARAPHRASES {
        if all.len() < PARAPHRASES {
            all.extend(draw().filter(|text| !all.contains(text)));
        }
    }
    all
}

/// Returns the objects that have an unambiguous phrase in every frame.
fn entities(frames: &[(Scene, Frame)], wording: Wording, rng: &mut impl Rng) -> Vec<Entity> {
    let first = &frames[0].0;
    let entity = |solid: usize| {
        let mut always = text::references(first, solid);
        always.retain(|r| {
            frames
                .iter()
                .all(|(scene, _)| r.referent(scene) == Some(solid))
        });
        // Most phrases describe the object itself, some its place.
        let (by_attributes, by_place): (Vec<_>, Vec<_>) = always
            .into_iter()
            .partition(|r| matches!(r, Reference::Plain(_)));
        let phrases = paraphrases(|| {
            let references = if by_attributes.is_empty() || rng.random_bool(0.3) {
                &by_place
            } else {
                &by_attributes
            };
            let index = (!references.is_empty()).then(|| rng.random_range(0..references.len()))?;
            Some(format!("the {}", references[index].say(wording, rng)))
        });
        let masks = frames.iter().map(|(_, frame)| mask(frame, &[solid]));
        Entity {
            phrases,
            masks: masks.collect(),
        }
    };
    let entities = (0..first.solids.len()).map(entity);
    entities
        .filter(|entity| !entity.phrases.is_empty())
        .collect()
}

/// Returns instructions from every frame to every later one in which something moved.
fn instructions(scenes: &[&Scene], wording: Wording, rng: &mut impl Rng) -> Vec<Instruction> {
    let pairs = (0..scenes.len()).flat_map(|to| (0..to).map(move |from| (from, to)));
    let mut instruction = |(from, to): (usize, usize)| {
        let texts = paraphrases(|| text::motion(scenes[from], scenes[to], wording, rng));
        (!texts.is_empty()).then_some(Instruction { from, to, texts })
    };
    pairs.filter_map(&mut instruction).collect()
}

fn edit_pairs(shoot: &RenderedClip, wording: Wording, rng: &mut impl Rng) -> Vec<EditPair> {
    let mut all = Vec::new();
    let base = (&shoot.base.0, &shoot.base.1);
    for EditCase { edit, scene, frame } in &shoot.edits {
        let after = (scene, frame);
        all.extend(edit_pair(edit, base, after, wording, rng));
        if let Some(back) = edit.reverse(base.0) {
            all.extend(edit_pair(&back, after, base, wording, rng));
        }
    }
    all
}

fn edit_pair(
    edit: &Edit,
    (scene, before): (&Scene, &Frame),
    (_, after): (&Scene, &Frame),
    wording: Wording,
    rng: &mut impl Rng,
) -> Option<EditPair> {
    let texts = paraphrases(|| text::instruction(scene, edit, wording, rng));
    let changed = changed(edit, scene, before, after);
    let solids = edit.solids(scene);
    let covered = changed.iter().filter(|&&on| on).count();
    let enough = covered as f32 > MIN_CHANGED * changed.len() as f32;
    (!texts.is_empty() && enough).then(|| EditPair {
        variant: edit.kind().name().into(),
        texts,
        before: before.image.clone(),
        after: after.image.clone(),
        changed,
        solids: solids.before.len().max(solids.after.len()),
        context: vec![Tag::RealisticStyle, Tag::StaticScenario],
    })
}

/// Returns the pixels that an edit of `scene` concerns, see [`clip`].
pub fn changed(edit: &Edit, scene: &Scene, before: &Frame, after: &Frame) -> Vec<bool> {
    match edit.kind() {
        EditKind::Light | EditKind::Camera => vec![true; before.ids.len()],
        EditKind::Ground => before.ids.iter().map(|&id| id == 0).collect(),
        _ => {
            let solids = edit.solids(scene);
            std::iter::zip(mask(before, &solids.before), mask(after, &solids.after))
                .map(|(a, b)| a || b)
                .collect()
        }
    }
}

/// Returns the mask of these objects.
pub fn mask(frame: &Frame, solids: &[usize]) -> Vec<bool> {
    let is_selected = |&id: &u8| id > 0 && solids.contains(&(usize::from(id) - 1));
    frame.ids.iter().map(is_selected).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_clip_and_the_wording_changes_only_texts() {
        let seed = rand::random::<u64>();
        let one = clip(seed, 32, Wording::Training);
        let two = clip(seed, 32, Wording::Training);
        assert_eq!(format!("{one:?}"), format!("{two:?}"), "seed {seed}");
        let other = clip(seed, 32, Wording::HeldOut);
        assert_eq!(one.frames, other.frames);
        assert_ne!(one.frame_captions, other.frame_captions);
    }

    #[test]
    fn an_easy_clip_is_one_frame_with_edits() {
        let start = rand::random::<u64>();
        for seed in (0..12).map(|i| start.wrapping_add(i)) {
            let clip = easy_clip(seed, 32, Wording::Training);
            let frames = [clip.frames.len(), clip.numbers.len(), clip.depths.len()];
            assert_eq!(frames, [1; 3], "seed {seed}");
            assert!(clip.instructions.is_empty(), "seed {seed}");
            assert!(clip.edits.len() >= 3, "seed {seed}: {}", clip.edits.len());
            assert!((1..=3).contains(&clip.entities.len()), "seed {seed}");
        }
    }

    #[test]
    fn texts_of_a_clip_fit_its_frames() {
        let start = rand::random::<u64>();
        for seed in (0..12).map(|i| start.wrapping_add(i)) {
            let clip = clip(seed, 32, Wording::Training);
            assert_eq!(clip.frames.len(), CLIP_FRAMES.len());
            assert!(clip.captions.len() >= 2, "seed {seed}: {:?}", clip.captions);
            assert!(clip.frame_captions.iter().all(|texts| texts.len() >= 3));
            assert!(clip.edits.len() >= 4, "seed {seed}: {}", clip.edits.len());
            for entity in &clip.entities {
                assert_eq!(entity.masks.len(), clip.frames.len());
                let others = clip
                    .entities
                    .iter()
                    .filter(|other| !std::ptr::eq(*other, entity));
                for phrase in &entity.phrases {
                    assert!(
                        others.clone().all(|other| !other.phrases.contains(phrase)),
                        "seed {seed}: \"{phrase}\" refers to two objects"
                    );
                }
            }
        }
    }

    #[test]
    fn an_edit_changes_its_own_pixels_more_than_the_others() {
        let start = rand::random::<u64>();
        for seed in (0..10).map(|i| start.wrapping_add(i)) {
            for pair in clip(seed, 48, Wording::Training).edits {
                if ["light", "camera", "ground"].contains(&pair.variant.as_str()) {
                    continue;
                }
                let pixels = |i: usize| (0..3).map(move |c| 3 * i + c);
                let error = |inside: bool| {
                    let chosen = (0..pair.changed.len()).filter(|&i| pair.changed[i] == inside);
                    let (mut sum, mut count) = (0.0, 0.0f64);
                    for at in chosen.flat_map(pixels) {
                        sum += f64::from(pair.before.rgb[at].abs_diff(pair.after.rgb[at]));
                        count += 1.0;
                    }
                    sum / count.max(1.0)
                };
                let (inside, outside) = (error(true), error(false));
                assert!(
                    inside > 1.5 * outside && inside > 1.0,
                    "seed {seed}, {}: {inside} inside, {outside} outside: {:?}",
                    pair.variant,
                    pair.texts
                );
            }
        }
    }
}
