//! The data engine: turns videos into samples of every kind of the paper (section 3.2), as WebDataset tar shards.

pub mod annotate;
pub mod build;
pub(crate) mod card;
pub mod clip;
pub mod command;
pub mod describe;
pub mod export;
pub mod fit;
pub mod kinds;
pub mod mask;
pub mod motion;
pub(crate) mod ordered;
pub mod plane;
mod prompts;
pub mod quality;
pub mod sample;
pub mod shard;
pub mod show;
pub mod tabletop;
pub mod toolkit;
pub mod video;

/// File extensions of the image formats that are read, in lower case.
pub(crate) const IMAGE_EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

pub use clip::{Clip, EditPair, Entity, Instruction};
pub use sample::{Kind, Sample};
