//! What the published metrics compare: feature vectors of pictures and captions, and how a picture becomes a backbone's input.

use serde::{Deserialize, Serialize};

use unireal::Image;
use unireal::Result;

/// Feature vectors of pictures and captions, as the backbone gives them: not normalised.
pub trait Features {
    /// One vector a picture, in their order.
    ///
    /// # Errors
    /// [`unireal::Error::Request`] for a picture of which one side is over 256 times the other,
    /// [`unireal::Error::DeviceLost`] when the device cannot be read.
    fn images(&self, pictures: &[Image], preprocess: Preprocess) -> Result<Vec<Vec<f32>>>;

    /// One vector a caption, in their order.
    ///
    /// # Errors
    /// [`unireal::Error::Request`] for a backbone without a text tower.
    fn texts(&self, captions: &[String]) -> Result<Vec<Vec<f32>>>;
}

/// How a picture becomes a backbone's input; `side` is the backbone's, 224 for the published ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preprocess {
    /// openai CLIP's own: the shorter side to `side` by Pillow's bicubic, the centre of it, CLIP's mean and deviation.
    OpenAiClip,
    /// InstructPix2Pix's `clip_similarity.py`: the whole picture to `side` x `side` by torch's bicubic without antialiasing,
    /// CLIP's mean and deviation.
    Square,
    /// DINO's evaluation: the shorter side to 8/7 of `side` (256) by Pillow's bicubic, the centre of it, ImageNet's mean and
    /// deviation.
    Dino,
}
