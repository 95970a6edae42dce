//! A new run that starts from trained weights of any encoding, `unireal train --from PACK`: of the same shape, deeper, with more latent
//! channels, patches of one cell or another vocabulary.
//!
//! What is new must not disturb what is there: the last layers of a new block's branches are zero, so that the block passes
//! on what it gets; what reads or predicts a new channel begins as zero; a patch of one cell is read as the patch of which
//! every cell is like it, and predicted as the mean of the patch; and a new token begins as the mean of the tokens into which
//! the old tokenizer divides it.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;

use super::settings::Settings;
use super::{checkpoint, vocabulary};
use crate::float_weights;
use unireal::internals::config::{self, Config};
use unireal::internals::model::text::{self, TextEncoder};
use unireal::internals::model::transformer::{self, Transformer};
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::tokenizer::Tokenizer;
use unireal::internals::weights::module::{CpuTensor, Names, collect};
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Result};

/// The last layers of a block's branches, in the text encoder, the transformer and the autoencoder.
const LAST: [&str; 8] = [
    "SelfAttention.o.weight",
    "DenseReluDense.wo.weight",
    "attention.out.weight",
    "attention.out.bias",
    "mlp.2.weight",
    "mlp.2.bias",
    "conv2.weight",
    "conv2.bias",
];

/// What has an axis of latent channels, or of a patch's values, which are channels first. The encoder's last layer gives
/// means and log variances, one half each; new means begin as a fresh layer's, and with little noise: the decoder does not
/// listen to a channel of noise, and what it does not listen to learns nothing.
const CHANNELS: [&str; 4] = [
    "decoder.conv_in.weight",
    "patch_in.weight",
    "patch_out.weight",
    "patch_out.bias",
];
const HALVES: [&str; 2] = ["encoder.conv_out.weight", "encoder.conv_out.bias"];

/// Log variance of a new channel.
const QUIET: f32 = -6.0;

/// The token embedding.
const EMBEDDING: &str = "shared.weight";

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

    /// The name of its folder in a pack.
    pub fn folder(self) -> &'static str {
        match self {
            Network::Vae => "vae",
            Network::TextEncoder => "text_encoder",
            Network::Transformer => "transformer",
        }
    }
}

/// Writes a new run's folder with the weights of the pack `from`, decoded to f32: of the networks `take`, or of all when none
/// are named.
///
/// # Errors
/// [`Error::Format`] when the pack cannot be read or has a shape that `config` does not continue.
pub(super) fn grow(
    from: &Path,
    take: &[Network],
    run: &Path,
    mut config: Config,
    settings: &Settings,
) -> Result<()> {
    let wanted = |network| take.is_empty() || take.contains(&network);
    let old = Config::read(from)?;
    // The measure of the latents belongs to the weights.
    config.vae.scaling_factor = old.vae.scaling_factor;
    config.vae.shift_factor = old.vae.shift_factor;
    let device = Device::flex();
    // An autoencoder knows no words.
    let vocabularies = if wanted(Network::TextEncoder) || wanted(Network::Transformer) {
        vocabularies(from, run, &config, old.text_encoder.vocab_size, settings)?
    } else {
        None
    };
    let words = |name: &str, old: &CpuTensor, new: &CpuTensor| match (name, &vocabularies) {
        (EMBEDDING, Some(both)) if old.shape[1..] == new.shape[1..] => {
            both.rows(old, new).map(Some)
        }
        _ => Ok(None),
    };
    // Cells of a patch that become one; where patches stay, so do their layers.
    let cells = match (old.transformer.patch_size, config.transformer.patch_size) {
        (patch, 1) => patch * patch,
        _ => 1,
    };
    let channels = |name: &str, old: &CpuTensor, new: &CpuTensor| {
        let cell = cell(name, old, cells);
        let old = cell.as_ref().unwrap_or(old);
        let zero = |mut new: CpuTensor| {
            new.values.fill(0.0);
            new
        };
        let grown = match name {
            _ if CHANNELS.contains(&name) => inside(old, zero(new.clone()), 1),
            _ if HALVES.contains(&name) => inside(old, quiet(new.clone()), 2),
            _ => None,
        };
        Ok(grown)
    };
    if wanted(Network::TextEncoder) {
        let encoder = TextEncoder::new(&config.text_encoder, Encoding::F32, &device);
        component("text_encoder", encoder, text::NAMES, from, run, words)?;
    }
    if wanted(Network::Transformer) {
        let network = Transformer::new(&config.transformer, Encoding::F32, &device);
        let names = transformer::NAMES;
        component("transformer", network, names, from, run, channels)?;
    }
    if wanted(Network::Vae) {
        let autoencoder = Autoencoder::new(&config.vae, Encoding::F32, &device);
        component("vae", autoencoder, vae::NAMES, from, run, channels)?;
    }
    config.write(run)
}

fn wrong(from: &Path, reason: impl std::fmt::Display) -> Error {
    Error::format(from.display().to_string(), reason)
}

/// One network's tensors: the old ones, and `fresh` ones where there are none. `change` may make a new tensor of an old one
/// of another shape.
fn component<M: Module>(
    name: &str,
    fresh: M,
    names: Names,
    from: &Path,
    run: &Path,
    change: impl Fn(&str, &CpuTensor, &CpuTensor) -> Result<Option<CpuTensor>>,
) -> Result<()> {
    let folder = from.join(name);
    let mut old = float_weights::read(&folder)?;
    let mut grown = Vec::new();
    for mut new in collect(&fresh, names)? {
        let Some(old) = old.remove(&new.name) else {
            if LAST.iter().any(|last| new.name.ends_with(last)) {
                new.values.fill(0.0);
            }
            grown.push(new);
            continue;
        };
        grown.push(match change(&new.name, &old, &new)? {
            Some(changed) => changed,
            None if old.shape == new.shape => old,
            None => {
                let (name, old, new) = (&new.name, &old.shape, &new.shape);
                let reason = format!(
                    "{name} is {old:?} where the preset has {new:?}; only depth, latent channels, the number of patches and vocabulary can grow"
                );
                return Err(wrong(&folder, reason));
            }
        });
    }
    if let Some(left) = old.keys().min() {
        let reason = format!(
            "{left} has no place in the preset; only depth, latent channels, the number of patches and vocabulary can grow"
        );
        return Err(wrong(&folder, reason));
    }
    let path = run.join(name).join("model.safetensors");
    checkpoint::write(&path, &checkpoint::bytes(&grown, None)?)
}

/// The layer of a patch's values for patches of one cell, from that for patches of `cells`: what reads them sums over the cells,
/// what predicts them has their mean. `None` for other layers.
fn cell(name: &str, old: &CpuTensor, cells: usize) -> Option<CpuTensor> {
    let (axis, share) = match name {
        "patch_in.weight" => (1, 1.0),
        "patch_out.weight" | "patch_out.bias" => (0, 1.0 / cells as f32),
        _ => return None,
    };
    let inner: usize = old.shape[axis + 1..].iter().product();
    let mut shape = old.shape.clone();
    shape[axis] /= cells;
    let mut values = vec![0f32; shape.iter().product()];
    for (i, value) in old.values.iter().enumerate() {
        let (index, place) = (i / inner, i % inner);
        values[index / cells * inner + place] += value * share;
    }
    let name = old.name.clone();
    Some(CpuTensor {
        name,
        shape,
        values,
    })
}

/// The encoder's last layer with log variances of [`QUIET`].
fn quiet(mut layer: CpuTensor) -> CpuTensor {
    let value = match layer.shape.len() {
        1 => QUIET,
        _ => 0.0,
    };
    let half = layer.values.len() / 2;
    layer.values[half..].fill(value);
    layer
}

/// `new` with the numbers of `old` where it has its place: in the first rows and columns of each of `parts` equal parts of
/// the rows. `None` when it does not fit.
fn inside(old: &CpuTensor, mut new: CpuTensor, parts: usize) -> Option<CpuTensor> {
    let fits = old.shape.len() == new.shape.len()
        && std::iter::zip(&old.shape, &new.shape).all(|(old, new)| old <= new)
        && old.shape[0].is_multiple_of(parts)
        && new.shape[0].is_multiple_of(parts);
    if !fits {
        return None;
    }
    let (old_rows, new_rows) = (old.shape[0] / parts, new.shape[0] / parts);
    for (i, value) in old.values.iter().enumerate() {
        // From the place in `old` to the indices, and from those to the place in `new`.
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

/// Two vocabularies, the old one and the run's; `None` when the run takes over the old one.
fn vocabularies(
    from: &Path,
    run: &Path,
    config: &Config,
    old_size: usize,
    settings: &Settings,
) -> Result<Option<Vocabularies>> {
    let path = from.join("tokenizer/tokenizer.json");
    let bytes = std::fs::read(&path).map_err(|e| wrong(&path, e))?;
    let own = run.join("tokenizer/tokenizer.json");
    let size = config.text_encoder.vocab_size;
    if size == old_size {
        checkpoint::write(&own, &bytes)?;
        return Ok(None);
    }
    vocabulary::of_run(run, &settings.data, size)?;
    let new = std::fs::read(&own).map_err(|e| wrong(&own, e))?;
    let ids = |path: &Path, bytes: &[u8]| {
        let file = path.display().to_string();
        config::parse::<Ids>(&file, bytes).map(|ids| ids.model.vocab)
    };
    Ok(Some(Vocabularies {
        ids: ids(&path, &bytes)?,
        tokenizer: Tokenizer::from_json(&bytes)?,
        new: ids(&own, &new)?,
    }))
}

/// What is read of `tokenizer.json`.
#[derive(serde::Deserialize)]
struct Ids {
    model: Tokens,
}

#[derive(serde::Deserialize)]
struct Tokens {
    vocab: HashMap<String, usize>,
}

struct Vocabularies {
    ids: HashMap<String, usize>,
    tokenizer: Tokenizer,
    new: HashMap<String, usize>,
}

impl Vocabularies {
    /// The new embedding: known tokens as they were, new ones the mean of their parts.
    fn rows(&self, old: &CpuTensor, new: &CpuTensor) -> Result<CpuTensor> {
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
                    // Without the end of the text.
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
