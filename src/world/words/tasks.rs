//! Prompts of the other kinds of sample. `what` is a reference such as "the red cube", `shows` a caption.

use rand::{Rng, RngExt};

use super::{Sentences, Wording, list};
use crate::world::draw::pick;

const SEGMENT: Sentences = Sentences {
    training: &[
        "segment {x}",
        "segment {x} in IMG1",
        "mask of {x}",
        "show the mask of {x}",
        "find {x}",
        "where is {x}",
        "mark {x} in white",
        "RES1 is the mask of {x} in IMG1",
    ],
    held_out: &[
        "which pixels show {x}",
        "I want the mask of {x}",
        "make {x} white and everything else black",
    ],
};
const DEPTH: Sentences = Sentences {
    training: &[
        "depth map of IMG1",
        "show the depth of IMG1",
        "depth map",
        "RES1 is the depth map of IMG1",
        "how far away is everything",
    ],
    held_out: &["I want the depth of IMG1", "make a depth map from IMG1"],
};
const EDGES: Sentences = Sentences {
    training: &[
        "edges of IMG1",
        "show the edges of IMG1",
        "edge map",
        "RES1 is the edge map of IMG1",
        "draw the outlines of IMG1",
    ],
    held_out: &["I want the edges of IMG1", "make an edge map from IMG1"],
};
const FROM_DEPTH: Sentences = Sentences {
    training: &[
        "{s}, following the depth map IMG1",
        "a picture of {s} with the depth of IMG1",
        "RES1 shows {s}, with the depth of IMG1",
    ],
    held_out: &["make {s} from the depth in IMG1"],
};
const FROM_EDGES: Sentences = Sentences {
    training: &[
        "{s}, following the edges IMG1",
        "a picture of {s} with the edges of IMG1",
        "RES1 shows {s}, with the edges of IMG1",
    ],
    held_out: &["make {s} from the edges in IMG1"],
};
const PICTURE: Sentences = Sentences {
    training: &[
        "{s}",
        "{s}",
        "a picture of {s}",
        "a photo of {s}",
        "draw {s}",
        "make a picture of {s}",
        "there is {s}",
        "RES1 shows {s}",
    ],
    held_out: &[
        "I want a picture of {s}",
        "let there be {s}",
        "in RES1 there is {s}",
    ],
};
const INSERT: Sentences = Sentences {
    training: &[
        "put {x} of IMG2 into IMG1 {p}",
        "insert {x} of IMG2 into IMG1 {p}",
        "add {x} from IMG2 to IMG1 {p}",
        "place {x} of IMG2 {p} in IMG1",
        "RES1 is IMG1 with {x} of IMG2 {p}",
    ],
    held_out: &[
        "let {x} of IMG2 appear {p} in IMG1",
        "I want {x} of IMG2 to stand in IMG1 {p}",
        "in RES1 {x} of IMG2 is added {p}",
    ],
};
const FILL: Sentences = Sentences {
    training: &[
        "fill the hole with {n}",
        "put {n} into the hole",
        "draw {n} in the grey part of IMG1",
        "add {n} where IMG1 is grey",
        "RES1 is IMG1 with {n} in the hole",
    ],
    held_out: &[
        "let {n} appear in the hole",
        "I want {n} where the hole is",
        "in RES1 {n} fills the hole",
    ],
};

/// Asks for the mask of `what`.
pub fn segment(what: &str, wording: Wording, rng: &mut impl Rng) -> String {
    SEGMENT.say(wording, &[("x", what)], rng)
}

/// Asks for a depth map.
pub fn depth(wording: Wording, rng: &mut impl Rng) -> String {
    DEPTH.say(wording, &[], rng)
}

/// Asks for edges.
pub fn edges(wording: Wording, rng: &mut impl Rng) -> String {
    EDGES.say(wording, &[], rng)
}

/// Asks for a picture that has the depth of IMG1.
pub fn from_depth(shows: &str, wording: Wording, rng: &mut impl Rng) -> String {
    FROM_DEPTH.say(wording, &[("s", shows)], rng)
}

/// Asks for a picture that has the edges of IMG1.
pub fn from_edges(shows: &str, wording: Wording, rng: &mut impl Rng) -> String {
    FROM_EDGES.say(wording, &[("s", shows)], rng)
}

/// Asks for a picture.
pub fn picture(shows: &str, wording: Wording, rng: &mut impl Rng) -> String {
    PICTURE.say(wording, &[("s", shows)], rng)
}

/// Asks for `what` of IMG2 in IMG1, at `place` ("on the left", may be empty).
pub fn insert(what: &str, place: &str, wording: Wording, rng: &mut impl Rng) -> String {
    let text = INSERT.say(wording, &[("x", what), ("p", place)], rng);
    text.replace("  ", " ").trim_end().to_string()
}

/// Asks for a new thing ("a red cube") in the hole of IMG1.
pub fn fill(what: &str, wording: Wording, rng: &mut impl Rng) -> String {
    FILL.say(wording, &[("n", what)], rng)
}

/// Asks for the things of IMG1, IMG2, ... in one picture; `parts` are references with their places, such as ("the cube",
/// "on the left"), `ground` is "a brown table".
pub fn customise(
    parts: &[(String, String)],
    ground: &str,
    wording: Wording,
    rng: &mut impl Rng,
) -> String {
    let from = match wording {
        Wording::Training => pick(&["of", "from", "in"], rng),
        Wording::HeldOut => "that is shown in",
    };
    let things: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(i, (what, place))| format!("{what} {from} IMG{} {place}", i + 1))
        .map(|text| text.trim_end().to_string())
        .collect();
    let things = list(&things);
    match rng.random_range(0..3) {
        0 => format!("{things} on {ground}"),
        1 => format!("a picture of {things}, on {ground}"),
        _ => format!("{ground} with {things}"),
    }
}

/// All sentences, for the tests.
#[cfg(test)]
pub(super) const ALL: &[(&str, &Sentences)] = &[
    ("SEGMENT", &SEGMENT),
    ("DEPTH", &DEPTH),
    ("EDGES", &EDGES),
    ("FROM_DEPTH", &FROM_DEPTH),
    ("FROM_EDGES", &FROM_EDGES),
    ("PICTURE", &PICTURE),
    ("INSERT", &INSERT),
    ("FILL", &FILL),
];
