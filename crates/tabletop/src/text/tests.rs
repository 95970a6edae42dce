//! Tests of texts against an independent parser that derives their meaning from the text alone.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::corpus::texts;
use super::{Wording, instruction, refer, sentences};
use crate::edit::{Edit, EditKind};
use crate::scene::{Scene, Solid};

const BOTH: [Wording; 2] = [Wording::Training, Wording::HeldOut];

/// Returns whether the word describes the object; `None` for words that name no attribute.
fn word_fits(word: &str, solid: &Solid) -> Option<bool> {
    let word = word.strip_suffix("-coloured").unwrap_or(word);
    let word = word.strip_suffix("-shaped").unwrap_or(word);
    let word = match word {
        "boxes" => "box",
        "torus" => "ring",
        _ => word.strip_suffix('s').unwrap_or(word),
    };
    let value = match word {
        "ball" | "sphere" => "sphere",
        "cube" | "block" | "box" => "cube",
        "cylinder" | "tube" => "cylinder",
        "cone" => "cone",
        "ring" | "donut" | "torus" => "torus",
        "capsule" | "pill" => "capsule",
        "turquoise" => "cyan",
        "violet" => "purple",
        "small" | "little" | "tiny" => "small",
        "large" | "big" => "large",
        "matte" | "matt" | "dull" => "matte",
        "glossy" | "shiny" | "polished" => "glossy",
        "metallic" | "metal" | "mirror" => "mirror",
        "red" | "orange" | "yellow" | "green" | "cyan" | "blue" | "purple" | "pink" | "white"
        | "black" => word,
        "the" | "object" | "solid" | "thing" | "that" | "i" | "and" | "in" => return None,
        _ => panic!("unknown word \"{word}\""),
    };
    let names = [
        solid.shape.name(),
        solid.colour.name(),
        solid.size.name(),
        solid.material.name(),
    ];
    Some(names.contains(&value))
}

fn described<'a>(scene: &'a Scene, words: &'a str) -> impl Iterator<Item = usize> + 'a {
    (0..scene.solids.len()).filter(move |&i| {
        let fits = |word| word_fits(word, &scene.solids[i]).unwrap_or(true);
        words.split_whitespace().all(fits)
    })
}

/// Returns how far an object's centre is to this side: in the image, or along the table from the camera.
fn toward(scene: &Scene, side: &str, index: usize) -> f32 {
    let view = scene.camera.view();
    let position = scene.solids[index].pose.position;
    let u = scene.camera.project(1.0, position)[0];
    let (x, z) = (view.eye[0], view.eye[2]);
    let away = ((x - position[0]) * x + (z - position[2]) * z) / x.hypot(z);
    match side {
        "left" => -u,
        "right" => u,
        "front" => -away,
        _ => away,
    }
}

fn stands_on(scene: &Scene, a: usize, b: usize) -> bool {
    let (top, bottom) = (&scene.solids[a], &scene.solids[b]);
    let near = [0, 2].map(|i| top.pose.position[i] - bottom.pose.position[i]);
    top.heights().0 > 0.1
        && (top.heights().0 - bottom.heights().1).abs() < 0.05
        && near[0].hypot(near[1]) < 0.3
}

/// Prefixes and suffixes of phrases for the farthest object to a side.
const EXTREMES: [(&str, &str); 13] = [
    ("leftmost ", "left"),
    ("rightmost ", "right"),
    ("nearest ", "front"),
    ("farthest ", "back"),
    (" farthest to the left", "left"),
    (" farthest to the right", "right"),
    (" nearest to the camera", "front"),
    (" closest to the camera", "front"),
    (" farthest from the camera", "back"),
    (" on the left", "left"),
    (" on the right", "right"),
    (" in front", "front"),
    (" at the back", "back"),
];

/// Texts of relations between two objects, longer ones before those that they contain.
const RELATIONS: [(&str, &str); 19] = [
    (" to the left of ", "left"),
    (" on the left side of ", "left"),
    (" that is left of ", "left"),
    (" left of ", "left"),
    (" to the right of ", "right"),
    (" on the right side of ", "right"),
    (" that is right of ", "right"),
    (" right of ", "right"),
    (" that is in front of ", "front"),
    (" in front of ", "front"),
    (" that is behind ", "back"),
    (" behind ", "back"),
    (" that stands on ", "on"),
    (" that is on top of ", "on"),
    (" on top of ", "on"),
    (" on ", "on"),
    (" that is under ", "under"),
    (" under ", "under"),
    (" below ", "under"),
];

/// Returns the objects that a phrase can refer to.
fn referents(scene: &Scene, phrase: &str) -> Vec<usize> {
    let phrase = phrase.strip_prefix("the ").unwrap_or(phrase);
    for (affix, side) in EXTREMES {
        let rest = phrase
            .strip_prefix(affix)
            .or_else(|| phrase.strip_suffix(affix));
        if let Some(rest) = rest {
            let first = described(scene, rest)
                .max_by(|&a, &b| toward(scene, side, a).total_cmp(&toward(scene, side, b)));
            return first.into_iter().collect();
        }
    }
    for (relation, side) in RELATIONS {
        let Some((what, other)) = phrase.split_once(relation) else {
            continue;
        };
        let others: Vec<usize> = described(scene, other).collect();
        assert_eq!(others.len(), 1, "\"{other}\" in \"{phrase}\"");
        let other = others[0];
        return described(scene, what)
            .filter(|&i| i != other)
            .filter(|&i| match side {
                "on" => stands_on(scene, i, other),
                "under" => stands_on(scene, other, i),
                side => toward(scene, side, i) > toward(scene, side, other),
            })
            .collect();
    }
    described(scene, phrase).collect()
}

#[test]
fn every_reference_identifies_one_object() {
    let start = rand::random::<u64>();
    let (mut none, mut all) = (0, 0);
    for seed in (0..300).map(|i| start.wrapping_add(i)) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let scene = Scene::draw(&mut rng);
        for (index, wording) in (0..scene.solids.len()).flat_map(|i| BOTH.map(|w| (i, w))) {
            for _ in 0..6 {
                all += 1;
                let Some(phrase) = refer(&scene, index, wording, &mut rng) else {
                    none += 1;
                    continue;
                };
                assert_eq!(
                    referents(&scene, &phrase),
                    [index],
                    "seed {seed}: \"{phrase}\" for object {index} of {:#?}",
                    scene.solids
                );
            }
        }
    }
    assert!(none * 100 < all, "no reference for {none} of {all} objects");
}

#[test]
fn groups_and_negatives_identify_the_removed_objects() {
    let start = rand::random::<u64>();
    let mut checked = 0;
    for seed in (0..1500).map(|i| start.wrapping_add(i)) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let scene = Scene::draw(&mut rng);
        let Some(edit) = Edit::draw(EditKind::Remove, &scene, &mut rng) else {
            continue;
        };
        let Edit::Remove { solids } = &edit else {
            panic!("{edit:?} is no removal");
        };
        let Some(text) = instruction(&scene, &edit, Wording::Training, &mut rng) else {
            continue;
        };
        let text = text
            .replace("RES1 is IMG1 without ", "remove ")
            .replace(" from IMG1", "");
        let count = scene.solids.len();
        let all_but = |rest: Vec<usize>| (0..count).filter(|i| !rest.contains(i)).collect();
        let prefixes = [
            "keep only ",
            "remove everything but ",
            "delete all but the ",
            "remove all objects except ",
        ];
        let expected: Vec<usize> =
            if let Some(rest) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
                all_but(referents(&scene, rest))
            } else if let Some(what) = text.strip_prefix("remove every object that is not ") {
                let what = what.trim_start_matches("a ").trim_start_matches("an ");
                all_but(described(&scene, what).collect())
            } else if let Some(what) = text.strip_prefix("remove every ") {
                described(&scene, what).collect()
            } else if let Some(what) = text.strip_prefix("everything stays but the ") {
                referents(&scene, what)
            } else {
                continue;
            };
        assert_eq!(
            *solids, expected,
            "seed {seed}: \"{text}\" of {:#?}",
            scene.solids
        );
        checked += 1;
    }
    assert!(checked > 40, "only {checked} texts could be parsed");
}

#[test]
fn held_out_wordings_never_occur_in_training() {
    let seed = rand::random::<u64>();
    let training: HashSet<String> = texts(seed, 30_000, Wording::Training).into_iter().collect();
    let held_out = texts(seed ^ 1, 20_000, Wording::HeldOut);
    let common = held_out.iter().find(|text| training.contains(*text));
    assert_eq!(common, None, "seed {seed}");
    for (name, sentences) in sentences::ALL {
        for sentence in sentences.held_out {
            assert!(
                held_out.iter().any(|text| follows(text, sentence)),
                "seed {seed}: {name} never uses \"{sentence}\""
            );
            // The template itself must not be one of training's.
            assert!(
                !sentences.training.contains(sentence),
                "{name}: \"{sentence}\""
            );
        }
        for sentence in sentences.training {
            assert!(
                training.iter().any(|text| follows(text, sentence)),
                "seed {seed}: {name} never uses \"{sentence}\""
            );
        }
    }
}

/// Returns whether `text` contains, in order, all text between the slots of `sentence`.
fn follows(text: &str, sentence: &str) -> bool {
    let mut rest = text;
    sentence.split(['{', '}']).step_by(2).all(|fixed| {
        let Some(at) = rest.find(fixed.trim()) else {
            return false;
        };
        rest = &rest[at + fixed.trim().len()..];
        true
    })
}

#[test]
fn the_vocabulary_is_small_and_the_texts_are_short() {
    let texts = texts(rand::random(), 20_000, Wording::Training);
    let words: HashSet<&str> = texts
        .iter()
        .flat_map(|t| t.split([' ', ',', ';']))
        .collect();
    assert!(
        words.len() < 260,
        "{} different words: {words:?}",
        words.len()
    );
    let longest = texts.iter().max_by_key(|t| t.len()).unwrap();
    assert!(longest.len() < 420, "{} letters: {longest}", longest.len());
    let mean = texts.iter().map(|t| t.split(' ').count()).sum::<usize>() as f64 / 20_000.0;
    assert!(mean < 16.0, "{mean} words a text");
    for text in &texts {
        assert!(!text.contains("  ") && text.trim() == text, "\"{text}\"");
    }
}

#[test]
fn most_edits_have_an_instruction() {
    let mut rng = ChaCha8Rng::seed_from_u64(rand::random());
    for &kind in EditKind::ALL {
        let (mut drawn, mut instructed) = (0, 0);
        for _ in 0..120 {
            let scene = Scene::draw(&mut rng);
            let wording = BOTH[rng.random_range(0..2)];
            if let Some(edit) = Edit::draw(kind, &scene, &mut rng) {
                drawn += 1;
                instructed += usize::from(instruction(&scene, &edit, wording, &mut rng).is_some());
            }
        }
        assert!(drawn > 40, "{kind:?}: only {drawn} of 120 scenes allow one");
        assert!(
            instructed * 10 >= drawn * 8,
            "{kind:?}: instructions for {instructed} of {drawn}"
        );
    }
}
