//! Saves and loads trained encoders in the layout of transformers: `config.json` and f16 weights.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::checkpoint::{self, CLIP, DINO, Naming};
use super::clip::Clip;
use super::config::{ClipShape, Vision};
use super::vit::VisionTower;
use crate::train::checkpoint::write;
use unireal::internals::weights::module::{CpuTensor, collect};
use unireal::{Error, Result};

/// Writes a CLIP, without its tokenizer.
///
/// # Errors
/// [`Error::Format`] when a file cannot be written, [`Error::DeviceLost`] when a parameter cannot be read.
pub(crate) fn save_clip(clip: &Clip, shape: &ClipShape, folder: &Path) -> Result<()> {
    let mut config = serde_json::to_value(shape).unwrap_or_default();
    config["model_type"] = "clip".into();
    config["architectures"] = json!(["CLIPModel"]);
    save(clip, &CLIP[0], config, folder)
}

/// Writes a tower as transformers' ViT.
///
/// # Errors
/// As [`save_clip`].
pub(crate) fn save_dino(tower: &VisionTower, vision: &Vision, folder: &Path) -> Result<()> {
    let mut config = serde_json::to_value(vision).unwrap_or_default();
    config["model_type"] = "vit".into();
    config["architectures"] = json!(["ViTModel"]);
    save(tower, &DINO[0], config, folder)
}

/// Loads the CLIP in a folder; `None` when the folder has none.
///
/// # Errors
/// [`Error::Format`] when the weights have another shape.
pub(crate) fn load_clip(
    clip: Clip,
    shape: &ClipShape,
    folder: &Path,
    device: &Device,
) -> Result<Option<Clip>> {
    load(clip, &CLIP, &shape.vision_config, folder, device)
}

/// Loads the tower in a folder; `None` when the folder has none.
///
/// # Errors
/// As [`load_clip`].
pub(crate) fn load_dino(
    tower: VisionTower,
    vision: &Vision,
    folder: &Path,
    device: &Device,
) -> Result<Option<VisionTower>> {
    load(tower, &DINO, vision, folder, device)
}

fn load<M: Module>(
    module: M,
    namings: &[Naming],
    vision: &Vision,
    folder: &Path,
    device: &Device,
) -> Result<Option<M>> {
    if !folder.join("model.safetensors").exists() {
        return Ok(None);
    }
    let sides = [vision.image_size / vision.patch_size; 2];
    checkpoint::load(module, namings, folder, sides, device).map(Some)
}

fn save<M: Module>(module: &M, naming: &Naming, config: Value, folder: &Path) -> Result<()> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for CpuTensor {
        name,
        shape,
        values,
    } in collect(module, &[])?
    {
        let sources = naming.sources(&name);
        let count = values.len() / sources.len();
        for (source, values) in sources.into_iter().zip(values.chunks_exact(count)) {
            let rows = shape[0] * count / shape.iter().product::<usize>().max(1);
            let shape = as_published(&source, [&[rows], &shape[1..]].concat());
            let bytes = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes());
            tensors.push((source, shape, bytes.collect()));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F16, shape.clone(), bytes)
            .expect("a tensor's values fill its shape");
        (name.as_str(), view)
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| Error::Internal(format!("writing safetensors: {e}")))?;
    let config = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
    write(&folder.join("config.json"), config.as_bytes())?;
    write(&folder.join("model.safetensors"), &bytes)
}

/// Returns the shape that transformers gives a tensor.
fn as_published(name: &str, shape: Vec<usize>) -> Vec<usize> {
    let patches = [
        "patch_embedding.weight",
        "patch_embeddings.projection.weight",
    ];
    match shape[..] {
        [rows, columns] if patches.iter().any(|end| name.ends_with(end)) => {
            let side = (columns / 3).isqrt();
            vec![rows, 3, side, side]
        }
        [n, d] if name == "embeddings.position_embeddings" => vec![1, n, d],
        [d] if name == "embeddings.cls_token" => vec![1, 1, d],
        [_] if name == "logit_scale" => Vec::new(),
        _ => shape,
    }
}
