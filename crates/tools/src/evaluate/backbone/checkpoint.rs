//! Loads published weights into a backbone, under the tensor names of transformers or of the original code (openai's CLIP,
//! DINO's hub, timm).

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::super::resample::torch_bicubic;
use unireal::internals::weights::module::{DeviceTensor, Names, fill, shapes};
use unireal::{Error, Result};

/// The tensor names of a checkpoint.
pub(super) struct Naming {
    /// A tensor name that occurs in no other naming.
    marker: &'static str,
    /// Replacements from this crate's parameter paths to the checkpoint's names; `{qkv}` stands for each of `parts`.
    names: Names,
    /// Names of queries, keys and values where they are three tensors.
    parts: &'static [&'static str],
    /// Matrices stored as `[in, out]`.
    transposed: &'static [&'static str],
    /// Prefixes of tensors that image and caption features do not use.
    unused: &'static [&'static str],
}

/// CLIP as named by transformers and by openai.
pub(super) const CLIP: [Naming; 2] = [
    Naming {
        marker: "vision_model.embeddings.class_embedding",
        names: &[
            ("vision.class", "vision_model.embeddings.class_embedding"),
            ("vision.patch.", "vision_model.embeddings.patch_embedding."),
            (
                "vision.positions",
                "vision_model.embeddings.position_embedding.weight",
            ),
            ("vision.pre_norm", "vision_model.pre_layrnorm"),
            ("vision.norm", "vision_model.post_layernorm"),
            ("vision.blocks", "vision_model.encoder.layers"),
            ("text.tokens", "text_model.embeddings.token_embedding"),
            (
                "text.positions",
                "text_model.embeddings.position_embedding.weight",
            ),
            ("text.norm", "text_model.final_layer_norm"),
            ("text.blocks", "text_model.encoder.layers"),
            (".norm1", ".layer_norm1"),
            (".norm2", ".layer_norm2"),
            (".attention.qkv", ".self_attn.{qkv}_proj"),
            (".attention.out", ".self_attn.out_proj"),
            (".mlp.first", ".mlp.fc1"),
            (".mlp.second", ".mlp.fc2"),
        ],
        parts: &["q", "k", "v"],
        transposed: &[],
        unused: &[
            "text_model.embeddings.position_ids",
            "vision_model.embeddings.position_ids",
        ],
    },
    Naming {
        marker: "visual.class_embedding",
        names: &[
            ("vision.class", "visual.class_embedding"),
            ("vision.patch.", "visual.conv1."),
            ("vision.positions", "visual.positional_embedding"),
            ("vision.pre_norm", "visual.ln_pre"),
            ("vision.norm", "visual.ln_post"),
            ("vision.blocks", "visual.transformer.resblocks"),
            ("visual_projection.weight", "visual.proj"),
            ("text.tokens", "token_embedding"),
            ("text.positions", "positional_embedding"),
            ("text.norm", "ln_final"),
            ("text.blocks", "transformer.resblocks"),
            ("text_projection.weight", "text_projection"),
            (".norm1", ".ln_1"),
            (".norm2", ".ln_2"),
            (".attention.qkv.", ".attn.in_proj_"),
            (".attention.out", ".attn.out_proj"),
            (".mlp.first", ".mlp.c_fc"),
            (".mlp.second", ".mlp.c_proj"),
        ],
        parts: &[],
        transposed: &["visual.proj", "text_projection"],
        unused: &[
            "input_resolution",
            "context_length",
            "vocab_size",
            "attn_mask",
        ],
    },
];

/// DINO and DINOv2: transformers' ViT, transformers' DINOv2, and the shared names of the hub and timm.
pub(super) const DINO: [Naming; 3] = [
    Naming {
        marker: "encoder.layer.0.layernorm_before.weight",
        names: &[
            ("class", "embeddings.cls_token"),
            ("positions", "embeddings.position_embeddings"),
            ("patch.", "embeddings.patch_embeddings.projection."),
            ("norm.", "layernorm."),
            ("blocks", "encoder.layer"),
            (".norm1", ".layernorm_before"),
            (".norm2", ".layernorm_after"),
            (".attention.qkv", ".attention.attention.{qkv}"),
            (".attention.out", ".attention.output.dense"),
            (".mlp.first", ".intermediate.dense"),
            (".mlp.second", ".output.dense"),
        ],
        parts: &["query", "key", "value"],
        transposed: &[],
        unused: &["pooler."],
    },
    Naming {
        marker: "encoder.layer.0.norm1.weight",
        names: &[
            ("class", "embeddings.cls_token"),
            ("positions", "embeddings.position_embeddings"),
            ("patch.", "embeddings.patch_embeddings.projection."),
            ("norm.", "layernorm."),
            ("blocks", "encoder.layer"),
            (".attention.qkv", ".attention.attention.{qkv}"),
            (".attention.out", ".attention.output.dense"),
            ("scale1", "layer_scale1.lambda1"),
            ("scale2", "layer_scale2.lambda1"),
            (".mlp.first", ".mlp.fc1"),
            (".mlp.second", ".mlp.fc2"),
        ],
        parts: &["query", "key", "value"],
        transposed: &[],
        unused: &["embeddings.mask_token"],
    },
    Naming {
        marker: "cls_token",
        names: &[
            ("class", "cls_token"),
            ("positions", "pos_embed"),
            ("patch.", "patch_embed.proj."),
            (".attention.qkv", ".attn.qkv"),
            (".attention.out", ".attn.proj"),
            ("scale1", "ls1.gamma"),
            ("scale2", "ls2.gamma"),
            (".mlp.first", ".mlp.fc1"),
            (".mlp.second", ".mlp.fc2"),
        ],
        parts: &[],
        transposed: &[],
        unused: &["mask_token", "head."],
    },
];

impl Naming {
    /// Returns the names of the checkpoint's tensors that make up a parameter.
    pub(super) fn sources(&self, parameter: &str) -> Vec<String> {
        let name = renamed(parameter, self.names);
        if name.contains("{qkv}") {
            let parts = self.parts.iter();
            parts.map(|part| name.replace("{qkv}", part)).collect()
        } else {
            vec![name]
        }
    }
}

fn renamed(path: &str, names: Names) -> String {
    names.iter().fold(path.to_owned(), |path, (ours, theirs)| {
        path.replace(ours, theirs)
    })
}

/// A safetensors file whose tensors are read one at a time.
struct Checkpoint {
    name: String,
    file: File,
    metadata: Metadata,
    /// Byte offset of the tensor data.
    start: u64,
}

/// Maximum header length in bytes.
const MAX_HEADER: u64 = 100 << 20;

impl Checkpoint {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |e: &dyn std::fmt::Display| Error::format(&name, e);
        let mut file = File::open(path).map_err(|e| fail(&e))?;
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(|e| fail(&e))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(fail(&format!(
                "its header has {length} bytes; {MAX_HEADER} are the most"
            )));
        }
        let mut header = Vec::new();
        (&mut file)
            .take(length)
            .read_to_end(&mut header)
            .map_err(|e| fail(&e))?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| fail(&e))?;
        let start = length + 8;
        let size = file.metadata().map_err(|e| fail(&e))?.len();
        let promised = start + metadata.data_len() as u64;
        if size != promised {
            return Err(fail(&format!(
                "has {size} bytes, its header promises {promised}"
            )));
        }
        Ok(Checkpoint {
            name,
            file,
            metadata,
            start,
        })
    }

    fn fail(&self, reason: impl ToString) -> Error {
        Error::format(&self.name, reason)
    }

    /// Reads a tensor and returns its shape and values.
    fn read(&mut self, name: &str, info: &TensorInfo) -> Result<(Vec<usize>, Vec<f32>)> {
        let (from, to) = info.data_offsets;
        let mut bytes = vec![0u8; to - from];
        let at = SeekFrom::Start(self.start + from as u64);
        let read = self
            .file
            .seek(at)
            .and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|e| self.fail(format!("{name}: {e}")))?;
        let f16_values = || bytes.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|b| f32::from_le_bytes(*b)).collect()
            }
            Dtype::F16 => f16_values()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            Dtype::BF16 => f16_values()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
            other => {
                return Err(self.fail(format!("{name} is {other:?}; F32, F16 and BF16 are read")));
            }
        };
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(self.fail(format!("{name} holds {value}; weights are finite"))),
            None => Ok((info.shape.clone(), values)),
        }
    }
}

/// Returns the path of the weights file in a folder.
fn file_of(folder: &Path) -> Result<PathBuf> {
    let whole = folder.join("model.safetensors");
    if whole.exists() {
        return Ok(whole);
    }
    let name = folder.display().to_string();
    let entries = std::fs::read_dir(folder).map_err(|e| Error::format(&name, e))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Err(Error::format(
            name,
            format!("holds {n} safetensors files; one is needed, or one named model.safetensors"),
        )),
    }
}

/// Loads the weights of a folder into a module. `sides` are the patches per image side of the checkpoint's positions and of the
/// module's input; where they differ, the positions are interpolated as transformers does.
///
/// # Errors
/// [`Error::Format`] with the names of the file and the tensors that do not fit this backbone.
pub(super) fn load<M: Module>(
    module: M,
    namings: &[Naming],
    folder: &Path,
    sides: [usize; 2],
    device: &Device,
) -> Result<M> {
    let mut checkpoint = Checkpoint::open(&file_of(folder)?)?;
    let mut left: HashMap<String, TensorInfo> = checkpoint
        .metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| (name, info.clone()))
        .collect();
    let naming = namings.iter().find(|n| left.contains_key(n.marker));
    let naming = naming.ok_or_else(|| {
        let markers: Vec<&str> = namings.iter().map(|naming| naming.marker).collect();
        checkpoint.fail(format!(
            "holds neither of {}; it is another model's",
            markers.join(", ")
        ))
    })?;
    let mut tensors = HashMap::new();
    for (parameter, wanted) in shapes(&module, &[]) {
        let (mut values, mut rows) = (Vec::new(), 0);
        let sources = naming.sources(&parameter);
        let parts = sources.len();
        for name in sources {
            let Some(info) = left.remove(&name) else {
                return Err(checkpoint.fail(format!("{name} is missing, of shape {wanted:?}")));
            };
            let mut part = wanted.clone();
            part[0] /= parts;
            let transposed = naming.transposed.contains(&name.as_str());
            let (shape, found) = checkpoint.read(&name, &info)?;
            let (shape, found) = if transposed {
                transpose(shape, found)
            } else {
                (shape, found)
            };
            let (shape, found) = if parameter.ends_with("positions") {
                fitted(shape, found, sides)
            } else {
                (shape, found)
            };
            if flat(&shape, part.len()) != part {
                return Err(checkpoint.fail(format!(
                    "{name} has shape {:?}, the backbone needs {part:?}{}",
                    info.shape,
                    if transposed { ", transposed" } else { "" }
                )));
            }
            rows += part[0];
            values.extend(found);
        }
        let shape = [vec![rows], wanted[1..].to_vec()].concat();
        let count = values.len();
        let numbers = Tensor::from_data(TensorData::new(values, [count]), device);
        tensors.insert(parameter, DeviceTensor::Float(numbers, shape));
    }
    left.retain(|name, _| !naming.unused.iter().any(|unused| name.starts_with(unused)));
    if let Some(unknown) = left.keys().min() {
        let count = left.len();
        return Err(checkpoint.fail(format!(
            "{unknown} is unknown ({count} such tensors); it is another model's"
        )));
    }
    fill(module, &[], tensors, &checkpoint.name)
}

/// Returns a shape as `rank` axes: without leading ones, a convolution's kernel as one axis, a scalar as `[1]`.
fn flat(shape: &[usize], rank: usize) -> Vec<usize> {
    match shape {
        [] => vec![1],
        [1, rest @ ..] if rest.len() >= rank => flat(rest, rank),
        [rows, a, b, c] if rank == 2 => vec![*rows, a * b * c],
        shape => shape.to_vec(),
    }
}

fn transpose(shape: Vec<usize>, values: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    let [rows, columns] = shape[..] else {
        return (shape, values);
    };
    let all = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    (vec![columns, rows], all.map(|i| values[i]).collect())
}

/// Interpolates positions `[1 + from^2, d]` to `[1 + to^2, d]`; returns other shapes unchanged, for the shape check to reject.
fn fitted(shape: Vec<usize>, values: Vec<f32>, [from, to]: [usize; 2]) -> (Vec<usize>, Vec<f32>) {
    let shape = flat(&shape, 2);
    match shape[..] {
        [tokens, d] if from != to && tokens == from * from + 1 => {
            let (class, grid) = values.split_at(d);
            let grid = torch_bicubic(grid, d, [from; 2], [to; 2]);
            (vec![to * to + 1, d], [class, &grid].concat())
        }
        _ => (shape, values),
    }
}
