//! Published results, shown beside ours. Each row names its protocol where known; rows of different protocols are not
//! comparable, even where the literature prints them in one table.

use super::super::profile::Metric::{ClipDirection, ClipImage, ClipText, Dino, L1, L2};
use super::super::profile::{Benchmark, Metric};

/// One published result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// The method.
    pub method: &'static str,
    /// Its scores.
    pub values: &'static [(Metric, f64)],
    /// How the scores were computed, as far as known.
    pub protocol: &'static str,
    /// The publication.
    pub source: &'static str,
}

const TABLE_2: &str = "UniReal, table 2";
const TABLE_3: &str = "UniReal, table 3";
const UNSTATED: &str = "not stated";
const COPIED: &str = "not stated; from the literature";

/// A row with the five columns of UniReal's table 2.
macro_rules! edit {
    ($method:literal, $protocol:expr, $dir:literal $image:literal $text:literal $l1:literal $dino:literal) => {
        Row {
            method: $method,
            values: &[
                (ClipDirection, $dir),
                (ClipImage, $image),
                (ClipText, $text),
                (L1, $l1),
                (Dino, $dino),
            ],
            protocol: $protocol,
            source: TABLE_2,
        }
    };
}

/// A row with some of the columns.
macro_rules! some {
    ($method:literal, $protocol:expr, $source:expr, $($metric:ident $value:literal)+) => {
        Row {
            method: $method,
            values: &[$(($metric, $value)),+],
            protocol: $protocol,
            source: $source,
        }
    };
}

const EMU_EDIT: &[Row] = &[
    edit!("InstructPix2Pix", COPIED, 0.078 0.834 0.219 0.121 0.762),
    edit!("MagicBrush", COPIED, 0.090 0.838 0.222 0.100 0.776),
    edit!("PnP", COPIED, 0.028 0.521 0.089 0.304 0.153),
    edit!("Null-text inversion", COPIED, 0.101 0.761 0.236 0.075 0.678),
    edit!("UltraEdit", "emu-edit/ultraedit", 0.107 0.793 0.283 0.071 0.844),
    edit!("EMU Edit", "backbones not stated", 0.109 0.859 0.231 0.094 0.819),
    edit!("ACE", COPIED, 0.086 0.895 0.274 0.076 0.862),
    some!("OmniGen", "emu-edit/omnigen", TABLE_2, ClipImage 0.836 ClipText 0.233 Dino 0.804),
    edit!("PixWizard", "captions as they are; backbones not stated", 0.104 0.845 0.248 0.069 0.798),
    edit!("UniReal", UNSTATED, 0.127 0.851 0.285 0.099 0.790),
    some!("ICEdit", "emu-edit/icedit, measured by a reader", "https://github.com/River-Zhang/ICEdit/issues/69",
        ClipImage 0.894 ClipText 0.301 Dino 0.844),
];

const MAGIC_BRUSH: &[Row] = &[
    edit!("InstructPix2Pix", COPIED, 0.115 0.837 0.245 0.093 0.767),
    edit!("MagicBrush", COPIED, 0.123 0.883 0.261 0.058 0.871),
    edit!("PnP", COPIED, 0.025 0.568 0.101 0.289 0.220),
    edit!("Null-text inversion", COPIED, 0.121 0.752 0.263 0.077 0.664),
    some!("UltraEdit", "the backbones of magicbrush/*; which turns is not stated", TABLE_2, ClipImage 0.868 L1 0.088 Dino 0.792),
    edit!("EMU Edit", "backbones not stated", 0.135 0.897 0.261 0.052 0.879),
    some!("ACE", COPIED, TABLE_2, ClipText 0.284),
    edit!("PixWizard", COPIED, 0.124 0.884 0.265 0.063 0.876),
    edit!("UniReal", UNSTATED, 0.151 0.903 0.308 0.081 0.837),
    some!("MagicBrush's checkpoint", "magicbrush/final-turn, measured by a reader",
        "https://github.com/OSU-NLP-Group/MagicBrush/issues/27",
        L1 0.0850 L2 0.0297 ClipImage 0.8985 Dino 0.8436 ClipText 0.2764),
    some!("MagicBrush's checkpoint", "magicbrush/all-turn, measured by a reader",
        "https://github.com/OSU-NLP-Group/MagicBrush/issues/27",
        L1 0.0656 L2 0.0217 ClipImage 0.9253 Dino 0.8895 ClipText 0.2722),
];

/// A row with the three columns of UniReal's table 3.
macro_rules! subject {
    ($method:literal, $protocol:expr, $text:literal $image:literal $dino:literal) => {
        Row {
            method: $method,
            values: &[(ClipText, $text), (ClipImage, $image), (Dino, $dino)],
            protocol: $protocol,
            source: TABLE_3,
        }
    };
}

const DREAM_BENCH: &[Row] = &[
    some!("real pictures", "dreambench", TABLE_3, ClipImage 0.885 Dino 0.774),
    subject!("Textual Inversion", COPIED, 0.255 0.780 0.569),
    subject!("DreamBooth", "dreambench", 0.305 0.803 0.668),
    subject!("BLIP-Diffusion", COPIED, 0.302 0.805 0.670),
    subject!("ELITE", COPIED, 0.296 0.772 0.647),
    subject!("Re-Imagen", COPIED, 0.270 0.740 0.600),
    subject!("BootPIG", COPIED, 0.311 0.797 0.674),
    subject!("SuTI", COPIED, 0.304 0.819 0.741),
    subject!("OmniGen", "not stated; run by UniReal's authors", 0.320 0.810 0.693),
    subject!("UniReal", UNSTATED, 0.326 0.806 0.702),
];

/// Returns the rows of a benchmark. DreamBench++ has none, because UniReal does not report it.
pub(super) fn rows(benchmark: Benchmark) -> &'static [Row] {
    match benchmark {
        Benchmark::EmuEdit => EMU_EDIT,
        Benchmark::MagicBrushAllTurns | Benchmark::MagicBrushFinalTurn => MAGIC_BRUSH,
        Benchmark::DreamBench => DREAM_BENCH,
        Benchmark::DreamBenchPlus => &[],
    }
}
