//! Protocols of published scores. Scores of different profiles are not comparable: on the same images, one metric changes by a
//! third from one backbone to another.

use serde::Serialize;

use super::backbone::Backbone;
use super::features::Preprocess;
use unireal::{Error, Result};

/// A data set and its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Benchmark {
    /// EMU Edit test set: source, instruction, captions before and after; no target.
    EmuEdit,
    /// MagicBrush, every turn independently, from its true source.
    MagicBrushAllTurns,
    /// MagicBrush, the last turn of each session, from the results of the previous turns.
    MagicBrushFinalTurn,
    /// DreamBench: 30 subjects with 25 prompts each.
    DreamBench,
    /// DreamBench++: subjects and styles with nine prompts each.
    DreamBenchPlus,
}

/// The images that a result is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reference {
    /// The source image of the edit.
    Source,
    /// The ground truth.
    Target,
    /// Every image of the subject; the score is the mean over them.
    Subject,
}

/// Definition of the differences in CLIP's directional similarity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Difference of normalised vectors.
    NormaliseFirst,
    /// Difference of raw vectors.
    Raw,
}

/// Cases to leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// None.
    None,
    /// Cases with equal captions before and after.
    EqualCaptions,
    /// Cases on a list that the caller gives.
    List,
}

/// Resizing of a result before pixels are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// To the size of the reference, with Pillow's bicubic.
    ToReference,
    /// None, because no pixels are compared.
    Never,
}

/// A metric of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Cosine of the image's change and the caption's change in CLIP features.
    ClipDirection,
    /// Cosine of the CLIP features of result and reference.
    ClipImage,
    /// Cosine of the CLIP features of result and caption.
    ClipText,
    /// Mean absolute difference of pixels in 0..1.
    L1,
    /// Mean squared difference of pixels in 0..1.
    L2,
    /// Cosine of the DINO features of result and reference.
    Dino,
    /// Cosine of the DINOv2 features of result and reference.
    Dinov2,
}

impl Metric {
    /// All metrics, in the order of tables.
    pub const ALL: [Metric; 7] = [
        Metric::ClipDirection,
        Metric::ClipImage,
        Metric::ClipText,
        Metric::L1,
        Metric::L2,
        Metric::Dino,
        Metric::Dinov2,
    ];

    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Metric::ClipDirection => "clip-dir",
            Metric::ClipImage => "clip-i",
            Metric::ClipText => "clip-t",
            Metric::L1 => "l1",
            Metric::L2 => "l2",
            Metric::Dino => "dino",
            Metric::Dinov2 => "dinov2",
        }
    }

    /// Returns the heading in tables; EMU Edit's CLIPim and CLIPout are CLIP-I and CLIP-T here.
    pub fn heading(self) -> &'static str {
        match self {
            Metric::ClipDirection => "CLIPdir ↑",
            Metric::ClipImage => "CLIP-I ↑",
            Metric::ClipText => "CLIP-T ↑",
            Metric::L1 => "L1 ↓",
            Metric::L2 => "L2 ↓",
            Metric::Dino => "DINO ↑",
            Metric::Dinov2 => "DINOv2 ↑",
        }
    }
}

/// The protocol of a published score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// Name in commands and reports.
    pub name: &'static str,
    /// The data.
    pub benchmark: Benchmark,
    /// The metrics.
    pub metrics: &'static [Metric],
    /// CLIP's backbone.
    pub clip: Backbone,
    /// Preprocessing of CLIP's input images.
    pub preprocess: Preprocess,
    /// Definition of CLIP's directional similarity.
    pub direction: Direction,
    /// DINO's backbone.
    pub dino: Backbone,
    /// The images that a result is compared with.
    pub reference: Reference,
    /// Cases to leave out.
    pub filter: Filter,
    /// Resizing of a result before pixels are compared.
    pub resize: Resize,
    /// Factor applied to cosines.
    pub scale: f64,
    /// The sources of this protocol, and the choices that they leave open.
    pub source: &'static str,
}

const EDIT: &[Metric] = &[
    Metric::ClipDirection,
    Metric::ClipImage,
    Metric::ClipText,
    Metric::L1,
    Metric::Dino,
];
const BRUSH: &[Metric] = &[
    Metric::ClipDirection,
    Metric::ClipImage,
    Metric::ClipText,
    Metric::L1,
    Metric::L2,
    Metric::Dino,
];

/// EMU Edit with MagicBrush's evaluation code, on which the other profiles are based.
const EMU_EDIT: Profile = Profile {
    name: "emu-edit/ultraedit",
    benchmark: Benchmark::EmuEdit,
    metrics: EDIT,
    clip: Backbone::ClipB32,
    preprocess: Preprocess::OpenAiClip,
    direction: Direction::NormaliseFirst,
    dino: Backbone::DinoS16,
    reference: Reference::Source,
    filter: Filter::List,
    resize: Resize::ToReference,
    scale: 1.0,
    source: "https://github.com/HaozheZhao/UltraEdit/issues/18: the backbones of MagicBrush's code, against the source, rows with \
             wrong captions removed. Their list of rows is not public: give one. Nor is their coding of CLIPdir: here it is that \
             of the clip_similarity.py in their repository",
};

const MAGIC_BRUSH: Profile = Profile {
    name: "magicbrush/all-turn",
    benchmark: Benchmark::MagicBrushAllTurns,
    metrics: BRUSH,
    direction: Direction::Raw,
    reference: Reference::Target,
    filter: Filter::None,
    source: "https://github.com/OSU-NLP-Group/MagicBrush, evaluation/image_eval.py, with local captions for CLIP-T. That code has \
             no CLIPdir: here it is computed from the global descriptions, with vectors as they come",
    ..EMU_EDIT
};

const DREAM_BENCH: Profile = Profile {
    name: "dreambench",
    benchmark: Benchmark::DreamBench,
    metrics: &[Metric::ClipText, Metric::ClipImage, Metric::Dino],
    reference: Reference::Subject,
    filter: Filter::None,
    resize: Resize::Never,
    source: "https://github.com/google/dreambooth and the DreamBooth paper, section 4.1: mean over all pairs with the subject's \
             real images; captions with the class word and without the rare token. The authors' code is not public; \
             TIGER-AI-Lab/ImagenHub's agrees with the paper",
    ..EMU_EDIT
};

/// All profiles.
pub const PROFILES: [Profile; 8] = [
    EMU_EDIT,
    Profile {
        name: "emu-edit/omnigen",
        metrics: &[Metric::ClipImage, Metric::ClipText, Metric::Dino],
        clip: Backbone::ClipL14,
        filter: Filter::None,
        resize: Resize::Never,
        source: "https://github.com/VectorSpaceLab/OmniGen/issues/164 and /191: clip-vit-large-patch14, results of 512 pixels, \
                 captions as they are, against the source. Which DINO is not said: here ViT-S/16",
        ..EMU_EDIT
    },
    Profile {
        name: "emu-edit/instruct-pix2pix",
        metrics: &[Metric::ClipDirection, Metric::ClipImage, Metric::ClipText],
        clip: Backbone::ClipL14,
        preprocess: Preprocess::Square,
        filter: Filter::None,
        resize: Resize::Never,
        source: "https://github.com/timothybrooks/instruct-pix2pix, metrics/clip_similarity.py, on EMU Edit's test set",
        ..EMU_EDIT
    },
    Profile {
        name: "emu-edit/icedit",
        clip: Backbone::ClipL14,
        filter: Filter::EqualCaptions,
        source: "https://github.com/River-Zhang/ICEdit/issues/69: ViT-L/14, rows with equal captions removed; the rest as \
                 UltraEdit (issue 61 there)",
        ..EMU_EDIT
    },
    MAGIC_BRUSH,
    Profile {
        name: "magicbrush/final-turn",
        benchmark: Benchmark::MagicBrushFinalTurn,
        ..MAGIC_BRUSH
    },
    DREAM_BENCH,
    Profile {
        name: "dreambench++",
        benchmark: Benchmark::DreamBenchPlus,
        metrics: &[
            Metric::ClipText,
            Metric::ClipImage,
            Metric::Dino,
            Metric::Dinov2,
        ],
        dino: Backbone::DinoS8,
        scale: 100.0,
        source: "https://github.com/yuangpeng/dreambench_plus, dreambench_plus/eval_clip_and_dino.py: ViT-B/32, ViT-S/8, \
                 DINOv2-small, times 100, against the one image of the subject",
        ..DREAM_BENCH
    },
];

impl Profile {
    /// Returns the profile of this name.
    ///
    /// # Errors
    /// [`Error::Request`] with the known names.
    pub fn named(name: &str) -> Result<&'static Profile> {
        let found = PROFILES.iter().find(|profile| profile.name == name);
        found.ok_or_else(|| {
            let known: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
            Error::Request(format!(
                "profile: \"{name}\", expected any of {}",
                known.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn profiles_have_unique_names_and_sources() {
        let names: HashSet<_> = PROFILES.iter().map(|p| p.name).collect();
        assert_eq!(names.len(), PROFILES.len());
        for profile in &PROFILES {
            assert_eq!(Profile::named(profile.name).unwrap(), profile);
            assert!(profile.source.starts_with("https://"), "{}", profile.name);
            let pixels = [Metric::L1, Metric::L2]
                .iter()
                .any(|m| profile.metrics.contains(m));
            assert_eq!(
                pixels,
                profile.resize == Resize::ToReference,
                "{}",
                profile.name
            );
        }
        let refused = Profile::named("emu-edit").unwrap_err().to_string();
        assert!(refused.contains("emu-edit/omnigen"), "{refused}");
    }
}
