//! Instructions and captions in plain English, of few words because a small text encoder learns them from nothing.
//!
//! A solid is referred to by attributes that no other solid of the scene shares. Sides are the camera's: a step goes to
//! the next place of the grid, an edge is the last place in that direction, and a solid for which no size is said is
//! large.

use rand::{Rng, RngExt};

use super::edit::Edit;
use super::scene::{Cell, Colour, Scene, Shape, Size, Solid, pick};

/// Which attributes a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The size, if named.
    pub(super) size: Option<Size>,
    /// The colour, if named.
    pub(super) colour: Option<Colour>,
    /// The shape, or any.
    pub(super) shape: Option<Shape>,
}

impl Reference {
    /// Whether it could mean `solid`.
    pub(super) fn fits(&self, solid: &Solid) -> bool {
        self.size.is_none_or(|size| size == solid.size)
            && self.colour.is_none_or(|colour| colour == solid.colour)
            && self.shape.is_none_or(|shape| shape == solid.shape)
    }

    /// How many attributes it names.
    fn length(&self) -> u8 {
        u8::from(self.size.is_some())
            + u8::from(self.colour.is_some())
            + u8::from(self.shape.is_some())
    }

    fn say(&self, rng: &mut impl Rng) -> String {
        let mut words = Vec::new();
        words.extend(self.size.map(|size| pick(size.words(), rng)));
        words.extend(self.colour.map(Colour::word));
        words.push(match self.shape {
            Some(shape) => pick(shape.words(), rng),
            None => "object",
        });
        words.join(" ")
    }
}

/// All references that mean solid `index` of `scene` and no other.
pub(super) fn references(scene: &Scene, index: usize) -> Vec<Reference> {
    let solid = &scene.solids[index];
    (0..8u8)
        .map(|bits| Reference {
            size: (bits & 1 != 0).then_some(solid.size),
            colour: (bits & 2 != 0).then_some(solid.colour),
            shape: (bits & 4 != 0).then_some(solid.shape),
        })
        .filter(|r| scene.solids.iter().filter(|other| r.fits(other)).count() == 1)
        .collect()
}

/// "the red cube": a shortest reference, or colour and shape as people like to say, or any that is sufficient.
fn refer(scene: &Scene, index: usize, rng: &mut impl Rng) -> String {
    let mut all = references(scene, index);
    let usual = |r: &Reference| r.size.is_none() && r.colour.is_some() && r.shape.is_some();
    match rng.random_range(0..10) {
        0..4 => {
            let least = all.iter().map(Reference::length).min();
            all.retain(|r| Some(r.length()) == least);
        }
        4..8 if all.iter().any(usual) => all.retain(usual),
        _ => (),
    }
    let reference = pick(&all, rng);
    if reference.length() == 0 && rng.random() {
        return "it".into();
    }
    format!("the {}", reference.say(rng))
}

/// "a small red cube".
fn introduce(solid: &Solid, rng: &mut impl Rng) -> String {
    let said = solid.size == Size::Small || rng.random_bool(0.5);
    let words = Reference {
        size: said.then_some(solid.size),
        colour: Some(solid.colour),
        shape: Some(solid.shape),
    }
    .say(rng);
    with_article(&words)
}

fn with_article(words: &str) -> String {
    let vowel = words.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {words}", if vowel { "an" } else { "a" })
}

/// A side of a place, as the camera sees it.
struct Side {
    /// Columns and rows to the next place on this side.
    step: (i8, i8),
    /// Where a step that way goes.
    steps: [&'static str; 3],
    /// Where the last place that way is.
    edges: [&'static str; 2],
    /// What leads from a solid to its neighbour on this side.
    beside: &'static str,
}

const SIDES: [Side; 4] = [
    Side {
        step: (-1, 0),
        steps: ["to the left", "left", "a bit to the left"],
        edges: ["to the left edge", "to the far left"],
        beside: "to the left of",
    },
    Side {
        step: (1, 0),
        steps: ["to the right", "right", "a bit to the right"],
        edges: ["to the right edge", "to the far right"],
        beside: "to the right of",
    },
    Side {
        step: (0, 1),
        steps: ["forward", "a bit forward", "one step forward"],
        edges: ["to the front", "to the front edge"],
        beside: "in front of",
    },
    Side {
        step: (0, -1),
        steps: ["backward", "a bit backward", "one step backward"],
        edges: ["to the back", "to the back edge"],
        beside: "behind",
    },
];

fn step(cell: Cell, (column, row): (i8, i8)) -> Option<Cell> {
    let column = u8::try_from(cell.column as i8 + column).ok()?;
    let row = u8::try_from(cell.row as i8 + row).ok()?;
    (column < 3 && row < 3).then_some(Cell { column, row })
}

fn corner(cell: Cell) -> Option<&'static str> {
    match (cell.column, cell.row) {
        (0, 0) => Some("back left corner"),
        (2, 0) => Some("back right corner"),
        (0, 2) => Some("front left corner"),
        (2, 2) => Some("front right corner"),
        _ => None,
    }
}

/// A place relative to another solid: what stands before its reference, and its index.
type Beside = (&'static str, usize);

/// Neighbours of `cell` among the solids but `but`, with the word that leads from them to `cell`.
fn neighbours(scene: &Scene, cell: Cell, but: Option<usize>) -> Vec<Beside> {
    let solids = scene.solids.iter().enumerate();
    solids
        .filter(|&(i, _)| Some(i) != but)
        .flat_map(|(i, solid)| {
            SIDES
                .iter()
                .filter(move |side| step(solid.cell, side.step) == Some(cell))
                .map(move |side| (side.beside, i))
        })
        .collect()
}

/// Where a solid is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// In these words.
    Plain(&'static str),
    /// To the front left corner, or another.
    Corner(&'static str),
    /// These words, then the other solid.
    Beside(&'static str, usize),
}

/// All that can be said of the move of solid `index` to `cell`; each leads there and nowhere else.
pub(super) fn targets(scene: &Scene, index: usize, cell: Cell) -> Vec<Target> {
    let from = scene.solids[index].cell;
    let mut all = Vec::new();
    for side in SIDES {
        if step(from, side.step) == Some(cell) {
            all.extend(side.steps.map(Target::Plain));
        }
        let ahead = std::iter::successors(Some(from), |&at| step(at, side.step));
        if from != cell && ahead.last() == Some(cell) {
            all.extend(side.edges.map(Target::Plain));
        }
    }
    if (cell.column, cell.row) == (1, 1) {
        all.extend(["to the middle", "to the centre"].map(Target::Plain));
    }
    all.extend(corner(cell).map(Target::Corner));
    // A solid that is in line with the other on that side already is there, loosely said.
    let sided = |other: &Solid, word: &str| {
        SIDES.iter().any(|side| {
            let mut ahead = std::iter::successors(Some(other.cell), |&at| step(at, side.step));
            side.beside == word && ahead.any(|at| at == from)
        })
    };
    all.extend(
        neighbours(scene, cell, Some(index))
            .into_iter()
            .filter(|&(word, i)| !sided(&scene.solids[i], word))
            .map(|(word, i)| Target::Beside(word, i)),
    );
    all
}

/// "in the middle", as a solid that is there is described.
fn place(cell: Cell, rng: &mut impl Rng) -> String {
    if let Some(corner) = corner(cell) {
        return format!("in the {corner}");
    }
    let choices: &[&str] = match (cell.column, cell.row) {
        (0, _) => &["on the left"],
        (2, _) => &["on the right"],
        (_, 0) => &["at the back"],
        (_, 2) => &["in front", "at the front"],
        _ => &["in the middle", "in the centre"],
    };
    pick(choices, rng).into()
}

const RECOLOUR: [&str; 11] = [
    "make {x} {c}",
    "turn {x} {c}",
    "paint {x} {c}",
    "colour {x} {c}",
    "change the colour of {x} to {c}",
    "change the color of {x} to {c}",
    "change {x} to {c}",
    "{x} should be {c}",
    "give {x} a {c} colour",
    "in IMG1 make {x} {c}",
    "RES1 is IMG1 with {x} painted {c}",
];
const REMOVE: [&str; 9] = [
    "remove {x}",
    "delete {x}",
    "take away {x}",
    "take {x} away",
    "get rid of {x}",
    "erase {x}",
    "remove {x} from IMG1",
    "take {x} out of the picture",
    "RES1 is IMG1 without {x}",
];
const ADD: [&str; 9] = [
    "add {n} {p}",
    "put {n} {p}",
    "place {n} {p}",
    "insert {n} {p}",
    "draw {n} {p}",
    "{p} add {n}",
    "there should be {n} {p}",
    "add {n} {p} in IMG1",
    "RES1 is IMG1 with {n} {p}",
];
const MOVE: [&str; 8] = [
    "move {x} {t}",
    "shift {x} {t}",
    "slide {x} {t}",
    "push {x} {t}",
    "take {x} and move it {t}",
    "{x} should move {t}",
    "in IMG1 move {x} {t}",
    "RES1 is IMG1 with {x} moved {t}",
];
const SEGMENT: [&str; 9] = [
    "segment {x}",
    "segment {x} in IMG1",
    "show the mask of {x}",
    "draw the mask of {x}",
    "give the mask of {x}",
    "find {x}",
    "where is {x}",
    "mark {x} in white",
    "RES1 is the mask of {x} in IMG1",
];
const CAPTION: [&str; 8] = [
    "{s}",
    "a picture of {s}",
    "a photo of {s}",
    "draw {s}",
    "make a picture of {s}",
    "there is {s}",
    "show {s}",
    "RES1 is a picture of {s}",
];

/// The instruction for `edit`, which [`Edit::between`] gave for these scenes; another paraphrase with every draw.
pub(super) fn instruction(from: &Scene, to: &Scene, edit: Edit, rng: &mut impl Rng) -> String {
    match edit {
        Edit::Recolour(i) => pick(&RECOLOUR, rng)
            .replace("a {c}", "{a}")
            .replace("{x}", &refer(from, i, rng))
            .replace("{a}", &with_article(to.solids[i].colour.word()))
            .replace("{c}", to.solids[i].colour.word()),
        Edit::Remove(i) => pick(&REMOVE, rng)
            .replace("{x}", &refer(from, i, rng))
            .replace("take away it", "take it away"),
        Edit::Add(i) => {
            let solid = &to.solids[i];
            let beside = neighbours(from, solid.cell, None);
            let place = if !beside.is_empty() && rng.random_bool(0.4) {
                let (word, other) = pick(&beside, rng);
                format!("{word} {}", refer(from, other, rng))
            } else {
                place(solid.cell, rng)
            };
            pick(&ADD, rng)
                .replace("{n}", &introduce(solid, rng))
                .replace("{p}", &place)
        }
        Edit::Move(i) => {
            let target = match pick(&targets(from, i, to.solids[i].cell), rng) {
                Target::Plain(words) => words.into(),
                Target::Corner(corner) => format!("to the {corner}"),
                Target::Beside(word, other) => format!("{word} {}", refer(from, other, rng)),
            };
            pick(&MOVE, rng)
                .replace("{x}", &refer(from, i, rng))
                .replace("{t}", &target)
        }
    }
}

fn table(scene: &Scene, rng: &mut impl Rng) -> String {
    if rng.random() {
        format!("a {} table", scene.ground.tone.word())
    } else {
        "a table".into()
    }
}

/// What the picture of `scene` shows: every solid with its place, in any order, sometimes the table.
pub(super) fn caption(scene: &Scene, rng: &mut impl Rng) -> String {
    let mut order: Vec<usize> = (0..scene.solids.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
    let mut parts: Vec<String> = order
        .iter()
        .map(|&i| {
            let solid = &scene.solids[i];
            format!("{} {}", introduce(solid, rng), place(solid.cell, rng))
        })
        .collect();
    let subject = match parts.pop() {
        None => format!("{} with nothing on it", table(scene, rng)),
        Some(last) => {
            let list = match parts.is_empty() {
                true => last,
                false => format!("{} and {last}", parts.join(", ")),
            };
            match rng.random_range(0..4) {
                0 => format!("{} with {list}", table(scene, rng)),
                1 => format!("{list}, on {}", table(scene, rng)),
                _ => list,
            }
        }
    };
    pick(&CAPTION, rng).replace("{s}", &subject)
}

/// Asks for the mask of solid `index`.
pub(super) fn segment(scene: &Scene, index: usize, rng: &mut impl Rng) -> String {
    pick(&SEGMENT, rng).replace("{x}", &refer(scene, index, rng))
}
