//! The world against formulas and parsers of its own: geometry, words, determinism, files.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::words::{self, Target};
use super::*;
use crate::request::Request;

fn families() -> impl Iterator<Item = Family> {
    (0..40).map(|seed| family(seed, 64))
}

fn scenes(count: usize, n: u64) -> impl Iterator<Item = Scene> {
    (0..n).map(move |seed| Scene::draw(count, &mut ChaCha8Rng::seed_from_u64(seed)))
}

fn brightness(image: &Image, at: usize) -> u32 {
    image.rgb[3 * at..3 * at + 3]
        .iter()
        .map(|&c| u32::from(c))
        .sum()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    for kind in Kind::ALL {
        let [a, b, c] = [7, 7, 8].map(|seed| sample(kind, seed, 32));
        assert_eq!(a.prompt, b.prompt);
        assert_eq!(
            (&a.inputs, &a.output, &a.mask),
            (&b.inputs, &b.output, &b.mask)
        );
        assert_ne!((a.prompt, a.output), (c.prompt, c.output));
    }
    assert_eq!(family(3, 32).images, family(3, 32).images);
    assert_eq!(corpus(3, 50), corpus(3, 50));
}

#[test]
fn a_solids_mask_is_what_it_covers_when_it_stands_alone() {
    for scene in scenes(4, 20) {
        let all = render(&scene, 64);
        for i in 0..scene.solids.len() {
            let mut alone = scene.clone();
            alone.solids = vec![scene.solids[i].clone()];
            let alone = render(&alone, 64);
            assert_eq!(all.mask(i), alone.mask(0));
            assert!(alone.mask(0).iter().filter(|&&on| on).count() > 30);
        }
    }
}

#[test]
fn a_spheres_mask_has_the_area_that_perspective_gives_it() {
    let mut spheres = 0;
    for mut scene in scenes(1, 80) {
        let solid = scene.solids.remove(0);
        if solid.shape != Shape::Sphere {
            continue;
        }
        spheres += 1;
        let r = solid.size.radius();
        let [x, z] = solid.position();
        scene.solids = vec![solid];
        // The camera's place, the direction it looks in and the tangent of half its field of view, all in degrees and
        // table units as documented: 8 away, 42 degrees down, aimed 0.22 above the middle.
        let down = 42f32.to_radians();
        let to = [x, r - 0.22 - 8.0 * down.sin(), z - 8.0 * down.cos()];
        let depth = -to[1] * down.sin() - to[2] * down.cos();
        let square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2];
        // A sphere's cone of rays cuts the image plane in an ellipse of this area.
        let area = std::f32::consts::PI * r * r * (square - r * r).sqrt()
            / (depth * depth - r * r).powf(1.5);
        let expected = area * (128.0f32 / 0.245).powi(2);
        let found = render(&scene, 256).mask(0).iter().filter(|&&on| on).count() as f32;
        // Half a pixel of rim is covered in part: 2 to 4 % of these areas.
        assert!(
            found > expected && found < 1.06 * expected,
            "{found} pixels for {expected}"
        );
    }
    assert!(spheres > 8);
}

#[test]
fn a_recolouring_changes_the_solid_and_no_other_pixel() {
    for family in families() {
        for pair in &family.pairs {
            let (Kind::Recolour, Some(from)) = (pair.kind(), pair.from) else {
                continue;
            };
            let mask = family.mask(pair);
            let changed = effect(&family.images[from], &family.images[pair.to]);
            assert!(std::iter::zip(&changed, &mask).all(|(&c, &m)| m || !c));
            let both = std::iter::zip(&changed, &mask)
                .filter(|&(&c, &m)| c && m)
                .count();
            let whole = mask.iter().filter(|&&m| m).count();
            assert!(10 * both > 9 * whole, "{both} of {whole} pixels change");
        }
    }
}

#[test]
fn an_edits_effect_stays_near_it() {
    for family in families() {
        for pair in &family.pairs {
            let (Task::Edit(_), Some(from)) = (pair.task, pair.from) else {
                continue;
            };
            let (a, b) = (&family.images[from], &family.images[pair.to]);
            let changed = effect(a, b).iter().filter(|&&c| c).count();
            assert!((20..64 * 64 * 2 / 3).contains(&changed), "{changed} pixels");
        }
    }
}

#[test]
fn a_solid_shades_the_table_on_the_side_away_from_the_lamp() {
    let mut seen = 0;
    for mut scene in scenes(1, 30) {
        // Elsewhere the frame may cut the shadow off.
        if scene.solids[0].cell.column != 1 {
            continue;
        }
        seen += 1;
        let shaded = render(&scene, 64);
        let solid = scene.solids.remove(0);
        let bare = render(&scene, 64);
        let total = |left: bool| -> i64 {
            let centre = (0..64 * 64).filter(|&i| shaded.ids[i] != 0);
            let columns: Vec<usize> = centre.map(|i| i % 64).collect();
            let middle = columns.iter().sum::<usize>() / columns.len();
            (0..64 * 64)
                .filter(|&i| shaded.ids[i] == 0 && (i % 64 < middle) == left)
                .map(|i| {
                    i64::from(brightness(&bare.image, i)) - i64::from(brightness(&shaded.image, i))
                })
                .sum()
        };
        let from_right = scene.light.azimuth > 0.0;
        let (away, towards) = (total(from_right), total(!from_right));
        assert!(away > 200 && away > towards, "{solid:?}: {away}, {towards}");
    }
    assert!(seen > 5);
}

#[test]
fn a_larger_picture_shows_the_same() {
    for scene in scenes(3, 6) {
        let (small, large) = (render(&scene, 64), render(&scene, 256));
        let mut off = 0.0;
        for (i, &value) in small.image.rgb.iter().enumerate() {
            let (y, x, c) = (i / 192, i / 3 % 64, i % 3);
            let block = (0..16).map(|k| {
                let at = (4 * y + k / 4) * 256 + 4 * x + k % 4;
                f32::from(large.image.rgb[3 * at + c]) / 16.0
            });
            off += (block.sum::<f32>() - f32::from(value)).abs();
        }
        let mean = off / small.image.rgb.len() as f32;
        assert!(mean < 1.0, "{mean} levels apart");
    }
}

#[test]
fn every_kind_gives_a_request_that_holds() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
        for seed in 0..30 {
            let sample = sample(kind, seed, 16);
            let mut request = Request::new(&sample.prompt);
            for (image, role) in &sample.inputs {
                assert_eq!((image.width, image.height), (16, 16));
                request = request.frame(image.clone(), *role);
            }
            request.check().unwrap();
            let derived = request.tags();
            assert!(derived.iter().all(|tag| sample.tags.contains(tag)));
            assert_eq!(derived != sample.tags, kind == Kind::Segment);
            assert_eq!(sample.inputs.is_empty(), kind == Kind::TextToImage);
            assert_eq!(sample.mask.len(), 16 * 16);
            assert!(sample.mask.contains(&true));
        }
    }
    assert!(
        "paint"
            .parse::<Kind>()
            .unwrap_err()
            .to_string()
            .contains("recolour")
    );
}

#[test]
fn a_familys_edits_go_both_ways_and_its_masks_are_its_ids() {
    let mut kinds = BTreeSet::new();
    for family in families() {
        for pair in &family.pairs {
            kinds.insert(pair.kind().name());
            match (pair.task, pair.from) {
                (Task::Segment(solid), Some(from)) => {
                    let white = family.images[pair.to].rgb.chunks_exact(3);
                    let ids = family.ids[from].iter();
                    assert!(white.zip(ids).all(|(p, &id)| {
                        (p == [255; 3]) == (usize::from(id) == solid + 1)
                            && (p == [255; 3] || p == [0; 3])
                    }));
                }
                (Task::Edit(edit), Some(from)) => {
                    let back = Edit::between(&family.scenes[pair.to], &family.scenes[from]);
                    let expected = match edit {
                        Edit::Remove(i) => Some(Edit::Add(i)),
                        Edit::Add(i) => Some(Edit::Remove(i)),
                        Edit::Recolour(_) => Some(edit),
                        // The way back of a move beside another solid may have no words.
                        Edit::Move(_) => back,
                    };
                    assert_eq!(back, expected);
                }
                _ => assert_eq!((pair.kind(), pair.from), (Kind::TextToImage, None)),
            }
        }
        assert!(
            family
                .scenes
                .iter()
                .all(|scene| scene.solids.len() <= MAX_SOLIDS)
        );
        assert!(family.scenes.iter().all(Scene::is_clear));
    }
    assert_eq!(kinds.len(), Kind::ALL.len());
}

/// The solids that the attributes in `text` leave possible, read word by word.
fn meant(scene: &Scene, text: &str) -> usize {
    let fits = |solid: &&Solid| {
        text.split_whitespace().all(|word| match word {
            "small" => solid.size == Size::Small,
            "large" | "big" => solid.size == Size::Large,
            "sphere" | "ball" => solid.shape == Shape::Sphere,
            "cube" | "box" | "block" => solid.shape == Shape::Cube,
            "cylinder" | "tube" => solid.shape == Shape::Cylinder,
            "cone" => solid.shape == Shape::Cone,
            _ => Colour::ALL
                .into_iter()
                .all(|colour| colour.word() != word || colour == solid.colour),
        })
    };
    scene.solids.iter().filter(fits).count()
}

#[test]
fn a_reference_means_one_solid() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    for count in 1..=MAX_SOLIDS {
        for scene in scenes(count, 60) {
            for i in 0..count {
                let remove = words::instruction(&scene, &scene, Edit::Remove(i), rng);
                assert_eq!(meant(&scene, &remove), 1, "{remove}: {scene:?}");
                let segment = words::segment(&scene, i, rng).replace("in white", "");
                assert_eq!(meant(&scene, &segment), 1, "{segment}: {scene:?}");
            }
        }
    }
}

/// Where the words of a move lead, by reading them.
fn destination(scene: &Scene, index: usize, target: Target) -> (i32, i32) {
    let at = |solid: &Solid| (i32::from(solid.cell.column), i32::from(solid.cell.row));
    let (column, row) = at(&scene.solids[index]);
    let has = |text: &str, word: &str| text.split(' ').any(|w| w == word);
    match target {
        Target::Corner(text) => (
            if has(text, "left") { 0 } else { 2 },
            if has(text, "back") { 0 } else { 2 },
        ),
        Target::Beside(text, other) => {
            let (column, row) = at(&scene.solids[other]);
            match text {
                "behind" => (column, row - 1),
                "in front of" => (column, row + 1),
                "to the left of" => (column - 1, row),
                _ => (column + 1, row),
            }
        }
        Target::Plain(text) => {
            let far = has(text, "edge") || has(text, "far");
            match text {
                "to the middle" | "to the centre" => (1, 1),
                _ if has(text, "left") => (if far { 0 } else { column - 1 }, row),
                _ if has(text, "right") => (if far { 2 } else { column + 1 }, row),
                _ if has(text, "forward") => (column, row + 1),
                _ if has(text, "backward") => (column, row - 1),
                _ if has(text, "front") => (column, 2),
                _ => (column, 0),
            }
        }
    }
}

#[test]
fn the_words_of_a_move_lead_to_its_place_and_no_other() {
    let mut seen = 0;
    for scene in scenes(3, 100) {
        for cell in scene.free() {
            for target in words::targets(&scene, 0, cell) {
                let place = (i32::from(cell.column), i32::from(cell.row));
                assert_eq!(destination(&scene, 0, target), place, "{target:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 1000);
}

#[test]
fn the_vocabulary_is_small_and_plain() {
    let corpus = corpus(0, 6000);
    let words: BTreeSet<&str> = corpus
        .iter()
        .flat_map(|text| text.split([' ', ',']))
        .filter(|word| !word.is_empty())
        .collect();
    assert!(
        (80..150).contains(&words.len()),
        "{}: {words:?}",
        words.len()
    );
    for word in words {
        let plain = word.chars().all(|c| c.is_ascii_lowercase());
        assert!(plain || word == "IMG1" || word == "RES1", "{word}");
    }
    for text in &corpus {
        assert!(!text.contains("a orange") && !text.contains("  "), "{text}");
    }
    let distinct: BTreeSet<_> = corpus.iter().collect();
    assert!(distinct.len() > 4000, "{} distinct texts", distinct.len());
}

#[test]
fn the_command_writes_what_its_list_says() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        out: Some(folder.path().join("samples")),
        count: 6,
        seed: 5,
        size: 16,
        kind: None,
        sheet: Some(folder.path().join("sheet.png")),
    };
    run(&options).unwrap();
    let list = std::fs::read_to_string(folder.path().join("samples/samples.jsonl")).unwrap();
    let mut kinds = BTreeSet::new();
    for line in list.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        kinds.insert(line["kind"].as_str().unwrap().to_string());
        for what in ["before", "after", "mask"] {
            if let Some(file) = line[what].as_str() {
                let image = Image::open(&folder.path().join("samples").join(file)).unwrap();
                assert_eq!((image.width, image.height), (16, 16));
            } else {
                assert_eq!((what, &line["kind"]), ("before", &"text-to-image".into()));
            }
        }
    }
    assert_eq!(kinds.len(), 6);
    let sheet = Image::open(&options.sheet.unwrap()).unwrap();
    assert_eq!((sheet.width, sheet.height), (2 * 38, 3 * 20));
}
