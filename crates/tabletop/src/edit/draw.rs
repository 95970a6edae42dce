//! Random edits, which [`Edit::apply`] validates.

use rand::{Rng, RngExt};

use super::{CameraChange, Edit, EditKind, LightChange};
use crate::draw::pick;
use crate::placement::{Placement, Reach, Side};
use crate::scene::{Colour, Ground, Material, Scene, Shape, Size, Solid, Tone};

/// Kinds of edit, repeated by their frequency in training.
pub(super) const WEIGHTED: [EditKind; 25] = [
    EditKind::Recolour,
    EditKind::Recolour,
    EditKind::Recolour,
    EditKind::Recolour,
    EditKind::Remove,
    EditKind::Remove,
    EditKind::Remove,
    EditKind::Remove,
    EditKind::Move,
    EditKind::Move,
    EditKind::Move,
    EditKind::Add,
    EditKind::Add,
    EditKind::Add,
    EditKind::Replace,
    EditKind::Replace,
    EditKind::Material,
    EditKind::Material,
    EditKind::Resize,
    EditKind::Resize,
    EditKind::Layer,
    EditKind::Compound,
    EditKind::Light,
    EditKind::Ground,
    EditKind::Camera,
];

/// Draws an edit of `kind`, whose result may be invalid.
pub(super) fn propose(kind: EditKind, scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
    let any = |rng: &mut _| {
        let count = scene.solids.len();
        (count > 0).then(|| RngExt::random_range(rng, 0..count))
    };
    Some(match kind {
        EditKind::Recolour => Edit::Recolour {
            solids: draw_objects(scene, 0.2, rng)?,
            colour: pick(Colour::ALL, rng),
        },
        EditKind::Material => Edit::Material {
            solids: draw_objects(scene, 0.15, rng)?,
            material: pick(Material::ALL, rng),
        },
        EditKind::Remove => Edit::Remove {
            solids: draw_objects(scene, 0.25, rng)?,
        },
        EditKind::Add => draw_addition(scene, rng),
        EditKind::Move => Edit::Move {
            solid: any(rng)?,
            placement: draw_placement(scene, true, rng),
        },
        EditKind::Replace => Edit::Replace {
            solid: any(rng)?,
            shape: pick(Shape::ALL, rng),
        },
        EditKind::Resize => Edit::Resize {
            solid: any(rng)?,
            size: pick(Size::ALL, rng),
        },
        EditKind::Light => Edit::Light {
            change: pick(LightChange::ALL, rng),
        },
        EditKind::Camera => Edit::Camera {
            change: pick(CameraChange::ALL, rng),
        },
        EditKind::Ground => {
            let which = rng.random_range(0..3);
            Edit::Ground {
                ground: (which != 0).then(|| pick(Ground::ALL, rng)),
                tone: (which != 1).then(|| pick(Tone::ALL, rng)),
            }
        }
        EditKind::Layer => Edit::Layer {
            solid: any(rng)?,
            other: any(rng)?,
            front: rng.random(),
        },
        EditKind::Compound => draw_compound(scene, rng)?,
    })
    .filter(|edit| changes(edit, scene))
}

fn draw_addition(scene: &Scene, rng: &mut impl Rng) -> Edit {
    let new = Solid::draw(rng);
    Edit::Add {
        shape: new.shape,
        colour: new.colour,
        material: new.material,
        size: new.size,
        placement: draw_placement(scene, false, rng),
    }
}

/// Draws one object, or with probability `group` the objects that share an attribute, or those that lack it.
fn draw_objects(scene: &Scene, group: f64, rng: &mut impl Rng) -> Option<Vec<usize>> {
    let count = scene.solids.len();
    if count == 0 {
        return None;
    }
    let one = rng.random_range(0..count);
    if count < 2 || !rng.random_bool(group) {
        return Some(vec![one]);
    }
    let like = &scene.solids[one];
    let choice = rng.random_range(0..5);
    let shares = |i: usize| {
        let solid = &scene.solids[i];
        match choice {
            0 => solid.shape == like.shape,
            1 => solid.colour == like.colour,
            2 => solid.size == like.size,
            _ => i == one,
        }
    };
    let outside = choice >= 3 || rng.random_bool(0.3);
    let chosen: Vec<usize> = (0..count).filter(|&i| shares(i) != outside).collect();
    (!chosen.is_empty()).then_some(chosen)
}

/// Draws a placement; a step only if `step`, because a new object has no position to step from.
fn draw_placement(scene: &Scene, step: bool, rng: &mut impl Rng) -> Placement {
    let count = scene.solids.len();
    let side = pick(Side::ALL, rng);
    match rng.random_range(0..10) {
        0..4 if step => Placement::Step {
            side,
            reach: pick(&[Reach::Bit, Reach::Step, Reach::Step, Reach::Far], rng),
        },
        4..7 if count > 0 => Placement::Beside {
            side,
            other: rng.random_range(0..count),
        },
        7 if count > 0 => Placement::On {
            other: rng.random_range(0..count),
        },
        _ => Placement::Place {
            column: rng.random_range(-1..2),
            row: rng.random_range(-1..2),
        },
    }
}

/// Draws a compound of two edits, of the same object or of two objects.
fn draw_compound(scene: &Scene, rng: &mut impl Rng) -> Option<Edit> {
    const KINDS: [EditKind; 4] = [
        EditKind::Recolour,
        EditKind::Move,
        EditKind::Resize,
        EditKind::Material,
    ];
    let first = pick(&KINDS, rng);
    let second = pick(&[EditKind::Recolour, EditKind::Move, EditKind::Remove], rng);
    let same = rng.random_bool(0.6) && second != EditKind::Remove;
    let first = propose(first, scene, rng)?;
    let between = first.apply(scene)?;
    let second = propose(second, &between, rng)?;
    let (a, b) = (single(&first)?, single(&second)?);
    let second = if same { second.aimed_at(a) } else { second };
    let repeated = first.kind() == second.kind() && (same || a == b);
    let consistent = same || a != b;
    (consistent && !repeated && changes(&second, &between))
        .then(|| Edit::Compound(vec![first, second]))
}

/// Returns the object of an edit of a single object.
pub(crate) fn single(edit: &Edit) -> Option<usize> {
    match edit {
        Edit::Recolour { solids, .. } | Edit::Material { solids, .. } | Edit::Remove { solids } => {
            (solids.len() == 1).then(|| solids[0])
        }
        Edit::Move { solid, .. }
        | Edit::Replace { solid, .. }
        | Edit::Resize { solid, .. }
        | Edit::Layer { solid, .. } => Some(*solid),
        _ => None,
    }
}

impl Edit {
    /// Returns the same edit of object `target`.
    fn aimed_at(mut self, target: usize) -> Edit {
        match &mut self {
            Edit::Recolour { solids, .. }
            | Edit::Material { solids, .. }
            | Edit::Remove { solids } => *solids = vec![target],
            Edit::Move { solid, .. }
            | Edit::Replace { solid, .. }
            | Edit::Resize { solid, .. }
            | Edit::Layer { solid, .. } => *solid = target,
            _ => (),
        }
        self
    }
}

/// Returns whether the edit changes every object and property that it names.
fn changes(edit: &Edit, scene: &Scene) -> bool {
    let all = |solids: &[usize], differs: &dyn Fn(&Solid) -> bool| {
        solids.iter().all(|&i| differs(&scene.solids[i]))
    };
    match edit {
        Edit::Recolour { solids, colour } => all(solids, &|solid| solid.colour != *colour),
        Edit::Material { solids, material } => all(solids, &|solid| solid.material != *material),
        Edit::Replace { solid, shape } => scene.solids[*solid].shape != *shape,
        Edit::Resize { solid, size } => scene.solids[*solid].size != *size,
        Edit::Ground { ground, tone } => {
            ground.is_none_or(|ground| ground != scene.ground)
                && tone.is_none_or(|tone| tone != scene.ground_tone)
        }
        _ => true,
    }
}
