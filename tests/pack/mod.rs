//! A small pack with random weights in memory, for tests of loading and of malformed bytes.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use safetensors::tensor::{Dtype, TensorView};
use unireal::internals::config::Config;
use unireal::internals::model::{text, transformer, vae};
use unireal::internals::weights::manifest::Shard;
use unireal::internals::weights::module::{CpuTensor, Names, collect};
use unireal::internals::weights::quant::Encoding;
use unireal::internals::weights::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};
use unireal::{Error, Result};
use unireal_tabletop::text::corpus;
use unireal_tools::pack::{PackOptions, pack};
use unireal_tools::train::initialise;
use unireal_tools::train::vocabulary::vocabulary;

/// Returns the smallest configuration that has every component.
pub(crate) fn small() -> Config {
    let mut config = Config::tiny();
    config.text_encoder.d_model = 64;
    config.text_encoder.num_layers = 1;
    config.text_encoder.d_ff = 64;
    config.text_encoder.num_heads = 2;
    config.transformer.text_dim = 64;
    config.transformer.hidden_size = 64;
    config.transformer.num_attention_heads = 2;
    config.transformer.num_layers = 1;
    config.vae.block_out_channels = vec![4, 4, 8, 8];
    config.check().expect("a sound configuration")
}

/// Writes a checkpoint with fresh random weights and returns them.
pub(crate) fn checkpoint(config: &Config, folder: &Path) -> BTreeMap<String, CpuTensor> {
    config.write(folder).expect("a folder that can be written");
    let device = Device::flex();
    let model = initialise::model(config, &device);
    let mut all = BTreeMap::new();
    let mut component = |name: &str, tensors: Vec<CpuTensor>| {
        let views = tensors.iter().map(|t| {
            let bytes = bytemuck::cast_slice(&t.values);
            (
                &t.name,
                TensorView::new(Dtype::F32, t.shape.clone(), bytes).expect("a whole tensor"),
            )
        });
        let bytes = safetensors::serialize(views, None).expect("tensors");
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("model.safetensors"), bytes).expect("a file");
        for tensor in tensors {
            all.insert(format!("{name}/{}", tensor.name), tensor);
        }
    };
    component("text_encoder", tensors(&model.text, text::NAMES));
    component(
        "transformer",
        tensors(&model.transformer, transformer::NAMES),
    );
    component("vae", tensors(&model.vae, vae::NAMES));
    let json = vocabulary(&corpus(0, 500), config.text_encoder.vocab_size);
    std::fs::create_dir_all(folder.join("tokenizer")).expect("a folder");
    let path = folder.join("tokenizer/tokenizer.json");
    std::fs::write(path, json.expect("a vocabulary")).expect("a file");
    all
}

/// Returns a module's float parameters.
pub(crate) fn tensors<M: Module>(module: &M, names: Names) -> Vec<CpuTensor> {
    collect(module, names).expect("tensors on the CPU")
}

/// Packs a checkpoint.
pub(crate) fn packed(
    input: &Path,
    output: &Path,
    encoding: Encoding,
    shard_bytes: u64,
) -> Result<()> {
    pack(&PackOptions {
        input: input.to_owned(),
        output: output.to_owned(),
        encoding,
        text_encoder: None,
        transformer: None,
        vae: None,
        partial: false,
        shard_bytes,
    })
}

/// A pack in memory whose files tests can modify.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// Reads every file of a folder.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).expect("inside");
                    let name = name.to_string_lossy().replace('\\', "/");
                    files.insert(name, std::fs::read(&path).expect("a file"));
                }
            }
        }
        Memory { files }
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| Error::Network {
            url: path.to_owned(),
            reason: "404".to_owned(),
        })
    }
}

impl ShardSource for Memory {
    async fn file(&self, path: &str, _: u64) -> Result<Vec<u8>> {
        self.get(path)
    }

    async fn shard(
        &self,
        shard: &Shard,
        _: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        let bytes = self.get(&shard.path)?;
        let (count, cached) = (bytes.len() as u64, false);
        arrived(Arrived {
            bytes: count,
            cached,
        });
        Ok(Fetched { bytes, cached })
    }

    async fn cache(&self, _: &VerifiedShard) {}
}
