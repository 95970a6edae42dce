//! The networks that the published metrics look through.

use serde::{Deserialize, Serialize};

/// A network of the published metrics, or one of the same form for the tabletop world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backbone {
    /// openai CLIP ViT-B/32.
    ClipB32,
    /// openai CLIP ViT-L/14.
    ClipL14,
    /// DINO ViT-S/16.
    DinoS16,
    /// DINO ViT-S/8.
    DinoS8,
    /// DINOv2 ViT-S/14.
    Dinov2Small,
    /// A CLIP of the shape that its `config.json` gives.
    Clip,
    /// A DINO of the shape that its `config.json` gives.
    Dino,
}
