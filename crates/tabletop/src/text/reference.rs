//! Referring expressions: texts that identify exactly one object of a scene.

use rand::{Rng, RngExt};

use super::{Description, Wording};
use crate::draw::pick;
use crate::placement::Side;
use crate::scene::Scene;

/// The spatial relation of an object to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// On this side of it, as seen by the camera.
    To(Side),
    /// Standing on it.
    On,
    /// Below the other, which stands on it.
    Under,
}

impl Relation {
    /// All relations.
    pub const ALL: [Relation; 6] = [
        Relation::To(Side::Left),
        Relation::To(Side::Right),
        Relation::To(Side::Front),
        Relation::To(Side::Behind),
        Relation::On,
        Relation::Under,
    ];
}

/// A referring expression for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By its attributes.
    Plain(Description),
    /// By its attributes and its relation to another object.
    Related(Description, Relation, Description),
    /// The farthest to a side among the objects with these attributes.
    Extreme(Description, Side),
}

/// Whether a relation holds, does not hold, or is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Ambiguous,
}

/// An offset above this, in table units, is clearly to one side; a smaller positive offset is ambiguous.
const MIN_OFFSET: f32 = 0.3;

impl Relation {
    fn holds(self, scene: &Scene, a: usize, b: usize) -> Holds {
        let certain = |holds| if holds { Holds::Yes } else { Holds::No };
        match self {
            Relation::On => certain(scene.bearer(a) == Some(b)),
            Relation::Under => certain(scene.bearer(b) == Some(a)),
            Relation::To(side) => {
                let offset = ahead(scene, side, a) - ahead(scene, side, b);
                let stacked = scene.bearer(a) == Some(b) || scene.bearer(b) == Some(a);
                match offset {
                    _ if stacked => Holds::Ambiguous,
                    d if d > MIN_OFFSET => Holds::Yes,
                    d if d < 0.0 => Holds::No,
                    _ => Holds::Ambiguous,
                }
            }
        }
    }
}

/// Returns how far an object is to this side: left and right in the image, front and behind on the table.
fn ahead(scene: &Scene, side: Side, index: usize) -> f32 {
    let position = scene.solids[index].pose.position;
    let [across, towards] = scene.camera.table_axes(position);
    let depth = scene.camera.project(1.0, position)[2];
    let [right, front] = side.direction();
    across * scene.camera.distance / depth * right + towards * front
}

impl Reference {
    /// Returns the object that it identifies in `scene`; `None` where it fits none or several, or is ambiguous.
    pub fn referent(&self, scene: &Scene) -> Option<usize> {
        let fitting = |description: &Description| -> Vec<usize> {
            let all = 0..scene.solids.len();
            all.filter(|&i| description.fits(&scene.solids[i]))
                .collect()
        };
        let only = |found: Vec<usize>| (found.len() == 1).then(|| found[0]);
        match self {
            Reference::Plain(what) => only(fitting(what)),
            Reference::Related(what, relation, other) => {
                let other = only(fitting(other))?;
                let mut candidates = fitting(what);
                candidates.retain(|&i| i != other);
                let holds = |i: usize| relation.holds(scene, i, other);
                if candidates.iter().any(|&i| holds(i) == Holds::Ambiguous) {
                    return None;
                }
                candidates.retain(|&i| holds(i) == Holds::Yes);
                only(candidates)
            }
            Reference::Extreme(what, side) => {
                let candidates = fitting(what);
                let place = |i: usize| ahead(scene, *side, i);
                let first = candidates
                    .iter()
                    .copied()
                    .max_by(|&a, &b| place(a).total_cmp(&place(b)))?;
                let clear = |&i: &usize| i == first || place(first) - place(i) > 0.25;
                (candidates.len() > 1 && candidates.iter().all(clear)).then_some(first)
            }
        }
    }

    /// Returns the text without an article: "red ball left of the cube".
    pub fn say(&self, wording: Wording, rng: &mut impl Rng) -> String {
        match self {
            Reference::Plain(what) => what.say(wording, rng),
            Reference::Related(what, relation, other) => {
                let phrases = relation_phrases(*relation, wording);
                // Only the relation may use the held-out wording.
                let plain = Wording::Training;
                format!(
                    "{} {} the {}",
                    what.say(plain, rng),
                    pick(phrases, rng),
                    other.say(plain, rng)
                )
            }
            Reference::Extreme(what, side) => {
                let what = what.say(Wording::Training, rng);
                pick(extreme_phrases(*side, wording), rng).replace("{x}", &what)
            }
        }
    }
}

fn relation_phrases(relation: Relation, wording: Wording) -> &'static [&'static str] {
    match (wording, relation) {
        (Wording::Training, Relation::To(Side::Left)) => &["left of", "to the left of"],
        (Wording::Training, Relation::To(Side::Right)) => &["right of", "to the right of"],
        (Wording::Training, Relation::To(Side::Front)) => &["in front of"],
        (Wording::Training, Relation::To(Side::Behind)) => &["behind"],
        (Wording::Training, Relation::On) => &["on top of", "on"],
        (Wording::Training, Relation::Under) => &["under", "below"],
        (Wording::HeldOut, Relation::To(Side::Left)) => &["on the left side of", "that is left of"],
        (Wording::HeldOut, Relation::To(Side::Right)) => {
            &["on the right side of", "that is right of"]
        }
        (Wording::HeldOut, Relation::To(Side::Front)) => &["that is in front of"],
        (Wording::HeldOut, Relation::To(Side::Behind)) => &["that is behind"],
        (Wording::HeldOut, Relation::On) => &["that stands on", "that is on top of"],
        (Wording::HeldOut, Relation::Under) => &["that is under"],
    }
}

fn extreme_phrases(side: Side, wording: Wording) -> &'static [&'static str] {
    match (wording, side) {
        (Wording::Training, Side::Left) => &["leftmost {x}", "{x} on the left"],
        (Wording::Training, Side::Right) => &["rightmost {x}", "{x} on the right"],
        (Wording::Training, Side::Front) => {
            &["nearest {x}", "{x} in front", "{x} closest to the camera"]
        }
        (Wording::Training, Side::Behind) => &["farthest {x}", "{x} at the back"],
        (Wording::HeldOut, Side::Left) => &["{x} farthest to the left"],
        (Wording::HeldOut, Side::Right) => &["{x} farthest to the right"],
        (Wording::HeldOut, Side::Front) => &["{x} nearest to the camera"],
        (Wording::HeldOut, Side::Behind) => &["{x} farthest from the camera"],
    }
}

/// Returns all references that identify object `index` of `scene`.
pub fn references(scene: &Scene, index: usize) -> Vec<Reference> {
    let Some(solid) = scene.solids.get(index) else {
        return Vec::new();
    };
    let identifies = |reference: &Reference| reference.referent(scene) == Some(index);
    let described = (0..16u8).map(|bits| Description::of(solid, bits));
    let mut all: Vec<Reference> = described.map(Reference::Plain).filter(identifies).collect();
    // Combine positions with short descriptions only; longer phrases are hard to read.
    for what in [0, 1, 2, 3, 5].map(|bits| Description::of(solid, bits)) {
        let extremes = Side::ALL.iter().map(|&side| Reference::Extreme(what, side));
        all.extend(extremes.filter(identifies));
        for other in (0..scene.solids.len()).filter(|&i| i != index) {
            for bits in [1, 2, 3] {
                let other = Description::of(&scene.solids[other], bits);
                let related =
                    Relation::ALL.map(|relation| Reference::Related(what, relation, other));
                all.extend(related.into_iter().filter(identifies));
            }
        }
    }
    all
}

/// Draws a reference to object `index` with its article: mostly colour and shape where they suffice, else a shortest reference,
/// sometimes by position. `None` where no text identifies it.
pub fn refer(scene: &Scene, index: usize, wording: Wording, rng: &mut impl Rng) -> Option<String> {
    let all = references(scene, index);
    let plain: Vec<&Reference> = all
        .iter()
        .filter(|r| matches!(r, Reference::Plain(_)))
        .collect();
    let placed: Vec<&Reference> = all
        .iter()
        .filter(|r| !matches!(r, Reference::Plain(_)))
        .collect();
    let place = plain.is_empty() || rng.random_bool(0.25);
    if place && !placed.is_empty() {
        // Extremes are few and relations many: draw the kind first.
        let extreme: Vec<&Reference> = placed
            .iter()
            .filter(|r| matches!(r, Reference::Extreme(..)))
            .copied()
            .collect();
        let related: Vec<&Reference> = placed
            .iter()
            .filter(|r| matches!(r, Reference::Related(..)))
            .copied()
            .collect();
        let pool = if extreme.is_empty() || (!related.is_empty() && rng.random_bool(0.6)) {
            related
        } else {
            extreme
        };
        return Some(format!("the {}", pick(&pool, rng).say(wording, rng)));
    }
    (!plain.is_empty()).then(|| format!("the {}", usual(&plain, rng).say(wording, rng)))
}

/// As [`refer`], for the second object of a sentence: uses attributes alone where they suffice, in the training wording, so
/// that no sentence relates three objects.
pub(super) fn refer_plainly(scene: &Scene, index: usize, rng: &mut impl Rng) -> Option<String> {
    let all = references(scene, index);
    let plain: Vec<&Reference> = all
        .iter()
        .filter(|r| matches!(r, Reference::Plain(_)))
        .collect();
    if plain.is_empty() {
        refer(scene, index, Wording::Training, rng)
    } else {
        Some(format!(
            "the {}",
            usual(&plain, rng).say(Wording::Training, rng)
        ))
    }
}

/// Draws a reference by colour and shape, a shortest one, or any.
fn usual<'a>(plain: &[&'a Reference], rng: &mut impl Rng) -> &'a Reference {
    let length = |r: &Reference| match r {
        Reference::Plain(what) => what.length(),
        _ => usize::MAX,
    };
    let pair = |r: &Reference| match r {
        Reference::Plain(w) => w.colour.is_some() && w.shape.is_some() && w.length() == 2,
        _ => false,
    };
    let shortest = plain.iter().map(|r| length(r)).min();
    let candidates: Vec<&Reference> = match rng.random_range(0..10) {
        0..5 if plain.iter().any(|r| pair(r)) => {
            plain.iter().filter(|r| pair(r)).copied().collect()
        }
        0..8 => plain
            .iter()
            .filter(|r| Some(length(r)) == shortest)
            .copied()
            .collect(),
        _ => plain.to_vec(),
    };
    pick(&candidates, rng)
}
