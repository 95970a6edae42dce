//! Samples: input images, output images and prompts. All data reaches training and evaluation in this form.

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
    /// An image from a prompt (text to image).
    TextToImage,
    /// Several frames of one clip from a prompt (text to video).
    TextToVideo,
    /// An edit with ground truth: an instruction and a canvas, and the edited image.
    Edit,
    /// Two frames of one video: the first is the canvas, the second is the result (Video Frame2Frame).
    FrameToFrame,
    /// Another frame from one or more objects cut out of one frame (Video Multi-object customisation).
    Customisation,
    /// An object cut out of one frame, inserted into another from which it was erased (Video Object Insertion).
    Insertion,
    /// An erased part of a frame, restored from a prompt (Video ObjectAdd).
    ObjectAdd,
    /// The mask of the object that the prompt names (Video SEG).
    Segmentation,
    /// A depth map or edges from a frame, or a frame from them (Video Control).
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

    /// Returns the name in files and on the command line.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The kind.
    pub kind: Kind,
    /// The variant of the kind, such as an edit's `recolour` or a control's `depth`; empty when there is none.
    pub variant: String,
    /// Paraphrases of the base prompt, at least one; training draws one each time.
    pub prompts: Vec<String>,
    /// The context prompt.
    pub context: Vec<Tag>,
    /// The input images, IMG1 first.
    pub inputs: Vec<(Image, Role)>,
    /// The output images, RES1 first, at least one; all of one size.
    pub outputs: Vec<Image>,
    /// The mask of the pixels that the instruction changes, if known: white on black, of the outputs' size.
    pub changed: Option<Image>,
    /// The origin: the name of the video or scene, and the frames.
    pub source: serde_json::Value,
}
