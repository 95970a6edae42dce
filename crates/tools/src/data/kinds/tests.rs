use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::data::{EditPair, Instruction};

const W: usize = 96;
const H: usize = 64;

fn ground(x: f32, y: f32) -> [f32; 3] {
    let grain = 18.0 * (0.9 * x + 0.4 * (0.3 * y).sin()).sin() + 10.0 * (1.3 * y - 0.5 * x).sin();
    [140.0 + grain, 120.0 + grain, 90.0 + grain]
}

/// Paints discs, given by centre, radius and colour, on the ground, later ones in front; returns the image and their masks.
fn paint(discs: &[([f32; 2], f32, [f32; 3])]) -> (Image, Vec<Vec<bool>>) {
    let mut visible = Vec::new();
    let mut rgb = Vec::new();
    for i in 0..W * H {
        let (x, y) = ((i % W) as f32, (i / W) as f32);
        let front = discs
            .iter()
            .rposition(|(at, r, _)| (x - at[0]).hypot(y - at[1]) < *r);
        let colour = match front {
            Some(disc) => discs[disc].2,
            None => ground(x, y),
        };
        rgb.extend(colour.map(|v| v as u8));
        visible.push(front);
    }
    let mask = |disc| visible.iter().map(|front| *front == Some(disc)).collect();
    let masks = (0..discs.len()).map(mask).collect();
    (Image::from_rgb(W as u32, H as u32, rgb).unwrap(), masks)
}

const RED: [f32; 3] = [220.0, 20.0, 20.0];
const BLUE: [f32; 3] = [20.0, 40.0, 220.0];

/// Returns a clip of a red disc that rolls to the right past a blue one.
fn clip() -> Clip {
    let mut clip = Clip {
        name: "test".into(),
        rate: 8.0,
        captions: vec!["a red disc passes a blue disc".into()],
        entities: vec![
            Entity {
                phrases: vec!["the red disc".into(), "the disc".into()],
                masks: vec![],
            },
            Entity {
                phrases: vec!["the blue disc".into(), "the disc".into()],
                masks: vec![],
            },
        ],
        instructions: vec![Instruction {
            from: 0,
            to: 2,
            texts: vec!["move the red disc to the right".into()],
        }],
        ..Clip::default()
    };
    for i in 0..4u8 {
        let (image, masks) = paint(&[
            ([60.0, 40.0], 11.0, BLUE),
            ([20.0 + 5.0 * f32::from(i), 20.0], 9.0, RED),
        ]);
        clip.frames.push(image);
        clip.numbers.push(10 + u64::from(i));
        clip.depths
            .push((0..W * H).map(|p| 9.0 - (p / W) as f32 / 16.0).collect());
        clip.entities[0].masks.push(masks[1].clone());
        clip.entities[1].masks.push(masks[0].clone());
    }
    let (after, _) = paint(&[([60.0, 40.0], 11.0, BLUE)]);
    clip.edits.push(EditPair {
        variant: "remove".into(),
        texts: vec!["remove the red disc".into()],
        before: clip.frames[0].clone(),
        after,
        changed: clip.entities[0].masks[0].clone(),
        solids: 1,
        context: vec![Tag::SyntheticStyle, Tag::StaticScenario],
    });
    clip
}

fn build(clip: &Clip, seed: u64) -> (Vec<Sample>, Counts) {
    let mut counts = Counts::default();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let samples = samples(clip, &Settings::default(), &mut rng, &mut counts).unwrap();
    (samples, counts)
}

#[test]
fn a_full_clip_gives_every_kind_and_the_counts_agree() {
    let (samples, counts) = build(&clip(), 1);
    let kinds: BTreeSet<Kind> = samples.iter().map(|sample| sample.kind).collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "{kinds:?}");
    assert_eq!(counts.samples.values().sum::<u64>(), samples.len() as u64);
    assert!(counts.dropped.is_empty(), "{counts:?}");
    for (i, sample) in samples.iter().enumerate() {
        let shard = crate::data::shard::encode("k", sample);
        shard.unwrap_or_else(|e| panic!("sample {i}: {e}"));
        for prompt in &sample.prompts {
            assert!(!prompt.contains('{'), "{prompt}");
            for n in sample.inputs.len() + 1..=10 {
                assert!(!prompt.contains(&format!("IMG{n}")), "{prompt}");
            }
            for n in sample.outputs.len() + 1..=10 {
                assert!(!prompt.contains(&format!("RES{n}")), "{prompt}");
            }
        }
    }
    let again = build(&clip(), 1).0;
    let prompts = |samples: &[Sample]| {
        samples
            .iter()
            .map(|s| s.prompts.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(prompts(&samples), prompts(&again));
}

/// Returns the samples of a kind from several seeds.
fn samples_of(kind: Kind, variant: &str) -> Vec<Sample> {
    let samples = (0..20).flat_map(|seed| build(&clip(), seed).0);
    let found: Vec<_> = samples
        .filter(|s| s.kind == kind && s.variant.starts_with(variant))
        .collect();
    assert!(!found.is_empty(), "no {kind:?}");
    found
}

fn pixel(image: &Image, i: usize) -> [i32; 3] {
    std::array::from_fn(|c| i32::from(image.rgb[3 * i + c]))
}

fn is(image: &Image, i: usize, colour: [f32; 3]) -> bool {
    (0..3).all(|c| (pixel(image, i)[c] - colour[c] as i32).abs() < 40)
}

#[test]
fn an_insertion_lacks_the_object_and_nothing_else() {
    for sample in samples_of(Kind::Insertion, "erased") {
        let (canvas, asset, frame) = (&sample.inputs[0].0, &sample.inputs[1].0, &sample.outputs[0]);
        let colour = if (0..W * H).any(|i| is(asset, i, RED)) {
            RED
        } else {
            BLUE
        };
        assert!(
            (0..W * H).all(|i| !is(canvas, i, colour)),
            "the object is still there"
        );
        assert!((0..W * H).any(|i| is(frame, i, colour)));
        let object: Vec<bool> = (0..W * H).map(|i| is(frame, i, colour)).collect();
        let near = mask::grown(&object, W, 3);
        assert!((0..W * H).all(|i| near[i] || pixel(canvas, i) == pixel(frame, i)));
        let roles: Vec<Role> = sample.inputs.iter().map(|(_, role)| *role).collect();
        assert_eq!(roles[..2], [Role::Canvas, Role::Asset]);
        let name = if colour == RED { "red" } else { "blue" };
        let other = if colour == RED { "blue" } else { "red" };
        assert!(
            sample.prompts.iter().all(|p| !p.contains(other)),
            "{:?}",
            sample.prompts
        );
        assert!(
            sample
                .prompts
                .iter()
                .any(|p| p.contains(name) || p.contains("the object"))
        );
        if let Some((target, role)) = sample.inputs.get(2) {
            assert_eq!(*role, Role::Control);
            assert!((0..W * H).all(|i| (pixel(target, i)[0] == 255) == object[i]));
            assert!(sample.prompts.iter().all(|p| p.contains("IMG3")));
        }
    }
}

#[test]
fn a_removal_gives_an_insertion_with_ground_truth() {
    let sample = samples_of(Kind::Insertion, "truth").remove(0);
    assert_eq!(sample.inputs[0].0, clip().edits[0].after);
    assert_eq!(sample.outputs[0], clip().edits[0].before);
    assert!((0..W * H).any(|i| is(&sample.inputs[1].0, i, RED)));
}

#[test]
fn assets_are_the_named_objects_on_white() {
    for sample in samples_of(Kind::Customisation, "") {
        let assets = sample
            .inputs
            .iter()
            .filter(|(_, role)| *role == Role::Asset);
        for (n, (asset, _)) in assets.enumerate() {
            let colour = if (0..W * H).any(|i| is(asset, i, RED)) {
                "red"
            } else {
                "blue"
            };
            let named = format!("the {colour} disc of IMG{}", n + 1);
            assert!(
                sample.prompts.iter().all(|p| p.contains(&named)),
                "{named}: {:?}",
                sample.prompts
            );
            assert_eq!(pixel(asset, 0), [255; 3]);
            assert!(
                (0..W * H).all(|i| !is(asset, i, [140.0, 120.0, 90.0])),
                "ground on the asset"
            );
        }
        assert!(sample.context.contains(&Tag::NovelScenario));
    }
}

#[test]
fn a_hole_is_grey_where_the_result_shows_the_object() {
    for sample in samples_of(Kind::ObjectAdd, "") {
        let (canvas, frame) = (&sample.inputs[0].0, &sample.outputs[0]);
        let hole = sample.changed.as_ref().unwrap();
        for i in 0..W * H {
            let expected = if pixel(hole, i)[0] > 0 {
                [128; 3]
            } else {
                pixel(frame, i)
            };
            assert_eq!(pixel(canvas, i), expected);
        }
        let colour = if sample.prompts[0].contains("red") {
            RED
        } else {
            BLUE
        };
        assert!((0..W * H).all(|i| !is(canvas, i, colour)));
    }
}

#[test]
fn a_mask_shows_the_named_object() {
    for sample in samples_of(Kind::Segmentation, "") {
        let colour = if sample.prompts[0].contains("red") {
            RED
        } else {
            BLUE
        };
        for i in 0..W * H {
            let on = pixel(&sample.outputs[0], i) == [255; 3];
            assert_eq!(on, is(&sample.inputs[0].0, i, colour));
        }
    }
}

#[test]
fn depth_is_drawn_as_inverse_depth() {
    let map = depth_image(&[1.0, 2.0, 4.0, f32::INFINITY], 2).unwrap();
    assert_eq!([0, 1, 2, 3].map(|i| pixel(&map, i)[0]), [255, 128, 64, 0]);
    assert!(depth_image(&[3.0; 4], 2).is_none());
    assert!(depth_image(&[f32::NAN; 4], 2).is_none());
}

#[test]
fn instructions_keep_their_direction_and_the_scenario_is_static() {
    let sample = samples_of(Kind::FrameToFrame, "instruction").remove(0);
    assert_eq!(sample.inputs[0].0, clip().frames[0]);
    assert_eq!(sample.outputs[0], clip().frames[2]);
    assert!(
        sample.context.contains(&Tag::StaticScenario),
        "{:?}",
        sample.context
    );
    assert_eq!(sample.source["frames"], json!([10, 12]));
}

/// Returns the counts of a modified clip.
fn dropped(change: impl Fn(&mut Clip)) -> Counts {
    let mut clip = clip();
    change(&mut clip);
    build(&clip, 3).1
}

#[test]
fn each_filter_counts_what_it_drops() {
    let tiny = dropped(|clip| {
        for mask in &mut clip.entities[0].masks {
            let first = mask.iter().position(|on| *on).unwrap();
            mask.iter_mut()
                .enumerate()
                .for_each(|(i, on)| *on = i == first);
        }
    });
    assert!(tiny.dropped["tiny object"] > 0, "{tiny:?}");
    let huge = dropped(|clip| {
        clip.entities[1]
            .masks
            .iter_mut()
            .for_each(|mask| mask.fill(true))
    });
    assert!(huge.dropped["huge object"] > 0, "{huge:?}");
    let same = dropped(|clip| clip.frames[2] = clip.frames[0].clone());
    assert!(same.dropped["no change"] > 0, "{same:?}");
    let blurred = dropped(|clip| {
        let small = clip.frames[3].resize(6, 4);
        clip.frames[3] = small.resize(W as u32, H as u32);
    });
    assert_eq!(blurred.dropped["blurred frame"], 1, "{blurred:?}");
    let cut = dropped(|clip| {
        let pixels = (0..W * H).flat_map(|i| [40, 200, (i % 7 * 30) as u8]);
        clip.frames[2].rgb = pixels.collect();
    });
    assert!(cut.dropped["cut between the frames"] > 0, "{cut:?}");
    let mute = dropped(|clip| clip.captions.clear());
    assert!(mute.dropped["no caption"] > 0 && !mute.samples.contains_key("text-to-image"));
    let alike = dropped(|clip| clip.entities[0].phrases = vec!["the disc".into()]);
    assert!(
        alike.dropped["object that no phrase means alone"] > 0,
        "{alike:?}"
    );
}

#[test]
fn clips_that_do_not_fit_together_are_refused_and_empty_ones_give_nothing() {
    let refused = |change: &dyn Fn(&mut Clip), expected: &str| {
        let mut clip = clip();
        change(&mut clip);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let result = samples(
            &clip,
            &Settings::default(),
            &mut rng,
            &mut Counts::default(),
        );
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&|c| c.numbers.truncate(1), "frame numbers");
    refused(&|c| c.depths.truncate(1), "depth maps");
    refused(&|c| c.depths[1].truncate(9), "size");
    refused(&|c| c.entities[1].masks.truncate(1), "masks");
    refused(
        &|c| c.instructions[0].to = 4,
        "from frame 0 to 4, expected frames below 4",
    );
    assert!(build(&Clip::default(), 1).0.is_empty());
    let mut one = clip();
    one.frames.truncate(1);
    one.numbers.truncate(1);
    one.depths.truncate(1);
    one.instructions.clear();
    one.entities.iter_mut().for_each(|e| e.masks.truncate(1));
    assert!(build(&one, 1).1.samples.contains_key("segmentation"));
}
