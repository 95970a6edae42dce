//! Initialises a new run with trained weights of any encoding, `unireal train --from PACK`. The run may have the same shape, or be
//! deeper, or have more latent channels, patches of one cell or another vocabulary.
//!
//! New parameters must not disturb the trained ones. The last layers of a new block's branches are zero, so that the block is the
//! identity. The weights that read or predict a new channel are zero. For patches of one cell, the input layer sums the weights of
//! the cells of an old patch, and the output layer averages them. A new token's embedding is the mean of those of the tokens into
//! which the old tokenizer divides it.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use super::settings::Settings;
use super::{checkpoint, initialise, vocabulary};
use crate::float_weights;
use unireal::internals::config::{self, Config};
use unireal::internals::model::text;
use unireal::internals::model::transformer;
use unireal::internals::model::vae;
use unireal::internals::tokenizer::Tokenizer;
use unireal::internals::weights::module::{CpuTensor, Names, collect};
use unireal::{Error, Result};

/// The last layers of a block's branches in the text encoder, the transformer and the autoencoder; zero in new blocks.
const BRANCH_OUTPUTS: [&str; 8] = [
    "SelfAttention.o.weight",
    "DenseReluDense.wo.weight",
    "attention.out.weight",
    "attention.out.bias",
    "mlp.2.weight",
    "mlp.2.bias",
    "conv2.weight",
    "conv2.bias",
];

/// Parameters with an axis of latent channels, or of a patch's values with channels first.
const CHANNEL_PARAMETERS: [&str; 4] = [
    "decoder.conv_in.weight",
    "patch_in.weight",
    "patch_out.weight",
    "patch_out.bias",
];

/// The encoder's last layers, which predict means in one half and log variances in the other. The weights of new means are those of
/// a fresh layer; new log variances are low, because the decoder ignores a noisy channel, which then gets no gradient.
const MOMENT_PARAMETERS: [&str; 2] = ["encoder.conv_out.weight", "encoder.conv_out.bias"];

/// The part of error messages that says what may differ from the preset.
const GROWABLE: &str = "only depth, latent channels, the number of patches and vocabulary can grow";

/// The initial log variance of a new channel.
const NEW_LOG_VARIANCE: f32 = -6.0;

/// The name of the token embedding in a pack.
const TOKEN_EMBEDDING: &str = "shared.weight";

/// The networks of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// The autoencoder
    Vae,
    /// The text encoder
    TextEncoder,
    /// The transformer
    Transformer,
}

impl Network {
    /// Every network.
    pub const ALL: [Network; 3] = [Network::Vae, Network::TextEncoder, Network::Transformer];

    /// Returns the name of the network's folder in a pack.
    pub fn folder(self) -> &'static str {
        match self {
            Network::Vae => "vae",
            Network::TextEncoder => "text_encoder",
            Network::Transformer => "transformer",
        }
    }
}

/// Writes a new run's folder with weights of the pack `from`, decoded to f32: those of `networks`, or of all networks if it is
/// empty.
///
/// # Errors
/// [`Error::Format`] when the pack cannot be read or its shape cannot grow into that of `config`.
pub(super) fn grow(
    from: &Path,
    networks: &[Network],
    run: &Path,
    mut config: Config,
    settings: &Settings,
) -> Result<()> {
    let is_selected = |network| networks.is_empty() || networks.contains(&network);
    let old = Config::read(from)?;
    // Scale and shift of the latents belong to the weights.
    config.vae.scaling_factor = old.vae.scaling_factor;
    config.vae.shift_factor = old.vae.shift_factor;
    if is_selected(Network::TextEncoder) || is_selected(Network::Transformer) {
        let vocabularies = vocabularies(from, run, &config, old.text_encoder.vocab_size, settings)?;
        if is_selected(Network::TextEncoder) {
            grow_text_encoder(from, run, &config, vocabularies)?;
        }
    }
    let convert = |name: &str, old_tensor: &CpuTensor, new: &CpuTensor| {
        Ok(convert_channels(
            name,
            old_tensor,
            new,
            patch_cells(&old, &config),
        ))
    };
    let device = Device::flex();
    if is_selected(Network::Transformer) {
        let network = initialise::transformer(&config.transformer, &device);
        let names = transformer::NAMES;
        write_network("transformer", network, names, from, run, convert)?;
    }
    if is_selected(Network::Vae) {
        let autoencoder = initialise::autoencoder(&config.vae, &device);
        write_network("vae", autoencoder, vae::NAMES, from, run, convert)?;
    }
    config.write(run)
}

/// Writes the text encoder, with an embedding of the run's vocabulary if it differs from the pack's.
fn grow_text_encoder(
    from: &Path,
    run: &Path,
    config: &Config,
    vocabularies: Option<Vocabularies>,
) -> Result<()> {
    let convert = |name: &str, old: &CpuTensor, new: &CpuTensor| match (name, &vocabularies) {
        (TOKEN_EMBEDDING, Some(vocabularies)) if old.shape[1..] == new.shape[1..] => {
            vocabularies.embedding(old, new).map(Some)
        }
        _ => Ok(None),
    };
    let encoder = initialise::text_encoder(&config.text_encoder, &Device::flex());
    write_network("text_encoder", encoder, text::NAMES, from, run, convert)
}

/// Returns the number of cells of an old patch if new patches have one cell; else 1, which leaves the patch layers unchanged.
fn patch_cells(old: &Config, new: &Config) -> usize {
    match (old.transformer.patch_size, new.transformer.patch_size) {
        (patch, 1) => patch * patch,
        _ => 1,
    }
}

/// Converts a parameter with an axis of channels to the shape of `new`, and a patch layer from patches of `cells` cells to patches
/// of one. Returns `None` for other parameters.
fn convert_channels(
    name: &str,
    old: &CpuTensor,
    new: &CpuTensor,
    cells: usize,
) -> Option<CpuTensor> {
    let single_cell = to_single_cell(name, old, cells);
    let old = single_cell.as_ref().unwrap_or(old);
    if CHANNEL_PARAMETERS.contains(&name) {
        let mut zeros = new.clone();
        zeros.values.fill(0.0);
        copy_into(old, zeros, 1)
    } else if MOMENT_PARAMETERS.contains(&name) {
        copy_into(old, with_low_log_variance(new.clone()), 2)
    } else {
        None
    }
}

/// Returns the error for a file or folder of a pack.
fn format_error(from: &Path, reason: impl std::fmt::Display) -> Error {
    Error::format(from.display().to_string(), reason)
}

/// Writes the tensors of one network: the old ones, or those of `fresh` that the pack lacks. `convert` may convert an old tensor
/// to the new shape.
fn write_network<M: Module>(
    name: &str,
    fresh: M,
    names: Names,
    from: &Path,
    run: &Path,
    convert: impl Fn(&str, &CpuTensor, &CpuTensor) -> Result<Option<CpuTensor>>,
) -> Result<()> {
    let folder = from.join(name);
    let mut old = float_weights::read(&folder)?;
    let mut grown = Vec::new();
    for mut new in collect(&fresh, names)? {
        let Some(old) = old.remove(&new.name) else {
            if BRANCH_OUTPUTS
                .iter()
                .any(|output| new.name.ends_with(output))
            {
                new.values.fill(0.0);
            }
            grown.push(new);
            continue;
        };
        grown.push(match convert(&new.name, &old, &new)? {
            Some(converted) => converted,
            None if old.shape == new.shape => old,
            None => {
                let (name, old, new) = (&new.name, &old.shape, &new.shape);
                let reason = format!("{name}: shape {old:?}, expected {new:?}; {GROWABLE}");
                return Err(format_error(&folder, reason));
            }
        });
    }
    if let Some(unused) = old.keys().min() {
        let reason =
            format!("{unused}: not in the preset, expected only its parameters; {GROWABLE}");
        return Err(format_error(&folder, reason));
    }
    let path = run.join(name).join("model.safetensors");
    checkpoint::write(&path, &checkpoint::bytes(&grown, None)?)
}

/// Converts a patch layer from patches of `cells` cells to patches of one cell: the input layer sums its weights over the cells,
/// the output layer averages them. Returns `None` for other layers.
fn to_single_cell(name: &str, old: &CpuTensor, cells: usize) -> Option<CpuTensor> {
    let (axis, factor) = match name {
        "patch_in.weight" => (1, 1.0),
        "patch_out.weight" | "patch_out.bias" => (0, 1.0 / cells as f32),
        _ => return None,
    };
    let inner: usize = old.shape[axis + 1..].iter().product();
    let mut shape = old.shape.clone();
    shape[axis] /= cells;
    let mut values = vec![0f32; shape.iter().product()];
    for (i, value) in old.values.iter().enumerate() {
        let (index, offset) = (i / inner, i % inner);
        values[index / cells * inner + offset] += value * factor;
    }
    let name = old.name.clone();
    Some(CpuTensor {
        name,
        shape,
        values,
    })
}

/// Makes the encoder's last layer predict log variances of [`NEW_LOG_VARIANCE`].
fn with_low_log_variance(mut layer: CpuTensor) -> CpuTensor {
    let value = match layer.shape.len() {
        1 => NEW_LOG_VARIANCE,
        _ => 0.0,
    };
    let half = layer.values.len() / 2;
    layer.values[half..].fill(value);
    layer
}

/// Copies `old` into `new`: divides the rows of both into `parts` equal parts and copies each part to the first rows and columns of
/// its counterpart. Returns `None` if `old` does not fit.
fn copy_into(old: &CpuTensor, mut new: CpuTensor, parts: usize) -> Option<CpuTensor> {
    let fits = old.shape.len() == new.shape.len()
        && std::iter::zip(&old.shape, &new.shape).all(|(old, new)| old <= new)
        && old.shape[0].is_multiple_of(parts)
        && new.shape[0].is_multiple_of(parts);
    if !fits {
        return None;
    }
    let (old_rows, new_rows) = (old.shape[0] / parts, new.shape[0] / parts);
    for (i, value) in old.values.iter().enumerate() {
        // Convert the flat index in `old` to an index per axis, and those to the flat index in `new`.
        let (mut rest, mut at, mut step) = (i, 0, 1);
        for axis in (0..old.shape.len()).rev() {
            let mut index = rest % old.shape[axis];
            rest /= old.shape[axis];
            if axis == 0 {
                index = index / old_rows * new_rows + index % old_rows;
            }
            at += index * step;
            step *= new.shape[axis];
        }
        new.values[at] = *value;
    }
    Some(new)
}

/// Returns the pack's and the run's vocabularies. If their sizes are equal, copies the tokenizer and returns `None`.
fn vocabularies(
    from: &Path,
    run: &Path,
    config: &Config,
    old_size: usize,
    settings: &Settings,
) -> Result<Option<Vocabularies>> {
    let path = from.join("tokenizer/tokenizer.json");
    let bytes = std::fs::read(&path).map_err(|e| format_error(&path, e))?;
    let run_path = run.join("tokenizer/tokenizer.json");
    let size = config.text_encoder.vocab_size;
    if size == old_size {
        checkpoint::write(&run_path, &bytes)?;
        return Ok(None);
    }
    vocabulary::read_or_train(run, &settings.data, size)?;
    let new = std::fs::read(&run_path).map_err(|e| format_error(&run_path, e))?;
    let ids = |path: &Path, bytes: &[u8]| {
        let file = path.display().to_string();
        config::parse::<TokenizerJson>(&file, bytes).map(|ids| ids.model.vocab)
    };
    Ok(Some(Vocabularies {
        ids: ids(&path, &bytes)?,
        tokenizer: Tokenizer::from_json(&bytes)?,
        new: ids(&run_path, &new)?,
    }))
}

/// The fields that are read from `tokenizer.json`.
#[derive(serde::Deserialize)]
struct TokenizerJson {
    model: TokenizerModel,
}

#[derive(serde::Deserialize)]
struct TokenizerModel {
    vocab: HashMap<String, usize>,
}

/// The vocabularies of a pack and of a run.
struct Vocabularies {
    /// The ids of the pack's tokens.
    ids: HashMap<String, usize>,
    /// The pack's tokenizer.
    tokenizer: Tokenizer,
    /// The ids of the run's tokens.
    new: HashMap<String, usize>,
}

impl Vocabularies {
    /// Returns the new embedding: known tokens keep their rows, new ones get the mean of their parts.
    fn embedding(&self, old: &CpuTensor, new: &CpuTensor) -> Result<CpuTensor> {
        let width = new.shape[1];
        let mut grown = CpuTensor {
            name: new.name.clone(),
            shape: new.shape.clone(),
            values: new.values.clone(),
        };
        for (token, &id) in &self.new {
            let parts = match self.ids.get(token) {
                Some(&id) => vec![id],
                None => {
                    let ids = self.tokenizer.encode(token)?.ids;
                    // Without the end-of-text token.
                    ids[..ids.len() - 1].iter().map(|&id| id as usize).collect()
                }
            };
            let fits = parts
                .iter()
                .all(|part| (part + 1) * width <= old.values.len());
            let Some(row) = grown.values.get_mut(id * width..(id + 1) * width) else {
                continue;
            };
            if parts.is_empty() || !fits {
                continue;
            }
            for (k, value) in row.iter_mut().enumerate() {
                let sum: f32 = parts.iter().map(|part| old.values[part * width + k]).sum();
                *value = sum / parts.len() as f32;
            }
        }
        Ok(grown)
    }
}

#[cfg(test)]
mod tests;
