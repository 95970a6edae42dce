//! Held-out cases of the tabletop world, each with its ground truth.
//!
//! A case comes from a clip with a held-out seed, through the code that makes training samples: edits from the clip's edits,
//! the other kinds from the data engine's samples.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::data::kinds::{self, Counts};
use crate::data::tabletop::{self, RenderedClip};
use crate::data::{Sample, mask};
use crate::frame::Frame;
use unireal::Image;
use unireal::{Error, Result};
use unireal::{Role, Tag};
use unireal_tabletop::{Scene, Wording, text};

/// Kinds of edit whose results are compared with the ground truth, in the order of the report.
pub(super) const EDITS: [&str; 7] = [
    "recolour", "remove", "add", "move", "replace", "material", "resize",
];

/// The other kinds, named by the data engine's kind and variant.
pub(super) const OTHERS: [&str; 4] = [
    "customisation/one",
    "insertion/truth",
    "segmentation",
    "control/depth",
];

/// Minimum number of seeds to try before giving up.
const TRIES: u64 = 400;

/// One evaluation case.
pub(super) struct Case {
    /// One of [`EDITS`] or [`OTHERS`].
    pub kind: &'static str,
    /// The base prompt.
    pub prompt: String,
    /// The context prompt.
    pub context: Vec<Tag>,
    /// The input images.
    pub inputs: Vec<(Image, Role)>,
    /// The ground truth output.
    pub ground_truth: Image,
    /// For edits: captions of the input and of the ground truth.
    pub captions: Option<[String; 2]>,
    /// How the result is scored.
    pub judge: Judge,
}

/// How a case is scored.
pub(super) enum Judge {
    /// An edit of the first input.
    Edit {
        /// Mask of each object before the edit.
        masks: Vec<Vec<bool>>,
        /// Indices of the objects that the instruction refers to, before the edit.
        concerned: Vec<usize>,
        /// Mask of those objects, before or after the edit.
        own: Vec<bool>,
    },
    /// An object that must appear.
    Object(Subject),
    /// The mask of an object.
    Mask(Vec<bool>),
    /// Row-major depth.
    Depth(Vec<f32>),
}

/// An object of the ground truth scene.
pub(super) struct Subject {
    /// The ground truth scene.
    pub scene: Scene,
    /// Index of the object in the scene.
    pub solid: usize,
}

/// Resolves names of kinds; no names select all kinds.
///
/// # Errors
/// [`Error::Request`] with the known names.
pub(super) fn kinds(names: &[String]) -> Result<Vec<&'static str>> {
    let known = || EDITS.iter().chain(&OTHERS).copied();
    let find = |name: &String| {
        let found = known().find(|kind| kind == name);
        found.ok_or_else(|| {
            let known: Vec<_> = known().collect();
            Error::Request(format!(
                "kind: \"{name}\", expected any of {}",
                known.join(", ")
            ))
        })
    };
    if names.is_empty() {
        Ok(known().collect())
    } else {
        names.iter().map(find).collect()
    }
}

/// How prompts are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phrasing {
    /// The set of wordings.
    pub wording: Wording,
    /// Number of paraphrases, of which the shortest is used.
    pub paraphrases: usize,
}

impl From<Wording> for Phrasing {
    /// Uses one paraphrase.
    fn from(wording: Wording) -> Phrasing {
        Phrasing {
            wording,
            paraphrases: 1,
        }
    }
}

impl Phrasing {
    /// Returns the shortest of the paraphrases, the first among equals.
    fn shortest(self, paraphrases: impl Iterator<Item = String>) -> Option<String> {
        paraphrases.take(self.paraphrases).min_by_key(String::len)
    }
}

/// Returns `count` cases of a kind at `side` pixels, from clips with the seeds from `first` on.
///
/// # Errors
/// [`Error::Internal`] when the clips yield too few cases.
pub(super) fn cases(
    kind: &'static str,
    count: usize,
    first: u64,
    side: u32,
    phrasing: impl Into<Phrasing>,
) -> Result<Vec<Case>> {
    let phrasing = phrasing.into();
    let mut found = Vec::new();
    for seed in first..first + TRIES.max(8 * count as u64) {
        if found.len() == count {
            break;
        }
        let shoot = tabletop::shoot(seed, side);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(9);
        // At most one case per clip, so that the cases are independent.
        found.extend(if EDITS.contains(&kind) {
            edited(kind, &shoot, phrasing, &mut rng)
        } else {
            sampled(kind, seed, &shoot, phrasing, &mut rng)?
        });
    }
    if found.len() == count {
        Ok(found)
    } else {
        Err(Error::Internal(format!(
            "cases of {kind} in the clips from seed {first}: {}, expected {count}",
            found.len()
        )))
    }
}

fn edited(
    kind: &'static str,
    shoot: &RenderedClip,
    phrasing: Phrasing,
    rng: &mut ChaCha8Rng,
) -> Option<Case> {
    let wording = phrasing.wording;
    let (scene, before) = &shoot.base;
    shoot.edits.iter().find_map(|edited| {
        let (edit, after) = (&edited.edit, &edited.frame);
        if edit.kind().name() != kind {
            return None;
        }
        let draw = || text::instruction(scene, edit, wording, rng);
        let prompt = phrasing.shortest(std::iter::from_fn(draw))?;
        let concerned = edit.solids(scene).before;
        Some(Case {
            kind,
            prompt,
            context: vec![Tag::RealisticStyle, Tag::StaticScenario],
            inputs: vec![(before.image.clone(), Role::Canvas)],
            ground_truth: after.image.clone(),
            captions: Some([scene, &edited.scene].map(|scene| text::caption(scene, wording, rng))),
            judge: Judge::Edit {
                masks: (0..scene.solids.len())
                    .map(|i| tabletop::mask(before, &[i]))
                    .collect(),
                own: tabletop::changed(edit, scene, before, after),
                concerned,
            },
        })
    })
}

/// Returns a case from the data engine's sample of this kind, with the ground truth from the clip.
fn sampled(
    kind: &'static str,
    seed: u64,
    shoot: &RenderedClip,
    phrasing: Phrasing,
    rng: &mut ChaCha8Rng,
) -> Result<Option<Case>> {
    let wording = phrasing.wording;
    let side = shoot.base.1.image.width;
    let clip = tabletop::clip(seed, side, wording);
    let settings = kinds::Settings {
        held_out: wording == Wording::HeldOut,
        ..kinds::Settings::default()
    };
    let samples = kinds::samples(&clip, &settings, rng, &mut Counts::default())?;
    Ok(samples.into_iter().find_map(|sample| {
        let name = sample.kind.name();
        let named = if sample.variant.is_empty() {
            name
        } else {
            format!("{name}/{}", sample.variant)
        };
        // Only samples with one output, the basic form of every kind.
        if named != kind || sample.outputs.len() != 1 {
            return None;
        }
        let prompt = phrasing.shortest(sample.prompts.iter().cloned())?;
        let judge = judge(kind, &sample, shoot)?;
        Some(Case {
            kind,
            prompt,
            context: sample.context,
            inputs: sample.inputs,
            ground_truth: sample.outputs.into_iter().next()?,
            captions: None,
            judge,
        })
    }))
}

fn judge(kind: &str, sample: &Sample, shoot: &RenderedClip) -> Option<Judge> {
    let frames = || shoot.frames.iter().chain(std::iter::once(&shoot.base));
    let find = |image: &Image| frames().find(|(_, frame)| frame.image == *image);
    match kind {
        "segmentation" => {
            let mask = sample.outputs[0].rgb.chunks_exact(3).map(|p| p[0] > 127);
            Some(Judge::Mask(mask.collect()))
        }
        "control/depth" => Some(Judge::Depth(
            find(&sample.inputs.first()?.0)?.1.depth.clone(),
        )),
        "insertion/truth" => {
            let edited = shoot
                .edits
                .iter()
                .map(|edited| (&edited.scene, &edited.frame));
            let (scene, frame) = edited
                .chain(std::iter::once((&shoot.base.0, &shoot.base.1)))
                .find(|(_, frame)| frame.image == sample.outputs[0])?;
            let object = sample
                .changed
                .as_ref()?
                .rgb
                .chunks_exact(3)
                .map(|p| p[0] > 127);
            let object: Vec<bool> = object.collect();
            subject(scene, frame, |_, mask| *mask == object)
        }
        _ => {
            let (scene, frame) = find(&sample.outputs[0])?;
            let asset = &sample.inputs.first()?.0;
            // The asset is cut out of another frame of the clip; the object has the same index in all frames.
            let matches_asset = |(_, frame): &(Scene, Frame), solid: usize| {
                let cut = mask::cut_out(&frame.image, &tabletop::mask(frame, &[solid]));
                cut.is_some_and(|cut| cut == *asset)
            };
            subject(scene, frame, |solid, _| {
                shoot.frames.iter().any(|shot| matches_asset(shot, solid))
            })
        }
    }
}

/// Returns the first object of `scene` for which `is` holds, given its index and mask.
fn subject(scene: &Scene, frame: &Frame, is: impl Fn(usize, &Vec<bool>) -> bool) -> Option<Judge> {
    let solid = (0..scene.solids.len()).find(|&i| is(i, &tabletop::mask(frame, &[i])))?;
    Some(Judge::Object(Subject {
        scene: scene.clone(),
        solid,
    }))
}
