//! What can be done to a scene in one instruction, and how to find the instruction between two scenes.

use rand::{Rng, RngExt};

use super::scene::{Cell, Colour, MAX_SOLIDS, Scene, Solid, pick};
use super::words;
use crate::error::{Error, Result};
use crate::request::Tag;

/// The kinds of task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A solid gets another colour.
    Recolour,
    /// A solid goes.
    Remove,
    /// A solid comes.
    Add,
    /// A solid goes to another place.
    Move,
    /// A picture from words alone.
    TextToImage,
    /// A white mask of a solid on black.
    Segment,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] = [
        Kind::Recolour,
        Kind::Remove,
        Kind::Add,
        Kind::Move,
        Kind::TextToImage,
        Kind::Segment,
    ];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Recolour => "recolour",
            Kind::Remove => "remove",
            Kind::Add => "add",
            Kind::Move => "move",
            Kind::TextToImage => "text-to-image",
            Kind::Segment => "segment",
        }
    }

    /// The context tags: those that a request of this form has by default, and for a mask the one that asks for it.
    pub fn tags(self) -> Vec<Tag> {
        match self {
            Kind::TextToImage => vec![Tag::RealisticStyle],
            Kind::Segment => vec![
                Tag::RealisticStyle,
                Tag::StaticScenario,
                Tag::PerceptionTask,
            ],
            _ => vec![Tag::RealisticStyle, Tag::StaticScenario],
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| {
                let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                Error::Request(format!(
                    "unknown kind \"{name}\"; use one of: {}",
                    known.join(", ")
                ))
            })
    }
}

/// What one instruction does: to which solid, by its index in the scene that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Solid `0` of both scenes differs in colour.
    Recolour(usize),
    /// Solid `0` of the first scene is not in the second.
    Remove(usize),
    /// Solid `0` of the second scene is not in the first.
    Add(usize),
    /// Solid `0` of both scenes differs in place.
    Move(usize),
}

impl Edit {
    /// Its kind.
    pub fn kind(self) -> Kind {
        match self {
            Edit::Recolour(_) => Kind::Recolour,
            Edit::Remove(_) => Kind::Remove,
            Edit::Add(_) => Kind::Add,
            Edit::Move(_) => Kind::Move,
        }
    }

    /// The one edit that leads from one scene to the other and that words can say, if there is one.
    pub fn between(from: &Scene, to: &Scene) -> Option<Edit> {
        if from.ground != to.ground || from.light != to.light {
            return None;
        }
        let (a, b) = (&from.solids, &to.solids);
        if a.len() == b.len() + 1 {
            return missing(a, b).map(Edit::Remove);
        }
        if b.len() == a.len() + 1 {
            return missing(b, a).map(Edit::Add);
        }
        if a.len() != b.len() {
            return None;
        }
        let mut changed = (0..a.len()).filter(|&i| a[i] != b[i]);
        let (i, None) = (changed.next()?, changed.next()) else {
            return None;
        };
        let (one, other) = (&a[i], &b[i]);
        let recoloured = Solid {
            colour: other.colour,
            ..one.clone()
        };
        let moved = Solid {
            cell: other.cell,
            ..one.clone()
        };
        if recoloured == *other {
            Some(Edit::Recolour(i))
        } else if moved == *other && !words::targets(from, i, other.cell).is_empty() {
            Some(Edit::Move(i))
        } else {
            None
        }
    }
}

/// Index of the solid of `longer` without which it is `shorter`.
fn missing(longer: &[Solid], shorter: &[Solid]) -> Option<usize> {
    let i = (0..shorter.len())
        .find(|&i| longer[i] != shorter[i])
        .unwrap_or(shorter.len());
    (longer[i + 1..] == shorter[i..]).then_some(i)
}

/// How often a random edit is tried before its scene is given up.
const TRIES: usize = 20;

fn some_solid(scene: &Scene, rng: &mut impl Rng) -> Option<usize> {
    (!scene.solids.is_empty()).then(|| rng.random_range(0..scene.solids.len()))
}

/// `scene` with solid `index` in a colour other than its own and those of `but`.
pub(super) fn recolour(
    scene: &Scene,
    index: usize,
    but: &[Colour],
    rng: &mut impl Rng,
) -> Option<Scene> {
    (0..TRIES).find_map(|_| {
        let mut next = scene.clone();
        let solid = next.solids.get_mut(index)?;
        let old = solid.colour;
        solid.colour = pick(&Colour::ALL, rng);
        let new = solid.colour;
        (new != old && !but.contains(&new) && next.is_clear()).then_some(next)
    })
}

/// `scene` without one of its solids.
pub(super) fn remove(scene: &Scene, rng: &mut impl Rng) -> Option<Scene> {
    let mut next = scene.clone();
    next.solids.remove(some_solid(scene, rng)?);
    Some(next)
}

/// `scene` with one more solid, if it has room.
pub(super) fn add(scene: &Scene, rng: &mut impl Rng) -> Option<Scene> {
    let free = scene.free();
    (0..TRIES).find_map(|_| {
        let mut next = scene.clone();
        next.solids.push(Solid::draw(pick(&free, rng), rng));
        (next.solids.len() <= MAX_SOLIDS && next.is_clear()).then_some(next)
    })
}

/// `scene` with one of its solids in another place that words can say.
pub(super) fn shift(scene: &Scene, rng: &mut impl Rng) -> Option<Scene> {
    let free: Vec<Cell> = scene.free();
    (0..TRIES).find_map(|_| {
        let index = some_solid(scene, rng)?;
        let mut next = scene.clone();
        next.solids[index].cell = pick(&free, rng);
        let said = !words::targets(scene, index, next.solids[index].cell).is_empty();
        (said && next.is_clear()).then_some(next)
    })
}
