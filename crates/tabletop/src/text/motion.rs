//! Text about motion between two frames of a clip.

use rand::{Rng, RngExt};

use super::lexicon::indefinite;
use super::reference::{refer, refer_plainly};
use super::{Wording, list};
use crate::draw::pick;
use crate::scene::{Camera, Light, Scene, Shape};
use crate::vector::dot;

/// Minimum distance of a motion that is mentioned, in table units.
const MIN_DISPLACEMENT: f32 = 0.2;

/// The motion of an object between two frames.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Motion {
    solid: usize,
    /// Displacement to the right and towards the camera, in table units.
    displacement: [f32; 2],
    kind: MotionKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum MotionKind {
    /// It moves along the table.
    Moves,
    /// It falls onto the table or onto another object.
    Falls,
    /// It falls off the object on which it stood.
    FallsOff(usize),
    /// It tips onto its side.
    Topples,
    /// It moves until it hits another object, which it pushes.
    Pushes(usize),
}

/// Returns the instruction that leads from one frame of a clip to a later one: "the red ball rolls to the right and the cube
/// falls over". `None` where hardly anything moves, or where no text identifies the objects that move.
pub fn motion(
    before: &Scene,
    after: &Scene,
    wording: Wording,
    rng: &mut impl Rng,
) -> Option<String> {
    let mut clauses = Vec::new();
    for motion in motions(before, after) {
        let subject = refer(before, motion.solid, Wording::Training, rng)?;
        let name = |other, rng: &mut _| refer_plainly(before, other, rng);
        clauses.push(clause(before, &motion, &subject, wording, name, rng)?);
    }
    clauses.extend(surroundings(before, after, wording));
    (!clauses.is_empty()).then(|| list(&clauses))
}

/// Returns a caption of a clip, from its frames in order of time: the objects, and what moves.
pub fn clip_caption(frames: &[Scene], wording: Wording, rng: &mut impl Rng) -> String {
    let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
        return String::new();
    };
    let moving = motions(first, last);
    let mut clauses = Vec::new();
    for motion in &moving {
        let subject = indefinite(&first.solids[motion.solid], Wording::Training, rng);
        let name = |other: usize, rng: &mut _| {
            Some(indefinite(&first.solids[other], Wording::Training, rng))
        };
        clauses.extend(clause(first, motion, &subject, wording, name, rng));
    }
    clauses.extend(surroundings(first, last, wording));
    let still: Vec<String> = (0..first.solids.len())
        .filter(|&i| {
            moving
                .iter()
                .all(|m| m.solid != i && m.kind != MotionKind::Pushes(i))
        })
        .map(|i| indefinite(&first.solids[i], Wording::Training, rng))
        .collect();
    let stands = match wording {
        Wording::Training => pick(&["{s} on the table", "there is {s} on the table"], rng),
        Wording::HeldOut => "the table holds {s}",
    };
    if !still.is_empty() && (clauses.is_empty() || rng.random_bool(0.6)) {
        clauses.push(stands.replace("{s}", &list(&still)));
    }
    clauses.join(", ")
}

/// Returns the motions to mention, the longest first, at most three.
fn motions(before: &Scene, after: &Scene) -> Vec<Motion> {
    if before.solids.len() != after.solids.len() {
        return Vec::new();
    }
    let displacements: Vec<[f32; 2]> = std::iter::zip(&before.solids, &after.solids)
        .map(|(a, b)| {
            let step = [0, 1, 2].map(|i| b.pose.position[i] - a.pose.position[i]);
            before.camera.table_axes(step)
        })
        .collect();
    let mut all: Vec<Motion> = (0..displacements.len())
        .filter_map(|solid| {
            let kind = motion_kind(before, after, &displacements, solid)?;
            Some(Motion {
                solid,
                displacement: displacements[solid],
                kind,
            })
        })
        .collect();
    // The clause about the pusher covers the pushed object.
    let pushed: Vec<usize> = all
        .iter()
        .filter_map(|m| match m.kind {
            MotionKind::Pushes(other) => Some(other),
            _ => None,
        })
        .collect();
    all.retain(|m| m.kind != MotionKind::Moves || !pushed.contains(&m.solid));
    all.sort_by(|a, b| length(b.displacement).total_cmp(&length(a.displacement)));
    all.truncate(3);
    all
}

fn length([x, y]: [f32; 2]) -> f32 {
    x.hypot(y)
}

/// Classifies the motion of an object; `None` where it hardly moves.
fn motion_kind(
    before: &Scene,
    after: &Scene,
    displacements: &[[f32; 2]],
    solid: usize,
) -> Option<MotionKind> {
    let (a, b) = (&before.solids[solid], &after.solids[solid]);
    let drop = a.heights().0 - b.heights().0;
    let tipped = dot(a.axis(), b.axis()).abs() < 0.7;
    if let Some(below) = before.bearer(solid).filter(|_| drop > 0.25) {
        return Some(MotionKind::FallsOff(below));
    }
    if drop > 0.25 {
        return Some(MotionKind::Falls);
    }
    if tipped && matches!(a.shape, Shape::Cylinder | Shape::Cone | Shape::Torus) {
        return Some(MotionKind::Topples);
    }
    if length(displacements[solid]) < MIN_DISPLACEMENT {
        return None;
    }
    let pushed = (0..displacements.len())
        .find(|&other| other != solid && pushes(before, after, displacements, solid, other));
    Some(pushed.map_or(MotionKind::Moves, MotionKind::Pushes))
}

/// Returns whether object `solid` moves into object `other` and pushes it ahead.
fn pushes(
    before: &Scene,
    after: &Scene,
    displacements: &[[f32; 2]],
    solid: usize,
    other: usize,
) -> bool {
    let (pusher, pushed) = (&before.solids[solid], &before.solids[other]);
    let step = |i: usize| {
        let (from, to) = (
            before.solids[i].pose.position,
            after.solids[i].pose.position,
        );
        [to[0] - from[0], to[2] - from[2]]
    };
    let dot2 = |a: [f32; 2], b: [f32; 2]| a[0] * b[0] + a[1] * b[1];
    let way = step(solid);
    let ahead = [0, 2].map(|i| pushed.pose.position[i] - pusher.pose.position[i]);
    let reach = pushed.footprint() + pusher.footprint();
    let aside = (ahead[0] * way[1] - ahead[1] * way[0]).abs() / length(way).max(1e-6);
    let tipped = dot(pushed.axis(), after.solids[other].axis()).abs() < 0.7;
    let in_the_way = dot2(ahead, way) > 0.0 && aside < reach;
    let same_direction = dot2(displacements[other], displacements[solid]) > 0.0;
    // A pushed object moves away from the pusher, so two objects cannot push each other.
    let away = dot2(ahead, step(other)) > 0.0;
    let moved = length(displacements[other]) > 0.1 || tipped;
    let reached = length(way) + reach > length(ahead);
    in_the_way && same_direction && away && moved && reached
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
    let verb = travel_verb(before.solids[motion.solid].shape, wording, rng);
    let predicate = match motion.kind {
        MotionKind::Moves => format!("{verb} {}", direction(motion.displacement, rng)),
        MotionKind::Falls if training => {
            pick(&["falls down", "drops onto the table"], rng).to_owned()
        }
        MotionKind::Falls => pick(&["comes down", "comes falling"], rng).to_owned(),
        MotionKind::FallsOff(other) => {
            let off = if training {
                pick(&["falls off", "falls from"], rng)
            } else {
                "comes down from"
            };
            format!("{off} {}", name(other, rng)?)
        }
        MotionKind::Topples if training => {
            pick(&["falls over", "topples over", "tips over"], rng).to_owned()
        }
        MotionKind::Topples => "falls onto its side".to_owned(),
        MotionKind::Pushes(other) => {
            let other = name(other, rng)?;
            match (training, rng.random_range(0..3)) {
                (true, 0) => format!("hits {other}"),
                (true, 1) => {
                    let direction = direction(motion.displacement, rng);
                    format!("{verb} {direction} and pushes {other}")
                }
                (true, _) => format!("{verb} into {other}"),
                (false, 0) => format!("runs into {other}"),
                (false, _) => format!("{verb} against {other}"),
            }
        }
    };
    Some(format!("{subject} {predicate}"))
}

/// Returns the verb for a motion along the table: round objects roll, others slide.
fn travel_verb(shape: Shape, wording: Wording, rng: &mut impl Rng) -> &'static str {
    let rolls = matches!(shape, Shape::Sphere | Shape::Capsule);
    let verbs: &[&str] = match (rolls, wording) {
        (true, Wording::Training) => &["rolls", "moves"],
        (false, Wording::Training) => &["slides", "moves"],
        (true, Wording::HeldOut) => &["goes rolling"],
        (false, Wording::HeldOut) => &["goes sliding"],
    };
    pick(verbs, rng)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Size;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Returns a scene with large balls at these positions on the table.
    fn scene_with_objects_at(positions: &[[f32; 2]]) -> Scene {
        let mut scene = Scene::draw(&mut ChaCha8Rng::seed_from_u64(1));
        let mut solid = scene.solids[0].clone();
        (solid.shape, solid.size) = (Shape::Sphere, Size::Large);
        scene.solids = positions
            .iter()
            .map(|&[x, z]| {
                let mut solid = solid.clone();
                (solid.pose.position[0], solid.pose.position[2]) = (x, z);
                solid
            })
            .collect();
        scene
    }

    #[test]
    fn two_objects_never_push_each_other() {
        // Side by side, both go the same way and converge a little.
        let before = scene_with_objects_at(&[[-0.4, 0.0], [0.4, 0.0]]);
        let after = scene_with_objects_at(&[[-0.35, 1.0], [0.35, 1.0]]);
        let found: Vec<MotionKind> = motions(&before, &after).iter().map(|m| m.kind).collect();
        assert_eq!(found, [MotionKind::Moves, MotionKind::Moves]);
    }

    #[test]
    fn an_object_pushes_the_one_ahead_of_it() {
        let before = scene_with_objects_at(&[[-1.0, 0.0], [0.0, 0.0]]);
        let after = scene_with_objects_at(&[[-0.2, 0.0], [0.8, 0.0]]);
        let found = motions(&before, &after);
        let pushes: Vec<(usize, MotionKind)> = found.iter().map(|m| (m.solid, m.kind)).collect();
        assert_eq!(pushes, [(0, MotionKind::Pushes(1))]);
    }
}
