//! A sample: what goes in, what is to come out, and in which words; the one form in which data reaches training and
//! evaluation.

use serde::{Deserialize, Serialize};

use unireal::Image;
use unireal::{Role, Tag};

/// The kinds of sample (paper, table 1).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A picture from words.
    TextToImage,
    /// Several frames of one clip from words.
    TextToVideo,
    /// An instruction with truth: one canvas, the edited picture.
    Edit,
    /// Two frames of one video: the first is the canvas, the second the result (Video Frame2Frame).
    FrameToFrame,
    /// One or more objects cut out of one frame regenerate another frame (Video Multi-object customisation).
    Customisation,
    /// An object cut out of one frame comes back into another from which it was erased (Video Object Insertion).
    Insertion,
    /// A part of a frame that was erased comes back from words (Video ObjectAdd).
    ObjectAdd,
    /// The mask of an object that words name (Video SEG).
    Segmentation,
    /// From a frame its depth map or its edges, or back (Video Control).
    Control,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 9] = [
        Kind::TextToImage,
        Kind::TextToVideo,
        Kind::Edit,
        Kind::FrameToFrame,
        Kind::Customisation,
        Kind::Insertion,
        Kind::ObjectAdd,
        Kind::Segmentation,
        Kind::Control,
    ];

    /// The name in files and on the command line.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its kind.
    pub kind: Kind,
    /// A finer kind, such as the kind of edit (`recolour`) or of control (`depth`); empty when there is none.
    pub variant: String,
    /// Paraphrases of the base prompt, at least one; training draws one of them each time.
    pub prompts: Vec<String>,
    /// The context prompt.
    pub context: Vec<Tag>,
    /// The input images, IMG1 first.
    pub inputs: Vec<(Image, Role)>,
    /// The output images, RES1 first, at least one; all of one size.
    pub outputs: Vec<Image>,
    /// The pixels that the instruction changes, when they are known: white on black, of the outputs' size.
    pub changed: Option<Image>,
    /// Where it comes from: the video's name and the frames, or the world's seed.
    pub source: serde_json::Value,
}
