//! Configurations of backbones: the published ones, and those read from a transformers `config.json`.

use serde::{Deserialize, Serialize};

use super::Backbone;
use super::vit::Family;
use unireal::internals::config;
use unireal::{Error, Result};

/// Activation function of the feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x sigmoid(1.702 x)`, as in CLIP.
    QuickGelu,
    /// Exact GELU.
    Gelu,
}

/// Configuration of a transformer, with the field names of transformers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tower {
    /// Hidden size.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Hidden size of the feed-forward layers.
    pub intermediate_size: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Epsilon added to the variance in layer norms.
    pub layer_norm_eps: f64,
}

/// Configuration of an image tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vision {
    /// The transformer.
    #[serde(flatten)]
    pub tower: Tower,
    /// Image side in pixels for which the position embeddings are trained.
    pub image_size: usize,
    /// Patch side in pixels.
    pub patch_size: usize,
}

impl Vision {
    /// Returns the small tower of the tabletop world, for images of `side` pixels: eight patches per side.
    pub fn small(side: usize) -> Vision {
        Vision {
            tower: small(4, Activation::Gelu),
            image_size: side,
            patch_size: side / 8,
        }
    }
}

/// Returns a tower with a head dimension of 32, one for which the CPU attention kernel is compiled.
fn small(layers: usize, act: Activation) -> Tower {
    Tower {
        num_attention_heads: 4,
        ..tower(128, layers, act, 1e-6)
    }
}

/// Configuration of a text tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The transformer.
    #[serde(flatten)]
    pub tower: Tower,
    /// Vocabulary size.
    pub vocab_size: usize,
    /// Maximum number of tokens in a caption.
    pub max_position_embeddings: usize,
    /// The end token, at which the caption's state is read. In openai's early configurations 2 stands for the largest id of the
    /// caption.
    #[serde(default = "end_of_text")]
    pub eos_token_id: u32,
}

fn end_of_text() -> u32 {
    49407
}

/// Configuration of a CLIP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipShape {
    /// The text tower.
    pub text_config: Text,
    /// The image tower.
    pub vision_config: Vision,
    /// Dimension of the joint embedding space.
    pub projection_dim: usize,
}

impl ClipShape {
    /// Returns the small CLIP of the tabletop world, for images of `side` pixels; its tokenizer's end token has id 1.
    pub fn small(side: usize) -> ClipShape {
        ClipShape {
            text_config: Text {
                tower: small(3, Activation::QuickGelu),
                vocab_size: 1024,
                max_position_embeddings: 77,
                eos_token_id: 1,
            },
            vision_config: Vision {
                tower: small(4, Activation::QuickGelu),
                ..Vision::small(side)
            },
            projection_dim: 128,
        }
    }
}

/// Configuration of a backbone.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Two towers.
    Clip(Box<ClipShape>),
    /// One tower; the last field is the side of its input images in pixels.
    Dino(Vision, Family, usize),
}

const FILE: &str = "config.json";

/// Input image side of the published protocols, in pixels.
const SIDE: usize = 224;

fn tower(width: usize, layers: usize, act: Activation, eps: f64) -> Tower {
    Tower {
        hidden_size: width,
        num_hidden_layers: layers,
        num_attention_heads: width / 64,
        intermediate_size: 4 * width,
        hidden_act: act,
        layer_norm_eps: eps,
    }
}

impl Shape {
    /// Returns the published configuration; `None` for backbones that only a file describes.
    pub(super) fn published(backbone: Backbone) -> Option<Shape> {
        let clip = |width, layers, patch, text, projection| {
            let tower = |width, layers| tower(width, layers, Activation::QuickGelu, 1e-5);
            Shape::Clip(Box::new(ClipShape {
                text_config: Text {
                    tower: tower(text, 12),
                    vocab_size: 49408,
                    max_position_embeddings: 77,
                    eos_token_id: end_of_text(),
                },
                vision_config: Vision {
                    tower: tower(width, layers),
                    image_size: SIDE,
                    patch_size: patch,
                },
                projection_dim: projection,
            }))
        };
        let dino = |patch, image_size, family| {
            let vision = Vision {
                tower: tower(384, 12, Activation::Gelu, 1e-6),
                image_size,
                patch_size: patch,
            };
            Shape::Dino(vision, family, SIDE)
        };
        match backbone {
            Backbone::ClipB32 => Some(clip(768, 12, 32, 512, 512)),
            Backbone::ClipL14 => Some(clip(1024, 24, 14, 768, 768)),
            Backbone::DinoS16 => Some(dino(16, SIDE, Family::Dino)),
            Backbone::DinoS8 => Some(dino(8, SIDE, Family::Dino)),
            Backbone::Dinov2Small => Some(dino(14, 518, Family::Dinov2)),
            Backbone::Clip | Backbone::Dino => None,
        }
    }

    /// Reads `config.json` and checks it against the published configuration; returns the published one when there is no file.
    ///
    /// # Errors
    /// [`Error::Format`] when the file is invalid, is missing for a backbone without a published configuration, or describes
    /// another backbone.
    pub(super) fn read(folder: &std::path::Path, backbone: Backbone) -> Result<Shape> {
        let path = folder.join(FILE);
        let file = path.display().to_string();
        let published = Shape::published(backbone);
        let bytes = match (std::fs::read(&path), published.clone()) {
            (Ok(bytes), _) => bytes,
            (Err(e), Some(shape)) if e.kind() == std::io::ErrorKind::NotFound => return Ok(shape),
            (Err(e), _) => return Err(Error::format(file, e)),
        };
        let refuse = |reason: String| Err(Error::format(&file, reason));
        let value = with_defaults(config::parse(&file, &bytes)?)
            .map_err(|reason| Error::format(&file, reason))?;
        let kind = value["model_type"].as_str().unwrap_or("none").to_owned();
        let found = match (backbone.has_text(), kind.as_str()) {
            (true, "clip") => Shape::Clip(from(&file, value)?),
            (false, "vit") => {
                let vision: Vision = from(&file, value)?;
                let side = vision.image_size;
                Shape::Dino(vision, Family::Dino, side)
            }
            (false, "dinov2") => {
                let vision: Vision = from(&file, value)?;
                let side = vision.image_size.min(SIDE);
                Shape::Dino(vision, Family::Dinov2, side)
            }
            (true, _) => {
                return refuse(format!(
                    "model_type of {backbone:?}: {kind:?}, expected \"clip\""
                ));
            }
            (false, _) => {
                return refuse(format!(
                    "model_type of {backbone:?}: {kind:?}, expected \"vit\" or \"dinov2\""
                ));
            }
        };
        if let Some(reason) = found.invalid() {
            return refuse(reason);
        }
        match published.and_then(|shape| found.differs(&shape)) {
            Some(reason) => refuse(format!("{backbone:?}: {reason}")),
            None => Ok(found),
        }
    }

    /// Returns a description of the first invalid value.
    fn invalid(&self) -> Option<String> {
        let towers = match self {
            Shape::Clip(shape) => vec![&shape.vision_config.tower, &shape.text_config.tower],
            Shape::Dino(vision, ..) => vec![&vision.tower],
        };
        for tower in towers {
            let (width, heads) = (tower.hidden_size, tower.num_attention_heads);
            if heads == 0 || width == 0 || !width.is_multiple_of(heads) {
                return Some(format!(
                    "hidden_size: {width} with num_attention_heads {heads}, expected a positive multiple of the heads"
                ));
            }
            if tower.intermediate_size == 0 || !(1..=64).contains(&tower.num_hidden_layers) {
                return Some(format!(
                    "layer sizes: intermediate_size {} and num_hidden_layers {}, expected at least 1 and 1 to 64",
                    tower.intermediate_size, tower.num_hidden_layers
                ));
            }
            if !(0.0..1.0).contains(&tower.layer_norm_eps) {
                return Some(format!(
                    "layer_norm_eps: {}, expected 0 to 1",
                    tower.layer_norm_eps
                ));
            }
        }
        let (vision, side) = self.vision();
        let patch = vision.patch_size;
        if patch == 0
            || [vision.image_size, side]
                .iter()
                .any(|side| !(patch..=4096).contains(side) || !side.is_multiple_of(patch))
        {
            return Some(format!(
                "image sizes: image_size {}, input {side}, patch_size {patch}, expected multiples of patch_size up to 4096",
                vision.image_size
            ));
        }
        match self {
            Shape::Clip(shape)
                if shape.projection_dim == 0
                    || shape.text_config.vocab_size == 0
                    || shape.text_config.max_position_embeddings < 2 =>
            {
                let text = &shape.text_config;
                Some(format!(
                    "text sizes: projection_dim {}, vocab_size {}, max_position_embeddings {}, expected at least 1, 1 and 2",
                    shape.projection_dim, text.vocab_size, text.max_position_embeddings
                ))
            }
            _ => None,
        }
    }

    /// Returns the image tower and the side of its input images in pixels.
    pub(super) fn vision(&self) -> (&Vision, usize) {
        match self {
            Shape::Clip(shape) => (&shape.vision_config, shape.vision_config.image_size),
            Shape::Dino(vision, _, side) => (vision, *side),
        }
    }

    /// Returns the first value that differs from `published`; `layer_norm_eps` and `eos_token_id` may differ.
    fn differs(&self, published: &Shape) -> Option<String> {
        let json = |shape: &Shape| {
            let value = match shape {
                Shape::Clip(shape) => serde_json::to_value(shape),
                Shape::Dino(vision, ..) => serde_json::to_value(vision),
            };
            value.unwrap_or_default()
        };
        first_difference(&json(self), &json(published), "")
    }
}

fn first_difference(
    found: &serde_json::Value,
    published: &serde_json::Value,
    path: &str,
) -> Option<String> {
    match (found.as_object(), published.as_object()) {
        (Some(found), Some(published)) => found.iter().find_map(|(name, value)| {
            let other = published.get(name)?;
            first_difference(value, other, &format!("{path}.{name}"))
        }),
        _ if found == published => None,
        _ if path.ends_with("layer_norm_eps") || path.ends_with("eos_token_id") => None,
        _ => Some(format!(
            "{}: {found}, expected {published}",
            path.trim_start_matches('.')
        )),
    }
}

fn from<T: serde::de::DeserializeOwned>(file: &str, value: serde_json::Value) -> Result<T> {
    serde_json::from_value(value).map_err(|e| Error::format(file, e))
}

/// Adds the defaults that transformers omits, and `intermediate_size` from DINOv2's `mlp_ratio`.
fn with_defaults(mut value: serde_json::Value) -> std::result::Result<serde_json::Value, String> {
    let add = |value: &mut serde_json::Value, defaults: serde_json::Value| {
        if let (Some(found), serde_json::Value::Object(defaults)) =
            (value.as_object_mut(), defaults)
        {
            for (name, value) in defaults {
                found.entry(name).or_insert(value);
            }
        }
    };
    match value["model_type"].as_str() {
        Some("clip") => {
            let vision = Vision {
                tower: tower(768, 12, Activation::QuickGelu, 1e-5),
                image_size: SIDE,
                patch_size: 32,
            };
            let text = Text {
                tower: tower(512, 12, Activation::QuickGelu, 1e-5),
                vocab_size: 49408,
                max_position_embeddings: 77,
                eos_token_id: end_of_text(),
            };
            add(
                &mut value["vision_config"],
                serde_json::to_value(&vision).unwrap_or_default(),
            );
            add(
                &mut value["text_config"],
                serde_json::to_value(&text).unwrap_or_default(),
            );
            add(&mut value, serde_json::json!({ "projection_dim": 512 }));
        }
        Some("dinov2") => {
            // An invalid hidden_size is reported when the whole configuration is parsed.
            let width = value["hidden_size"].as_u64().unwrap_or(0);
            let ratio = match &value["mlp_ratio"] {
                serde_json::Value::Null => 4.0,
                found => found
                    .as_f64()
                    .filter(|ratio| *ratio > 0.0)
                    .ok_or_else(|| format!("mlp_ratio: {found}, expected a positive number"))?,
            };
            let inner = (width as f64 * ratio) as u64;
            if let Some(found) = value.as_object_mut() {
                found.insert("intermediate_size".into(), inner.into());
            }
        }
        _ => {}
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_mlp_ratio_is_refused() {
        let config = |ratio: serde_json::Value| {
            with_defaults(serde_json::json!({
                "model_type": "dinov2", "hidden_size": 64, "mlp_ratio": ratio
            }))
        };
        assert_eq!(config(2.into()).unwrap()["intermediate_size"], 128);
        assert_eq!(config(2.5.into()).unwrap()["intermediate_size"], 160);
        assert_eq!(config(().into()).unwrap()["intermediate_size"], 256);
        for invalid in [serde_json::json!("4"), 0.into(), (-1).into()] {
            let refused = config(invalid.clone()).unwrap_err();
            assert!(
                refused.contains(&format!("mlp_ratio: {invalid}, expected")),
                "{refused}"
            );
        }
    }
}
