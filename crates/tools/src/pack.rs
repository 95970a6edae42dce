//! `unireal pack` and `unireal inspect`: converts checkpoints to packs for any static host, and reports the contents of packs.

mod checkpoint;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::arguments;
use crate::location::Location;
use crate::train::start::TRAINING;
use unireal::internals::config::Config;
use unireal::internals::model::{Encodings, Model, text, transformer, vae};
use unireal::internals::tokenizer::Tokenizer;
use unireal::internals::weights::load::{COMPONENTS, Plan};
use unireal::internals::weights::manifest::MAX_SHARD;
use unireal::internals::weights::module::shapes;
use unireal::internals::weights::quant::Encoding;
use unireal::internals::weights::save::{Writer, packed_name};
use unireal::internals::weights::source::{Origin, ShardSource, VerifiedShard};
use unireal::{Error, Result};

pub(crate) use checkpoint::Checkpoint;

/// Options of `unireal pack`.
#[derive(Clone, Debug, clap::Args)]
pub struct PackOptions {
    /// Folder in diffusers' layout with safetensors files, such as a training run
    #[arg(value_name = "CHECKPOINT")]
    pub input: PathBuf,
    /// Output folder of the pack
    #[arg(value_name = "PACK")]
    pub output: PathBuf,
    /// Encoding of matrices
    #[arg(long, default_value = "q8", value_parser = arguments::encoding())]
    pub encoding: Encoding,
    /// Encoding of the text encoder, if different
    #[arg(long, value_parser = arguments::encoding())]
    pub text_encoder: Option<Encoding>,
    /// Encoding of the transformer, if different
    #[arg(long, value_parser = arguments::encoding())]
    pub transformer: Option<Encoding>,
    /// Encoding of the autoencoder, if different
    #[arg(long, value_parser = arguments::encoding())]
    pub vae: Option<Encoding>,
    /// Pack only the networks that the run has so far, to resume training from; no pipeline can load such a pack
    #[arg(long)]
    pub partial: bool,
    /// Maximum bytes per shard
    #[arg(long, default_value_t = MAX_SHARD)]
    pub shard_bytes: u64,
}

/// Options of `unireal inspect`.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectOptions {
    /// Folder of the pack
    #[arg(value_name = "PACK")]
    pub pack: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// The contents of a pack.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The pack's name.
    pub name: String,
    /// Side of the images that the model was trained on, in pixels.
    pub sample_size: usize,
    /// Vocabulary size of the tokenizer.
    pub tokens: usize,
    /// Total bytes of all shards.
    pub bytes: u64,
    /// The components by name.
    pub components: BTreeMap<String, ComponentReport>,
}

/// The contents of a component, whose shards are verified.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// Encoding of its matrices.
    pub encoding: Encoding,
    /// Number of parameters of the model, not of the file.
    pub parameters: usize,
    /// Number of tensors in the file.
    pub tensors: usize,
    /// Number of shards.
    pub shards: usize,
    /// Total bytes of its shards.
    pub bytes: u64,
}

/// Converts a checkpoint to a pack.
///
/// # Errors
/// [`Error::Format`] or [`Error::Io`] with the file or tensor that is missing or invalid.
pub fn pack(options: &PackOptions) -> Result<()> {
    let (input, output) = (&options.input, &options.output);
    let config = Config::read(input)?;
    let or_default = |component: Option<Encoding>| component.unwrap_or(options.encoding);
    let encodings = Encodings {
        text_encoder: or_default(options.text_encoder),
        transformer: or_default(options.transformer),
        vae: or_default(options.vae),
    };
    let tokenizer = read_tokenizer(input, options.partial)?;
    for component in components(&config, encodings) {
        if options.partial && !has_weights(&input.join(component.name))? {
            eprintln!("{}: no weights yet", component.name);
            continue;
        }
        pack_component(&component, options)?;
    }
    copy_training_json(input, output)?;
    config.write(output)?;
    let Some(tokenizer) = tokenizer else {
        return Ok(());
    };
    let folder = output.join("tokenizer");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, &tokenizer).map_err(|e| Error::io(&path, e))
}

/// A network to pack.
struct Component {
    name: &'static str,
    encoding: Encoding,
    /// Names and shapes of its tensors in the checkpoint.
    tensors: Vec<(String, Vec<usize>)>,
    /// Names of its tensors in the pack.
    stored_names: HashSet<String>,
}

fn components(config: &Config, encodings: Encodings) -> [Component; 3] {
    let device = burn::tensor::Device::flex();
    let as_checkpoint = Model::new(config, Encodings::FLOAT, &device);
    let as_pack = Model::new(config, encodings, &device);
    let [text_encoder, transformer, vae] = COMPONENTS;
    let names = |shapes: Vec<(String, Vec<usize>)>| shapes.into_iter().map(|(name, _)| name);
    [
        Component {
            name: text_encoder,
            encoding: encodings.text_encoder,
            tensors: shapes(&as_checkpoint.text, text::NAMES),
            stored_names: names(shapes(&as_pack.text, text::NAMES)).collect(),
        },
        Component {
            name: transformer,
            encoding: encodings.transformer,
            tensors: shapes(&as_checkpoint.transformer, transformer::NAMES),
            stored_names: names(shapes(&as_pack.transformer, transformer::NAMES)).collect(),
        },
        Component {
            name: vae,
            encoding: encodings.vae,
            tensors: shapes(&as_checkpoint.vae, vae::NAMES),
            stored_names: names(shapes(&as_pack.vae, vae::NAMES)).collect(),
        },
    ]
}

/// Reads and checks the tokenizer of a checkpoint; `None` if there is none yet and `partial` allows it.
fn read_tokenizer(checkpoint: &Path, partial: bool) -> Result<Option<Vec<u8>>> {
    let path = checkpoint.join("tokenizer/tokenizer.json");
    if partial && !path.exists() {
        return Ok(None);
    }
    let json = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    Tokenizer::from_json(&json)?;
    Ok(Some(json))
}

fn pack_component(component: &Component, options: &PackOptions) -> Result<()> {
    let Component { name, encoding, .. } = component;
    let mut checkpoint = Checkpoint::open(&options.input.join(name))?;
    let mut writer = Writer::new(&options.output, name, *encoding, options.shard_bytes)?;
    for (tensor, shape) in &component.tensors {
        let quantized = component.stored_names.contains(&packed_name(tensor));
        writer.add(&checkpoint.tensor(tensor, shape)?, quantized)?;
    }
    writer.finish()?;
    let unused = checkpoint.tensors.len() - component.tensors.len();
    if unused > 0 {
        eprintln!(
            "{name}: left out {unused} tensors of the checkpoint, which the model does not have"
        );
    }
    Ok(())
}

/// Returns whether a component's folder has safetensors files; false if there is no folder.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub(super) fn has_weights(folder: &Path) -> Result<bool> {
    let fail = |e| Error::io(folder, e);
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(fail)?,
    };
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Copies a run's `training.json`, so that training can resume from the pack; without one, removes that of an earlier pack.
fn copy_training_json(input: &Path, output: &Path) -> Result<()> {
    let (from, to) = (input.join(TRAINING), output.join(TRAINING));
    let result = if from == to {
        Ok(())
    } else if from.exists() {
        std::fs::copy(&from, &to).map(drop)
    } else if to.exists() {
        std::fs::remove_file(&to)
    } else {
        Ok(())
    };
    result.map_err(|e| Error::io(&to, e))
}

/// Reads and verifies a whole pack.
///
/// # Errors
/// Errors of the loader.
pub fn inspect(options: &InspectOptions) -> Result<Report> {
    pollster::block_on(async {
        let source = Location::folder(&options.pack);
        let plan = Plan::read(&source).await?;
        for shard in plan.shards() {
            let fetched = source.shard(shard, Origin::Any, &mut |_| {}).await?;
            VerifiedShard::verify(shard, fetched.bytes, &source).await?;
        }
        let float = Model::new(
            &plan.config,
            Encodings::FLOAT,
            &burn::tensor::Device::flex(),
        );
        let parameters = [
            shapes(&float.text, text::NAMES),
            shapes(&float.transformer, transformer::NAMES),
            shapes(&float.vae, vae::NAMES),
        ]
        .map(|all| {
            all.iter()
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum()
        });
        let components = plan
            .manifests
            .iter()
            .zip(parameters)
            .map(|(manifest, parameters)| {
                let report = ComponentReport {
                    encoding: manifest.encoding,
                    parameters,
                    tensors: manifest.tensors.len(),
                    shards: manifest.shards.len(),
                    bytes: manifest.bytes(),
                };
                (manifest.component.clone(), report)
            });
        Ok(Report {
            name: plan.config.index.name.clone(),
            sample_size: plan.config.index.sample_size,
            tokens: plan.tokenizer.size(),
            bytes: plan.bytes(),
            components: components.collect(),
        })
    })
}

/// Prints the contents of a pack.
///
/// # Errors
/// Those of [`inspect`].
pub fn run_inspect(options: &InspectOptions) -> Result<()> {
    let report = inspect(options)?;
    if options.json {
        let json = serde_json::to_string_pretty(&report);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
        return Ok(());
    }
    say!(
        "{}: {} px, {} tokens, {:.2} MB, every shard verified",
        report.name,
        report.sample_size,
        report.tokens,
        report.bytes as f64 / 1e6
    );
    for (name, c) in &report.components {
        say!(
            "  {name}: {}, {:.2} M parameters in {} tensors and {} shards, {:.2} MB, {:.1} bits a parameter",
            c.encoding,
            c.parameters as f64 / 1e6,
            c.tensors,
            c.shards,
            c.bytes as f64 / 1e6,
            c.bytes as f64 * 8.0 / c.parameters as f64
        );
    }
    Ok(())
}
