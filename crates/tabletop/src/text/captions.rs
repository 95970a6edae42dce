//! Captions of scenes.

use rand::{Rng, RngExt};

use super::lexicon::{indefinite, table};
use super::{Wording, list};
use crate::draw::pick;
use crate::scene::{Backdrop, Scene};

/// Draws a paraphrase of the caption of `scene`: every object with its position, sometimes the table, the wall and the light.
pub fn caption(scene: &Scene, wording: Wording, rng: &mut impl Rng) -> String {
    let mut order: Vec<usize> = (0..scene.solids.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
    // A supporting object is named with the object on top of it.
    order.retain(|&i| !(0..scene.solids.len()).any(|above| scene.bearer(above) == Some(i)));
    let phrases: Vec<String> = order
        .iter()
        .map(|&i| object(scene, i, wording, rng))
        .collect();
    let ground = rng.random_bool(0.6).then_some(scene.ground);
    let tone = rng.random_bool(0.6).then_some(scene.ground_tone);
    let table = table(ground, tone, rng);
    let what = match (phrases.is_empty(), wording) {
        (true, Wording::Training) => format!("{table} with nothing on it"),
        (true, Wording::HeldOut) => format!("{table} that is empty"),
        (false, Wording::Training) => match rng.random_range(0..3) {
            0 => format!("{table} with {}", list(&phrases)),
            1 => format!("{} on {table}", list(&phrases)),
            _ => format!("{}, on {table}", list(&phrases)),
        },
        (false, Wording::HeldOut) => format!("{table} that shows {}", list(&phrases)),
    };
    format!("{what}{}", surroundings(scene, rng))
}

/// Describes an object: "a red ball on the left", "a red ball on top of a blue cube on the left".
fn object(scene: &Scene, index: usize, wording: Wording, rng: &mut impl Rng) -> String {
    let what = indefinite(&scene.solids[index], wording, rng);
    let position = place(scene, index, wording, rng);
    match scene.bearer(index) {
        Some(below) => format!(
            "{what} on top of {}{position}",
            indefinite(&scene.solids[below], wording, rng)
        ),
        None => format!("{what}{position}"),
    }
}

/// Returns the position of an object, such as " on the left", or an empty text.
fn place(scene: &Scene, index: usize, wording: Wording, rng: &mut impl Rng) -> String {
    let [across, towards] = scene.camera.table_axes(scene.solids[index].pose.position);
    let side = match across {
        a if a < -0.55 => "left",
        a if a > 0.55 => "right",
        _ => "middle",
    };
    let depth = match towards {
        t if t < -0.8 => "back",
        t if t > 0.3 => "front",
        _ => "middle",
    };
    let of = match wording {
        Wording::Training => "",
        Wording::HeldOut => " of the picture",
    };
    match (side, depth) {
        _ if rng.random_bool(0.15) => String::new(),
        ("middle", "middle") => format!(" in the middle{of}"),
        ("middle", depth) => format!(" at the {depth}{of}"),
        (side, "middle") => format!(" on the {side}{of}"),
        (side, depth) => {
            if rng.random_bool(0.6) {
                format!(" at the {depth} {side}{of}")
            } else {
                format!(" on the {side}{of}")
            }
        }
    }
}

/// Sometimes describes the backdrop and the light.
fn surroundings(scene: &Scene, rng: &mut impl Rng) -> String {
    let mut text = String::new();
    if rng.random_bool(0.3) {
        let tone = pick(scene.backdrop_tone.adjectives(), rng);
        let phrase = pick(scene.backdrop.phrases(), rng).replace("{t}", tone);
        let preposition = if scene.backdrop == Backdrop::Sky {
            "under"
        } else {
            "in front of"
        };
        text += &format!(", {preposition} {phrase}");
    }
    if rng.random_bool(0.2) {
        let turn = scene.light.azimuth - scene.camera.azimuth;
        text += match (turn.sin(), turn.cos()) {
            (_, cos) if cos < -0.6 => ", lit from behind",
            (sin, _) if sin > 0.4 => ", lit from the right",
            (sin, _) if sin < -0.4 => ", lit from the left",
            _ => ", lit from the front",
        };
    }
    text
}
