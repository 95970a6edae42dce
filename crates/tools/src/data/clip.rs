//! A clip with what is known about it: the form between the annotators and the samples.

use unireal::Image;
use unireal::Tag;

/// Frames of one shot, all of one size, and what annotators say of them.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// The video's file name, or the world's seed; unique in a run.
    pub name: String,
    /// The frames that were kept, in order of time.
    pub frames: Vec<Image>,
    /// Each frame's number in the video.
    pub numbers: Vec<u64>,
    /// Frames in a second, of the video.
    pub rate: f64,
    /// [`Tag::RealisticStyle`] or [`Tag::SyntheticStyle`].
    pub style: Option<Tag>,
    /// What the clip shows, in paraphrases; may be empty.
    pub captions: Vec<String>,
    /// What each frame shows, in paraphrases; empty, or one list a frame.
    pub frame_captions: Vec<Vec<String>>,
    /// Things that were followed through the clip.
    pub entities: Vec<Entity>,
    /// Depth of each frame, row by row, in any unit that grows with distance; empty, or one map a frame.
    pub depths: Vec<Vec<f32>>,
    /// Exact instructions between two frames.
    pub instructions: Vec<Instruction>,
    /// Pairs before and after an edit with truth, of the frames' size.
    pub edits: Vec<EditPair>,
}

impl Clip {
    /// The captions of a frame, or else of the clip.
    pub fn captions_of(&self, frame: usize) -> &[String] {
        let own = self.frame_captions.get(frame);
        match own.filter(|captions| !captions.is_empty()) {
            Some(captions) => captions,
            None => &self.captions,
        }
    }
}

/// A thing in a clip.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    /// Noun phrases that mean it and nothing else in each frame, such as "the small red cube"; in paraphrases.
    pub phrases: Vec<String>,
    /// The pixels that show it, one map a frame, row by row; all false where it is not seen.
    pub masks: Vec<Vec<bool>>,
}

/// What changes from one frame to another.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Index of the frame before.
    pub from: usize,
    /// Index of the frame after.
    pub to: usize,
    /// Paraphrases.
    pub texts: Vec<String>,
}

/// An edit with truth.
#[derive(Clone, Debug)]
pub struct EditPair {
    /// The kind of edit, such as `recolour`.
    pub variant: String,
    /// Paraphrases of the instruction.
    pub texts: Vec<String>,
    /// The picture before.
    pub before: Image,
    /// The picture after.
    pub after: Image,
    /// The pixels of the solids that the instruction is about, before or after.
    pub changed: Vec<bool>,
    /// How many solids those are: more than one where others come down with it.
    pub solids: usize,
    /// The context prompt.
    pub context: Vec<Tag>,
}
