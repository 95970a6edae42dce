//! Annotated clips: what the annotators produce and the sample builder reads.

use unireal::Image;
use unireal::Tag;

/// Frames of one shot, all of one size, with their annotations.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// The video's file name, or a name with the scene's seed; unique in a run.
    pub name: String,
    /// The frames in temporal order.
    pub frames: Vec<Image>,
    /// Each frame's number in the video.
    pub numbers: Vec<u64>,
    /// Frame rate of the video, per second.
    pub rate: f64,
    /// [`Tag::RealisticStyle`] or [`Tag::SyntheticStyle`].
    pub style: Option<Tag>,
    /// Paraphrased captions of the clip; may be empty.
    pub captions: Vec<String>,
    /// Paraphrased captions of each frame; empty, or one list per frame.
    pub frame_captions: Vec<Vec<String>>,
    /// Objects tracked through the clip.
    pub entities: Vec<Entity>,
    /// Depth of each frame in row-major order, in any unit that grows with distance; empty, or one map per frame.
    pub depths: Vec<Vec<f32>>,
    /// Exact instructions from one frame to another.
    pub instructions: Vec<Instruction>,
    /// Edits with ground truth; their images have the frames' size.
    pub edits: Vec<EditPair>,
}

impl Clip {
    /// Returns the captions of a frame, or those of the clip if it has none.
    pub fn captions_of(&self, frame: usize) -> &[String] {
        let own = self.frame_captions.get(frame);
        match own.filter(|captions| !captions.is_empty()) {
            Some(captions) => captions,
            None => &self.captions,
        }
    }
}

/// An object in a clip.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    /// Paraphrased noun phrases that refer to it alone in every frame, such as "the small red cube".
    pub phrases: Vec<String>,
    /// The pixels that show it, one row-major mask per frame; all false where it is not visible.
    pub masks: Vec<Vec<bool>>,
}

/// An instruction that changes one frame into another.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Index of the frame before.
    pub from: usize,
    /// Index of the frame after.
    pub to: usize,
    /// Paraphrases of the instruction.
    pub texts: Vec<String>,
}

/// An edit with ground truth.
#[derive(Clone, Debug)]
pub struct EditPair {
    /// The kind of edit, such as `recolour`.
    pub variant: String,
    /// Paraphrases of the instruction.
    pub texts: Vec<String>,
    /// The image before the edit.
    pub before: Image,
    /// The image after the edit.
    pub after: Image,
    /// The pixels of the objects that the instruction concerns, before or after.
    pub changed: Vec<bool>,
    /// The number of those objects: more than one when others fall along.
    pub solids: usize,
    /// The context prompt.
    pub context: Vec<Tag>,
}
