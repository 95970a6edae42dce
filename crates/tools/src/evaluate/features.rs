//! Feature vectors of images and captions for the published metrics, and the preprocessing of images.

use serde::{Deserialize, Serialize};

use unireal::Image;
use unireal::Result;

/// Computes feature vectors of images and captions, not normalised.
pub trait Features {
    /// Returns one vector per image, in order.
    ///
    /// # Errors
    /// [`unireal::Error::Request`] for an image with an aspect ratio above 256, [`unireal::Error::DeviceLost`] when the result
    /// cannot be read from the device.
    fn images(&self, images: &[Image], preprocess: Preprocess) -> Result<Vec<Vec<f32>>>;

    /// Returns one vector per caption, in order.
    ///
    /// # Errors
    /// [`unireal::Error::Request`] for a backbone without a text tower.
    fn texts(&self, captions: &[String]) -> Result<Vec<Vec<f32>>>;
}

/// Preprocessing of images; `side` is the backbone's input side, 224 for the published ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Preprocess {
    /// openai CLIP: the shorter side to `side` with Pillow's bicubic, centre crop, CLIP's mean and deviation.
    OpenAiClip,
    /// InstructPix2Pix's `clip_similarity.py`: the whole image to `side` x `side` with torch's bicubic without antialiasing,
    /// CLIP's mean and deviation.
    Square,
    /// DINO's evaluation: the shorter side to 8/7 of `side` (256) with Pillow's bicubic, centre crop, ImageNet's mean and
    /// deviation.
    Dino,
}
