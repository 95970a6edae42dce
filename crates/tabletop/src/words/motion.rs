//! Text about motion between two frames of a clip.

use rand::{Rng, RngExt};

use super::lexicon::indefinite;
use super::reference::{refer, refer_plainly};
use super::{Wording, list};
use crate::draw::pick;
use crate::scene::{Camera, Light, Scene, Shape};
use crate::vector::dot;

/// Minimum distance of a motion that is mentioned, in table units.
const LEAST_WAY: f32 = 0.2;

/// The motion of an object between two frames.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Motion {
    solid: usize,
    /// Displacement to the right and towards the camera, in table units.
    way: [f32; 2],
    what: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    /// It moves along the table.
    Goes,
    /// It falls onto the table or onto another object.
    Falls,
    /// It falls off the object on which it stood.
    FallsOff(usize),
    /// It tips onto its side.
    Topples,
    /// It moves until it hits another object, which it pushes.
    Meets(usize),
}

/// Returns the instruction that leads from one frame of a clip to a later one: "the red ball rolls to the right and the cube
/// falls over". `None` where hardly anything moves, or where no text identifies the objects that move.
pub fn motion(
    before: &Scene,
    after: &Scene,
    wording: Wording,
    rng: &mut impl Rng,
) -> Option<String> {
    let mut parts = Vec::new();
    for motion in motions(before, after) {
        let subject = refer(before, motion.solid, Wording::Training, rng)?;
        let name = |other, rng: &mut _| refer_plainly(before, other, rng);
        parts.push(clause(before, &motion, &subject, wording, name, rng)?);
    }
    parts.extend(surroundings(before, after, wording));
    (!parts.is_empty()).then(|| list(&parts))
}

/// Returns a caption of a clip, from its frames in order of time: the objects, and what moves.
pub fn clip_caption(frames: &[Scene], wording: Wording, rng: &mut impl Rng) -> String {
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        return String::new();
    };
    let moving = motions(first, last);
    let mut parts = Vec::new();
    for motion in &moving {
        let subject = indefinite(&first.solids[motion.solid], Wording::Training, rng);
        let name = |other: usize, rng: &mut _| {
            Some(indefinite(&first.solids[other], Wording::Training, rng))
        };
        parts.extend(clause(first, motion, &subject, wording, name, rng));
    }
    parts.extend(surroundings(first, last, wording));
    let still: Vec<String> = (0..first.solids.len())
        .filter(|&i| {
            moving
                .iter()
                .all(|m| m.solid != i && m.what != Deed::Meets(i))
        })
        .map(|i| indefinite(&first.solids[i], Wording::Training, rng))
        .collect();
    let stands = match wording {
        Wording::Training => pick(&["{s} on the table", "there is {s} on the table"], rng),
        Wording::HeldOut => "the table holds {s}",
    };
    if !still.is_empty() && (parts.is_empty() || rng.random_bool(0.6)) {
        parts.push(stands.replace("{s}", &list(&still)));
    }
    parts.join(", ")
}

/// Returns the motions to mention, the longest first, at most three.
fn motions(before: &Scene, after: &Scene) -> Vec<Motion> {
    if before.solids.len() != after.solids.len() {
        return Vec::new();
    }
    let ways: Vec<[f32; 2]> = std::iter::zip(&before.solids, &after.solids)
        .map(|(a, b)| {
            let step = [0, 1, 2].map(|i| b.pose.position[i] - a.pose.position[i]);
            before.camera.table_axes(step)
        })
        .collect();
    let mut all: Vec<Motion> = (0..ways.len())
        .filter_map(|solid| {
            let what = deed(before, after, &ways, solid)?;
            Some(Motion {
                solid,
                way: ways[solid],
                what,
            })
        })
        .collect();
    // The clause about the pusher covers the pushed object.
    let pushed: Vec<usize> = all
        .iter()
        .filter_map(|m| match m.what {
            Deed::Meets(other) => Some(other),
            _ => None,
        })
        .collect();
    all.retain(|m| m.what != Deed::Goes || !pushed.contains(&m.solid));
    all.sort_by(|a, b| length(b.way).total_cmp(&length(a.way)));
    all.truncate(3);
    all
}

fn length(way: [f32; 2]) -> f32 {
    way[0].hypot(way[1])
}

fn deed(before: &Scene, after: &Scene, ways: &[[f32; 2]], solid: usize) -> Option<Deed> {
    let (a, b) = (&before.solids[solid], &after.solids[solid]);
    let drop = a.heights().0 - b.heights().0;
    let tipped = dot(a.axis(), b.axis()).abs() < 0.7;
    if let Some(below) = before.bearer(solid).filter(|_| drop > 0.25) {
        return Some(Deed::FallsOff(below));
    }
    if drop > 0.25 {
        return Some(Deed::Falls);
    }
    if tipped && matches!(a.shape, Shape::Cylinder | Shape::Cone | Shape::Torus) {
        return Some(Deed::Topples);
    }
    if length(ways[solid]) < LEAST_WAY {
        return None;
    }
    let meets = (0..ways.len()).find(|&other| {
        let (from, to) = (&before.solids[other], &after.solids[other]);
        let ahead = [0, 2].map(|i| from.pose.position[i] - a.pose.position[i]);
        let way = [0, 2].map(|i| b.pose.position[i] - a.pose.position[i]);
        // The other object was in the way and moved in the same direction.
        let in_the_way = ahead[0] * way[0] + ahead[1] * way[1] > 0.0;
        let reach = from.footprint() + a.footprint();
        let aside = (ahead[0] * way[1] - ahead[1] * way[0]).abs() / length(way).max(1e-6);
        let on = ways[other][0] * ways[solid][0] + ways[other][1] * ways[solid][1] > 0.0;
        other != solid
            && in_the_way
            && aside < reach
            && on
            && (length(ways[other]) > 0.1 || dot(from.axis(), to.axis()).abs() < 0.7)
            && length(way) + reach > length(ahead)
    });
    Some(meets.map_or(Deed::Goes, Deed::Meets))
}

/// Returns the clause for a motion: "the red ball rolls to the right".
fn clause<R: Rng>(
    before: &Scene,
    motion: &Motion,
    subject: &str,
    wording: Wording,
    mut name: impl FnMut(usize, &mut R) -> Option<String>,
    rng: &mut R,
) -> Option<String> {
    let training = wording == Wording::Training;
    let rolls = matches!(
        before.solids[motion.solid].shape,
        Shape::Sphere | Shape::Capsule
    );
    let verbs: &[&str] = match (rolls, training) {
        (true, true) => &["rolls", "moves"],
        (false, true) => &["slides", "moves"],
        (true, false) => &["goes rolling"],
        (false, false) => &["goes sliding"],
    };
    let verb = pick(verbs, rng);
    Some(match motion.what {
        Deed::Goes => format!("{subject} {verb} {}", direction(motion.way, rng)),
        Deed::Falls => format!(
            "{subject} {}",
            pick(
                if training {
                    &["falls down", "drops onto the table"]
                } else {
                    &["comes down", "comes falling"]
                },
                rng
            )
        ),
        Deed::FallsOff(other) => {
            let off = if training {
                pick(&["falls off", "falls from"], rng)
            } else {
                "comes down from"
            };
            format!("{subject} {off} {}", name(other, rng)?)
        }
        Deed::Topples => format!(
            "{subject} {}",
            if training {
                pick(&["falls over", "topples over", "tips over"], rng)
            } else {
                "falls onto its side"
            }
        ),
        Deed::Meets(other) => {
            let other = name(other, rng)?;
            match (training, rng.random_range(0..3)) {
                (true, 0) => format!("{subject} hits {other}"),
                (true, 1) => format!(
                    "{subject} {verb} {} and pushes {other}",
                    direction(motion.way, rng)
                ),
                (true, _) => format!("{subject} {verb} into {other}"),
                (false, 0) => format!("{subject} runs into {other}"),
                (false, _) => format!("{subject} {verb} against {other}"),
            }
        }
    })
}

fn direction([across, towards]: [f32; 2], rng: &mut impl Rng) -> String {
    let side = if across < 0.0 {
        "to the left"
    } else {
        "to the right"
    };
    let depth = if towards < 0.0 {
        pick(&["backward", "away from the camera"], rng)
    } else {
        pick(&["forward", "towards the camera"], rng)
    };
    let far = if across.hypot(towards) < 0.5 {
        "a bit "
    } else {
        ""
    };
    match (across.abs(), towards.abs()) {
        (a, t) if a > 2.0 * t => format!("{far}{side}"),
        (a, t) if t > 2.0 * a => format!("{far}{depth}"),
        _ => format!("{far}{side} and {depth}"),
    }
}

/// Describes the motion of the camera and the light.
fn surroundings(before: &Scene, after: &Scene, wording: Wording) -> Vec<String> {
    let goes = match wording {
        Wording::Training => "moves",
        Wording::HeldOut => "goes",
    };
    let camera = camera(before.camera, after.camera).map(|way| format!("the camera {goes} {way}"));
    let light = light(before.light, after.light).map(|way| format!("the light {goes} {way}"));
    camera.into_iter().chain(light).collect()
}

fn camera(a: Camera, b: Camera) -> Option<&'static str> {
    let turn = b.azimuth - a.azimuth;
    let rise = b.elevation - a.elevation;
    let nearer = (a.distance - b.distance) / a.distance;
    match (turn, rise, nearer) {
        (turn, _, _) if turn > 0.08 => Some("to the right"),
        (turn, _, _) if turn < -0.08 => Some("to the left"),
        (_, rise, _) if rise > 0.08 => Some("up"),
        (_, rise, _) if rise < -0.08 => Some("down"),
        (_, _, nearer) if nearer > 0.06 => Some("closer"),
        (_, _, nearer) if nearer < -0.06 => Some("away"),
        _ => None,
    }
}

fn light(a: Light, b: Light) -> Option<&'static str> {
    match b.azimuth - a.azimuth {
        turn if turn > 0.15 => Some("to the right"),
        turn if turn < -0.15 => Some("to the left"),
        _ => None,
    }
}
