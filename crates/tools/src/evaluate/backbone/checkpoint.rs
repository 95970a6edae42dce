//! Loads published weights into a backbone, under the tensor names of transformers or of the original code (openai's CLIP,
//! DINO's hub, timm).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::super::resample::torch_bicubic;
use crate::pack::Checkpoint;
use unireal::internals::weights::module::{DeviceTensor, Names, fill, shapes};
use unireal::{Error, Result};

/// The tensor names of a checkpoint.
pub(super) struct Naming {
    /// A tensor name that occurs in no other naming.
    marker: &'static str,
    /// Replacements from this crate's parameter paths to the checkpoint's names; `{qkv}` stands for each name in `qkv`.
    names: Names,
    /// Names of queries, keys and values where they are three tensors.
    qkv: &'static [&'static str],
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
        qkv: &["q", "k", "v"],
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
        qkv: &[],
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
        qkv: &["query", "key", "value"],
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
        qkv: &["query", "key", "value"],
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
        qkv: &[],
        transposed: &[],
        unused: &["mask_token", "head."],
    },
];

impl Naming {
    /// Returns the names of the checkpoint's tensors that make up a parameter.
    pub(super) fn sources(&self, parameter: &str) -> Vec<String> {
        let name = renamed(parameter, self.names);
        if name.contains("{qkv}") {
            let qkv = self.qkv.iter();
            qkv.map(|one| name.replace("{qkv}", one)).collect()
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

/// The weights file of a folder; its tensors are read one at a time.
struct Weights {
    /// Path of the file, for error messages.
    path: String,
    reader: Checkpoint,
    /// Shapes of the tensors that are not read yet.
    shapes: HashMap<String, Vec<usize>>,
}

impl Weights {
    /// Opens `model.safetensors`, or the only safetensors file of the folder.
    fn open(folder: &Path) -> Result<Self> {
        let (path, index) = weights_file(folder)?;
        let path = path.display().to_string();
        let mut reader = Checkpoint::open(folder)?;
        let (file, start, metadata) = &reader.files[index];
        let size = file.metadata().map_err(|e| Error::format(&path, e))?.len();
        let expected = start + metadata.data_len() as u64;
        if size != expected {
            return Err(Error::format(
                &path,
                format!("size: {size} bytes, expected {expected} as its header says"),
            ));
        }
        let shapes: HashMap<String, Vec<usize>> = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.shape.clone()))
            .collect();
        // Other files of the folder may store tensors under the same names.
        reader.tensors = shapes.keys().map(|name| (name.clone(), index)).collect();
        Ok(Weights {
            path,
            reader,
            shapes,
        })
    }

    fn fail(&self, reason: impl ToString) -> Error {
        Error::format(&self.path, reason)
    }

    /// Reads a tensor and returns its stored shape and its values; `None` if the file has no such tensor.
    fn take(&mut self, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(shape) = self.shapes.remove(name) else {
            return Ok(None);
        };
        let values = self.reader.tensor(name, &shape)?.values;
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(self.fail(format!("{name}: {value}, expected finite weights"))),
            None => Ok(Some((shape, values))),
        }
    }
}

/// Returns the path of the weights file in a folder, and its index among the folder's sorted safetensors files.
fn weights_file(folder: &Path) -> Result<(PathBuf, usize)> {
    let fail = |reason: &dyn std::fmt::Display| Error::format(folder.display().to_string(), reason);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| fail(&e))? {
        paths.push(entry.map_err(|e| fail(&e))?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    let named = paths
        .iter()
        .position(|path| path.ends_with("model.safetensors"));
    match (named, paths.len()) {
        (Some(index), _) => Ok((paths.swap_remove(index), index)),
        (None, 1) => Ok((paths.remove(0), 0)),
        (None, count) => Err(fail(&format!(
            "weights: {count} safetensors files, expected one, or one named model.safetensors"
        ))),
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
    let mut weights = Weights::open(folder)?;
    let naming = namings
        .iter()
        .find(|naming| weights.shapes.contains_key(naming.marker));
    let naming = naming.ok_or_else(|| {
        let markers: Vec<&str> = namings.iter().map(|naming| naming.marker).collect();
        let markers = markers.join(", ");
        weights.fail(format!(
            "another model's tensors, expected one of {markers}"
        ))
    })?;
    let mut tensors = HashMap::new();
    for (parameter, shape) in shapes(&module, &[]) {
        let values = parameter_values(&mut weights, naming, &parameter, &shape, sides)?;
        let count = values.len();
        let values = Tensor::from_data(TensorData::new(values, [count]), device);
        tensors.insert(parameter, DeviceTensor::Float(values, shape));
    }
    let is_unused = |name: &str| naming.unused.iter().any(|unused| name.starts_with(unused));
    let mut unknown: Vec<&String> = weights.shapes.keys().collect();
    unknown.retain(|name| !is_unused(name));
    if let Some(first) = unknown.iter().min() {
        return Err(weights.fail(format!(
            "{first}: one of {} unknown tensors, expected only those of this backbone",
            unknown.len()
        )));
    }
    fill(module, &[], tensors, &weights.path)
}

/// Reads the values of a parameter of this shape from the one or more tensors that store it.
fn parameter_values(
    weights: &mut Weights,
    naming: &Naming,
    parameter: &str,
    shape: &[usize],
    sides: [usize; 2],
) -> Result<Vec<f32>> {
    let sources = naming.sources(parameter);
    let mut expected = shape.to_vec();
    expected[0] /= sources.len();
    let mut all = Vec::new();
    for name in sources {
        let Some((stored_shape, values)) = weights.take(&name)? else {
            return Err(weights.fail(format!("{name}: missing, expected shape {expected:?}")));
        };
        let transposed = naming.transposed.contains(&name.as_str());
        let (mut found, mut values) = if transposed {
            transpose(stored_shape.clone(), values)
        } else {
            (stored_shape.clone(), values)
        };
        if parameter.ends_with("positions") {
            (found, values) = interpolated(found, values, sides);
        }
        if flat(&found, expected.len()) != expected {
            return Err(weights.fail(format!(
                "{name}: shape {stored_shape:?}, expected {expected:?}{}",
                if transposed { " transposed" } else { "" }
            )));
        }
        all.extend(values);
    }
    Ok(all)
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
    let order = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    (vec![columns, rows], order.map(|i| values[i]).collect())
}

/// Interpolates positions `[1 + from^2, d]` to `[1 + to^2, d]`; returns other shapes unchanged, for the shape check to reject.
fn interpolated(
    shape: Vec<usize>,
    values: Vec<f32>,
    [from, to]: [usize; 2],
) -> (Vec<usize>, Vec<f32>) {
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
