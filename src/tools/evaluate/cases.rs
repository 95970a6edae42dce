//! Held-out cases of the tabletop world, each with the truth that decides it.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::data::kinds;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::request::{Role, Tag};
use crate::world::{
    Edit, EditKind, Frame, Scene, Settings, Wording, instruction, refer, render, words,
};

/// The kinds of case, in the order of the report: seven edits, then the rest.
pub const KINDS: [&str; 11] = [
    "recolour", "remove", "add", "move", "replace", "material", "resize", "customisation",
    "insertion", "segmentation", "depth",
];

/// How many scenes are tried before a seed is given up.
const TRIES: usize = 200;

/// A change of fewer 8-bit steps is not seen.
pub(super) const VISIBLE: u8 = 6;

/// One case.
pub struct Case {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// The base prompt.
    pub prompt: String,
    /// The context prompt.
    pub context: Vec<Tag>,
    /// The input images.
    pub inputs: Vec<(Image, Role)>,
    /// The true output.
    pub truth: Image,
    /// What decides.
    pub judge: Judge,
}

/// What decides a case.
pub enum Judge {
    /// An edit of the first input.
    Edit {
        /// The pixels of each solid before.
        masks: Vec<Vec<bool>>,
        /// Indices of the solids that the instruction is about, before.
        concerned: Vec<usize>,
        /// The pixels of those solids before and after.
        own: Vec<bool>,
        /// The solid to be recognised in the result, if there is one.
        subject: Option<Subject>,
    },
    /// A solid that is to be there.
    Object(Subject),
    /// The mask of a solid.
    Mask(Vec<bool>),
    /// Depth, row by row.
    Depth(Vec<f32>),
}

/// A solid of the true scene.
pub struct Subject {
    /// The true scene.
    pub scene: Scene,
    /// The solid's index in it.
    pub solid: usize,
}

/// The case of this kind, seed and wording, `side` pixels a side.
///
/// # Errors
/// [`Error::Request`] for an unknown kind, [`Error::Internal`] when no scene of many allows one.
pub fn case(kind: &str, seed: u64, side: u32, wording: Wording) -> Result<Case> {
    let index = KINDS.iter().position(|known| *known == kind);
    let index = index.ok_or_else(|| {
        Error::Request(format!("no kind \"{kind}\"; use any of: {}", KINDS.join(", ")))
    })?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1 + index as u64);
    let settings = Settings::square(side);
    let found = (0..TRIES).find_map(|_| {
        let scene = Scene::draw(&mut rng);
        match KINDS[index] {
            "customisation" => customisation(&scene, &settings, wording, &mut rng),
            "insertion" => insertion(&scene, &settings, wording, &mut rng),
            "segmentation" => segmentation(&scene, &settings, wording, &mut rng),
            "depth" => Some(depth(&scene, &settings, wording, &mut rng)),
            edit => edited(edit, &scene, &settings, wording, &mut rng),
        }
    });
    found.ok_or_else(|| Error::Internal(format!("no scene of {TRIES} allows \"{kind}\", seed {seed}")))
}
