//! `unireal pack` and `unireal inspect`: converts checkpoints to packs for any static host, and reports the contents of packs.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde::Serialize;

use crate::arguments;
use crate::location::Location;
use crate::train::start::TRAINING;
use unireal::internals::config::Config;
use unireal::internals::model::{Encodings, Model, text, transformer, vae};
use unireal::internals::tokenizer::Tokenizer;
use unireal::internals::weights::load::{COMPONENTS, Plan};
use unireal::internals::weights::manifest::{MAX_JSON, MAX_SHARD};
use unireal::internals::weights::module::{CpuTensor, shapes};
use unireal::internals::weights::quant::Encoding;
use unireal::internals::weights::save::{Writer, packed_name};
use unireal::internals::weights::source::{Origin, ShardSource, VerifiedShard};
use unireal::{Error, Result};

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
/// [`Error::Format`] with the file or tensor that is missing or invalid.
pub fn pack(options: &PackOptions) -> Result<()> {
    let (input, output) = (&options.input, &options.output);
    let config = Config::read(input)?;
    let chosen = |component: Option<Encoding>| component.unwrap_or(options.encoding);
    let encodings = Encodings {
        text_encoder: chosen(options.text_encoder),
        transformer: chosen(options.transformer),
        vae: chosen(options.vae),
    };
    let device = burn::tensor::Device::flex();
    let float = Model::new(&config, Encodings::FLOAT, &device);
    let packed = Model::new(&config, encodings, &device);
    let [t, d, v] = COMPONENTS;
    let components = [
        (
            t,
            encodings.text_encoder,
            shapes(&float.text, text::NAMES),
            shapes(&packed.text, text::NAMES),
        ),
        (
            d,
            encodings.transformer,
            shapes(&float.transformer, transformer::NAMES),
            shapes(&packed.transformer, transformer::NAMES),
        ),
        (
            v,
            encodings.vae,
            shapes(&float.vae, vae::NAMES),
            shapes(&packed.vae, vae::NAMES),
        ),
    ];
    let tokenizer = input.join("tokenizer/tokenizer.json");
    let json = if options.partial && !tokenizer.exists() {
        None
    } else {
        let name = tokenizer.display().to_string();
        let json = std::fs::read(&tokenizer).map_err(|e| Error::format(&name, e))?;
        Tokenizer::from_json(&json)?;
        Some(json)
    };
    for (component, encoding, wanted, stored) in components {
        if options.partial && !has_weights(&input.join(component)) {
            eprintln!("{component}: no weights yet");
            continue;
        }
        let names: HashSet<String> = stored.into_iter().map(|(name, _)| name).collect();
        let mut checkpoint = Checkpoint::open(&input.join(component))?;
        let mut writer = Writer::new(output, component, encoding, options.shard_bytes)?;
        for (name, shape) in &wanted {
            let tensor = checkpoint.tensor(name, shape)?;
            writer.add(&tensor, names.contains(&packed_name(name)))?;
        }
        writer.finish()?;
        let unused = checkpoint.tensors.len() - wanted.len();
        if unused > 0 {
            eprintln!(
                "{component}: {unused} tensors of the checkpoint are not part of the model and were left out"
            );
        }
    }
    carry_progress(input, output)?;
    config.write(output)?;
    let Some(json) = json else {
        return Ok(());
    };
    let target = output.join("tokenizer/tokenizer.json");
    let put = || {
        std::fs::create_dir_all(output.join("tokenizer"))?;
        std::fs::write(&target, &json)
    };
    put().map_err(|e| Error::format(target.display().to_string(), e))
}

/// Returns whether a component's folder has safetensors files.
pub(super) fn has_weights(folder: &Path) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|entry| {
            entry
                .path()
                .extension()
                .map(|ending| ending == "safetensors")
        })
        .any(|found| found)
}

/// Copies a run's `training.json`, so that training can resume from the pack; without one, removes that of an earlier pack.
fn carry_progress(input: &Path, output: &Path) -> Result<()> {
    let (from, to) = (input.join(TRAINING), output.join(TRAINING));
    let done = if from == to {
        Ok(())
    } else if from.exists() {
        std::fs::copy(&from, &to).map(drop)
    } else if to.exists() {
        std::fs::remove_file(&to)
    } else {
        Ok(())
    };
    done.map_err(|e| Error::io(&to, e))
}

/// The safetensors files of a component; tensors are read one at a time.
struct Checkpoint {
    folder: PathBuf,
    files: Vec<(File, u64, Metadata)>,
    /// Index of each tensor's file.
    tensors: BTreeMap<String, usize>,
}

impl Checkpoint {
    fn open(folder: &Path) -> Result<Self> {
        let name = folder.display().to_string();
        let fail = |e: std::io::Error| Error::format(&name, e);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path
                .extension()
                .is_some_and(|ending| ending == "safetensors")
            {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            return Err(Error::format(&name, "holds no .safetensors file"));
        }
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let name = path.display().to_string();
            let fail = |e: std::io::Error| Error::format(&name, e);
            let mut file = File::open(&path).map_err(fail)?;
            let mut length = [0; 8];
            file.read_exact(&mut length).map_err(fail)?;
            let length = u64::from_le_bytes(length);
            if length > MAX_JSON * 8 {
                return Err(Error::format(
                    &name,
                    format!("has a header of {length} bytes"),
                ));
            }
            let mut header = vec![0; length as usize];
            file.read_exact(&mut header).map_err(fail)?;
            let metadata: Metadata = unireal::internals::config::parse(&name, &header)?;
            for tensor in metadata.tensors().into_keys() {
                tensors.insert(tensor, files.len());
            }
            files.push((file, 8 + length, metadata));
        }
        Ok(Checkpoint {
            folder: folder.to_owned(),
            files,
            tensors,
        })
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<CpuTensor> {
        let folder = self.folder.display().to_string();
        let bad = |reason: String| Error::format(&folder, reason);
        let place = *self
            .tensors
            .get(name)
            .ok_or_else(|| bad(format!("{name} is missing")))?;
        let (file, start, metadata) = &mut self.files[place];
        let info = metadata
            .info(name)
            .ok_or_else(|| bad(format!("{name} is missing")))?;
        // Converted checkpoints may store 1x1 convolutions as matrices, or matrices as 1x1 convolutions.
        let squeezed = |shape: &[usize]| {
            shape
                .iter()
                .copied()
                .filter(|n| *n != 1)
                .collect::<Vec<_>>()
        };
        if squeezed(&info.shape) != squeezed(shape) {
            return Err(bad(format!(
                "{name} has shape {:?}, the configuration needs {shape:?}",
                info.shape
            )));
        }
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        file.seek(SeekFrom::Start(*start + begin as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| bad(format!("{name}: {e}")))?;
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let values = match info.dtype {
            Dtype::F32 => {
                let chunks = bytes.chunks_exact(4);
                chunks
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect()
            }
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                return Err(bad(format!(
                    "{name} is {other:?}; F32, F16 and BF16 are read"
                )));
            }
        };
        Ok(CpuTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values,
        })
    }
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
