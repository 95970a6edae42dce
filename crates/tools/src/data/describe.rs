//! Phrases and instructions without a language model: objects are named by colour, size and side, and instructions describe
//! where they move.

use std::collections::BTreeMap;

use super::clip::{Clip, Instruction};
use super::mask::{bounds, share};
use super::prompts::join_list;
use unireal::Image;

/// Hue names with the angle in degrees at which each begins.
const HUES: [(f32, &str); 9] = [
    (0.0, "red"),
    (18.0, "orange"),
    (48.0, "yellow"),
    (70.0, "green"),
    (165.0, "cyan"),
    (200.0, "blue"),
    (260.0, "purple"),
    (305.0, "pink"),
    (340.0, "red"),
];
/// Minimum fraction of an object's pixels that a colour name must fit.
const MIN_AGREEMENT: f32 = 0.4;

/// Returns the name of a colour.
fn hue_name(pixel: &[u8]) -> &'static str {
    let [r, g, b] = [0, 1, 2].map(|c| f32::from(pixel[c]) / 255.0);
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = max - min;
    if max < 0.2 || chroma < 0.18 * max.max(0.35) {
        return match max {
            dark if dark < 0.25 => "black",
            light if light > 0.8 => "white",
            _ => "grey",
        };
    }
    let sextant = if max == r {
        (g - b) / chroma
    } else if max == g {
        2.0 + (b - r) / chroma
    } else {
        4.0 + (r - g) / chroma
    };
    let degrees = (60.0 * sextant).rem_euclid(360.0);
    let name = HUES.iter().rev().find(|(begin, _)| degrees >= *begin);
    match name.map_or("red", |(_, name)| name) {
        // Dark or dull orange is called brown, light red is called pink.
        "orange" if max < 0.6 || chroma < 0.45 * max => "brown",
        "red" if min > 0.45 => "pink",
        name => name,
    }
}

/// Returns the most frequent colour name of the masked pixels; `None` when too few agree, or for an empty mask.
pub fn colour(images: &[Image], masks: &[Vec<bool>]) -> Option<&'static str> {
    let mut votes: BTreeMap<&str, f32> = BTreeMap::new();
    for (image, mask) in images.iter().zip(masks) {
        for (pixel, _) in image.rgb.chunks_exact(3).zip(mask).filter(|(_, on)| **on) {
            *votes.entry(hue_name(pixel)).or_default() += 1.0;
        }
    }
    let total: f32 = votes.values().sum();
    let best = votes.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    best.filter(|(_, votes)| *votes > MIN_AGREEMENT * total)
        .map(|(name, _)| name)
}

/// Names the entities without phrases so that each phrase fits one of them in every frame: by colour when no other has it,
/// as the largest, or by side.
pub fn name(clip: &mut Clip) {
    let colours: Vec<_> = clip
        .entities
        .iter()
        .map(|e| colour(&clip.frames, &e.masks))
        .collect();
    let count = clip.entities.len();
    let mut phrases: Vec<Vec<String>> = vec![Vec::new(); count];
    for i in 0..count {
        let differs = |j: usize| j == i || colours[j] != colours[i];
        if let Some(colour) = colours[i].filter(|_| (0..count).all(differs)) {
            phrases[i].push(format!("the moving {colour} object"));
            phrases[i].push(format!("the {colour} object that moves"));
        }
    }
    if count == 1 {
        phrases[0].extend(["the moving object".into(), "the object that moves".into()]);
    } else {
        let area = |entity: usize, frame: usize| Some(share(&clip.entities[entity].masks[frame]));
        let x = |entity: usize, frame: usize| centre(clip, entity, frame).map(|[x, _]| x);
        for (entity, phrase) in [
            (always_first(clip, area), "the largest moving object"),
            (always_first(clip, x), "the moving object on the right"),
            (
                always_first(clip, |e, f| x(e, f).map(|x| -x)),
                "the moving object on the left",
            ),
        ] {
            if let Some(entity) = entity {
                phrases[entity].push(phrase.into());
            }
        }
    }
    for (entity, phrases) in clip.entities.iter_mut().zip(phrases) {
        if entity.phrases.is_empty() {
            entity.phrases = phrases;
        }
    }
}

/// Returns the entity whose value is the greatest in every frame by a margin of 15 %.
fn always_first(clip: &Clip, value: impl Fn(usize, usize) -> Option<f32>) -> Option<usize> {
    let mut first = None;
    for frame in 0..clip.frames.len() {
        let values = (0..clip.entities.len()).filter_map(|e| Some((value(e, frame)?, e)));
        let mut values: Vec<(f32, usize)> = values.collect();
        values.sort_by(|a, b| b.0.total_cmp(&a.0));
        let &[(greatest, entity), (second, _), ..] = values.as_slice() else {
            continue;
        };
        let margin = 0.15 * greatest.abs().max(second.abs());
        if greatest - second < margin || *first.get_or_insert(entity) != entity {
            return None;
        }
    }
    first
}

/// Returns the centre of an entity's box as fractions of the image; `None` where it is not visible.
fn centre(clip: &Clip, entity: usize, frame: usize) -> Option<[f32; 2]> {
    let (width, height) = (clip.frames[frame].width, clip.frames[frame].height);
    let b = bounds(&clip.entities[entity].masks[frame], width as usize)?;
    Some([
        (b.left + b.right) as f32 / (2 * width) as f32,
        (b.top + b.bottom) as f32 / (2 * height) as f32,
    ])
}

/// Minimum displacement that is described, as a fraction of the image.
const MIN_DISPLACEMENT: f32 = 0.05;

/// Returns instructions between neighbouring frames, forwards and backwards. Each names every object that moves; a pair in
/// which an unnamed object moves gets none.
pub fn instructions(clip: &Clip) -> Vec<Instruction> {
    let mut found = Vec::new();
    for from in 0..clip.frames.len() {
        for to in [from.wrapping_sub(1), from + 1] {
            if to >= clip.frames.len() {
                continue;
            }
            let moving = (0..clip.entities.len())
                .filter_map(|entity| Some((entity, displacement(clip, entity, from, to)?)));
            let named: Option<Vec<(String, String)>> = moving
                .map(|(entity, by)| Some((phrase(clip, entity, from + to)?, direction(by))))
                .collect();
            let Some(moves) = named.filter(|moves| !moves.is_empty()) else {
                continue;
            };
            let sentence = |clause: &dyn Fn(&str, &str) -> String| {
                let clauses = moves.iter().map(|(object, to)| clause(object, to));
                join_list(&clauses.collect::<Vec<_>>())
            };
            let texts = vec![
                sentence(&|object, to| format!("move {object} {to}")),
                sentence(&|object, to| format!("{object} moves {to}")),
                sentence(&|object, to| format!("{object} goes {to}")),
            ];
            found.push(Instruction { from, to, texts });
        }
    }
    found
}

/// Returns an entity's displacement as fractions of the image; `None` when it stays or is not visible.
fn displacement(clip: &Clip, entity: usize, from: usize, to: usize) -> Option<[f32; 2]> {
    let (a, b) = (centre(clip, entity, from)?, centre(clip, entity, to)?);
    let by = [b[0] - a[0], b[1] - a[1]];
    (by[0].hypot(by[1]) >= MIN_DISPLACEMENT).then_some(by)
}

/// Returns one of an entity's phrases; successive values of `index` cycle through them.
fn phrase(clip: &Clip, entity: usize, index: usize) -> Option<String> {
    let phrases = &clip.entities[entity].phrases;
    // Avoids "the object that moves moves".
    let usable: Vec<&String> = phrases.iter().filter(|p| !p.ends_with("moves")).collect();
    usable.get(index % usable.len().max(1)).copied().cloned()
}

/// Describes a displacement, such as "slightly to the right and up".
fn direction([x, y]: [f32; 2]) -> String {
    let length = x.hypot(y);
    let mut directions = Vec::new();
    if x.abs() > 0.4 * length {
        directions.push(if x > 0.0 {
            "to the right"
        } else {
            "to the left"
        });
    }
    if y.abs() > 0.4 * length {
        directions.push(if y > 0.0 { "down" } else { "up" });
    }
    let slightly = if length < 2.0 * MIN_DISPLACEMENT {
        "slightly "
    } else {
        ""
    };
    format!("{slightly}{}", directions.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Entity;

    /// Left, top, side and colour of a square.
    type Patch = (usize, usize, usize, [u8; 3]);

    /// Returns a clip of coloured squares on green.
    fn clip(frames: &[Vec<Patch>]) -> Clip {
        let mut clip = Clip::default();
        for (n, boxes) in frames.iter().enumerate() {
            let mut rgb = [30, 150, 40].repeat(100 * 50);
            for (e, &(left, top, side, colour)) in boxes.iter().enumerate() {
                let inside = |i: usize| {
                    (left..left + side).contains(&(i % 100))
                        && (top..top + side).contains(&(i / 100))
                };
                let mask: Vec<bool> = (0..5000).map(inside).collect();
                for i in (0..5000).filter(|&i| mask[i]) {
                    rgb[3 * i..3 * i + 3].copy_from_slice(&colour);
                }
                if n == 0 {
                    clip.entities.push(Entity::default());
                }
                clip.entities[e].masks.push(mask);
            }
            clip.frames.push(Image::from_rgb(100, 50, rgb).unwrap());
            clip.numbers.push(n as u64);
        }
        clip
    }

    const RED: [u8; 3] = [210, 40, 20];
    const BLUE: [u8; 3] = [30, 50, 220];

    #[test]
    fn colours_have_their_usual_names() {
        for (rgb, name) in [
            ([220, 30, 30], "red"),
            ([240, 140, 20], "orange"),
            ([110, 70, 40], "brown"),
            ([235, 220, 50], "yellow"),
            ([40, 160, 50], "green"),
            ([50, 200, 210], "cyan"),
            ([40, 70, 200], "blue"),
            ([120, 50, 150], "purple"),
            ([240, 140, 180], "pink"),
            ([15, 15, 18], "black"),
            ([128, 130, 126], "grey"),
            ([245, 245, 240], "white"),
        ] {
            assert_eq!(hue_name(&rgb), name, "{rgb:?}");
        }
        let half = Image::from_rgb(2, 1, vec![220, 30, 30, 40, 70, 200]).unwrap();
        assert_eq!(
            colour(std::slice::from_ref(&half), &[vec![true, false]]),
            Some("red")
        );
        assert_eq!(colour(&[half], &[vec![false, false]]), None);
    }

    #[test]
    fn a_single_object_is_the_moving_object_and_its_direction_is_described() {
        let mut clip = clip(&[
            vec![(10, 10, 12, RED)],
            vec![(30, 10, 12, RED)],
            vec![(34, 30, 12, RED)],
        ]);
        name(&mut clip);
        assert!(
            clip.entities[0]
                .phrases
                .contains(&"the moving object".into())
        );
        assert!(
            clip.entities[0]
                .phrases
                .contains(&"the moving red object".into())
        );
        let instructions = instructions(&clip);
        let pairs: Vec<(usize, usize)> = instructions.iter().map(|i| (i.from, i.to)).collect();
        assert_eq!(pairs, [(0, 1), (1, 0), (1, 2), (2, 1)]);
        assert!(
            instructions[0].texts[0].ends_with("to the right"),
            "{:?}",
            instructions[0].texts
        );
        assert!(instructions[1].texts[0].ends_with("to the left"));
        assert!(instructions[2].texts[0].ends_with("down"));
    }

    #[test]
    fn objects_of_one_colour_are_named_by_side_and_size_where_unambiguous() {
        let mut alike = clip(&[
            vec![(5, 10, 10, RED), (60, 10, 20, RED)],
            vec![(15, 10, 10, RED), (70, 10, 20, RED)],
        ]);
        name(&mut alike);
        assert_eq!(alike.entities[0].phrases, ["the moving object on the left"]);
        let second = [
            "the largest moving object",
            "the moving object on the right",
        ];
        assert_eq!(alike.entities[1].phrases, second);
        let mut crossing = clip(&[
            vec![(5, 10, 10, RED), (60, 10, 10, BLUE)],
            vec![(70, 10, 10, RED), (20, 10, 10, BLUE)],
        ]);
        name(&mut crossing);
        for (entity, colour) in crossing.entities.iter().zip(["red", "blue"]) {
            assert_eq!(entity.phrases.len(), 2);
            assert!(entity.phrases.iter().all(|phrase| phrase.contains(colour)));
        }
        let text = &instructions(&crossing)[0].texts[0];
        assert!(
            text.contains("red") && text.contains("blue") && text.contains(" and "),
            "{text}"
        );
    }
}
