//! Loads networks from a source onto the device, shard by shard. At most three shards are in memory: two being fetched and one being
//! uploaded.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use futures_util::stream::{self, StreamExt};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::manifest::{MAX_JSON, Manifest, ROWS, Shard};
use super::module::{DeviceTensor, Names, fill};
use super::source::{Origin, ShardSource, VerifiedShard};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::model::{Encodings, Model, text, transformer, vae};
use crate::tokenizer::Tokenizer;

/// Number of shards that are fetched in parallel.
const PARALLEL: usize = 2;

/// Bytes of queued uploads, which are copies, at which the device queue is flushed. Without it, the runtime queues 32 tensors of
/// any size.
const WAITING: usize = 4 << 20;

/// The components that hold weights, in the order in which they are loaded.
pub const COMPONENTS: [&str; 3] = ["text_encoder", "transformer", "vae"];

/// The description of a pack, read before any weight is fetched.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The configuration, which determines the shapes.
    pub config: Config,
    /// The tokenizer of the text encoder.
    pub tokenizer: Tokenizer,
    /// The manifest of each of [`COMPONENTS`].
    pub manifests: Vec<Manifest>,
}

/// Progress of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have arrived, including cached ones; never decreases.
    pub loaded: u64,
    /// Bytes of the whole pack; never changes.
    pub total: u64,
    /// Whether the bytes added by this event came from a cache.
    pub cached: bool,
}

impl Plan {
    /// Reads the pack's configuration, tokenizer and manifests.
    ///
    /// # Errors
    /// [`Error::Network`] when a file cannot be fetched, [`Error::Format`] when it is invalid.
    pub async fn read(source: &impl ShardSource) -> Result<Self> {
        let config = Config {
            index: json(source, "model_index.json").await?,
            text_encoder: json(source, "text_encoder/config.json").await?,
            vae: json(source, "vae/config.json").await?,
            transformer: json(source, "transformer/config.json").await?,
            scheduler: json(source, "scheduler/scheduler_config.json").await?,
        }
        .check()?;
        let tokenizer = source.file("tokenizer/tokenizer.json", MAX_JSON).await?;
        let tokenizer = Tokenizer::from_json(&tokenizer)?;
        if tokenizer.size() > config.text_encoder.vocab_size {
            return Err(Error::format(
                "tokenizer/tokenizer.json",
                format!(
                    "has {} tokens, the text encoder's vocab_size is {}",
                    tokenizer.size(),
                    config.text_encoder.vocab_size
                ),
            ));
        }
        let mut manifests = Vec::new();
        for component in COMPONENTS {
            let bytes = source.file(&Manifest::path(component), MAX_JSON).await?;
            manifests.push(Manifest::parse(component, &bytes)?);
        }
        Ok(Plan {
            config,
            tokenizer,
            manifests,
        })
    }

    /// Returns all shards in loading order.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.manifests.iter().flat_map(|manifest| &manifest.shards)
    }

    /// Returns the total size of all shards in bytes.
    pub fn bytes(&self) -> u64 {
        self.manifests.iter().map(Manifest::bytes).sum()
    }

    /// Returns the encoding of each component's matrices.
    pub fn encodings(&self) -> Encodings {
        let [text_encoder, transformer, vae] = [0, 1, 2].map(|i| self.manifests[i].encoding);
        Encodings {
            text_encoder,
            transformer,
            vae,
        }
    }

    /// Loads the networks.
    ///
    /// # Errors
    /// Those of the source; [`Error::Integrity`] when a shard does not match its manifest, [`Error::Format`] when its tensors do not match
    /// the configuration.
    pub async fn load(
        &self,
        source: &impl ShardSource,
        device: &Device,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<Model> {
        let Model {
            text,
            vae,
            transformer,
        } = Model::new(&self.config, self.encodings(), device);
        let mut loader = Loader {
            source,
            device,
            loaded: Cell::new(0),
            total: self.bytes(),
            on_progress: RefCell::new(on_progress),
        };
        let [of_text, of_transformer, of_vae] = [0, 1, 2].map(|i| &self.manifests[i]);
        Ok(Model {
            text: loader.component(text, text::NAMES, of_text).await?,
            transformer: loader
                .component(transformer, transformer::NAMES, of_transformer)
                .await?,
            vae: loader.component(vae, vae::NAMES, of_vae).await?,
        })
    }
}

async fn json<T: serde::de::DeserializeOwned>(source: &impl ShardSource, path: &str) -> Result<T> {
    config::parse(path, &source.file(path, MAX_JSON).await?)
}

struct Loader<'a, S> {
    source: &'a S,
    device: &'a Device,
    loaded: Cell<u64>,
    total: u64,
    on_progress: RefCell<&'a mut dyn FnMut(Progress)>,
}

impl<S: ShardSource> Loader<'_, S> {
    async fn component<M: Module>(
        &mut self,
        module: M,
        names: Names,
        manifest: &Manifest,
    ) -> Result<M> {
        let mut loaded = LoadedTensors::default();
        let mut shards = stream::iter(&manifest.shards)
            .map(|shard| self.fetch_and_cache(shard))
            .buffered(PARALLEL);
        let mut shard_index = 0;
        while let Some(shard) = shards.next().await {
            let shard = shard?;
            loaded.read(manifest, shard_index, shard.bytes(), self.device)?;
            self.source.reuse(shard.into_bytes());
            shard_index += 1;
        }
        drop(shards);
        let file = Manifest::path(&manifest.component);
        if let Some(missing) = manifest.tensors.keys().find(|name| !loaded.contains(name)) {
            return Err(Error::format(
                file,
                format!("promises {missing}, which no shard holds"),
            ));
        }
        fill(module, names, loaded.into_joined(&file)?, &file)
    }

    /// Fetches, verifies and caches a shard. A cached copy that fails verification is fetched once more from the origin.
    async fn fetch_and_cache(&self, shard: &Shard) -> Result<VerifiedShard> {
        let shard = self.fetch_verified(shard).await?;
        self.source.cache(&shard).await;
        Ok(shard)
    }

    async fn fetch_verified(&self, shard: &Shard) -> Result<VerifiedShard> {
        let counted = Cell::new(0);
        let fetched = self.fetch(shard, Origin::Any, &counted).await?;
        let cached = fetched.cached;
        match VerifiedShard::verify(shard, fetched.bytes, self.source).await {
            Err(_) if cached => {
                let fetched = self.fetch(shard, Origin::Fresh, &counted).await?;
                VerifiedShard::verify(shard, fetched.bytes, self.source).await
            }
            result => result,
        }
    }

    async fn fetch(
        &self,
        shard: &Shard,
        origin: Origin,
        counted: &Cell<u64>,
    ) -> Result<super::source::Fetched> {
        let mut arrived = 0;
        // Bytes that arrive a second time do not count as progress.
        let mut report = |piece: super::source::Arrived| {
            arrived = (arrived + piece.bytes).min(shard.length);
            if arrived > counted.get() {
                self.loaded.set(self.loaded.get() + arrived - counted.get());
                counted.set(arrived);
                (self.on_progress.borrow_mut())(Progress {
                    loaded: self.loaded.get(),
                    total: self.total,
                    cached: piece.cached,
                });
            }
        };
        self.source.shard(shard, origin, &mut report).await
    }
}

/// The tensors of a component that are loaded so far.
#[derive(Default)]
struct LoadedTensors {
    tensors: HashMap<String, DeviceTensor>,
    /// Parts of tensors that are split by rows, keyed by first row.
    parts: HashMap<String, BTreeMap<usize, DeviceTensor>>,
    /// Bytes uploaded since the last flush of the device queue.
    waiting: usize,
}

impl LoadedTensors {
    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
            || split(name).is_some_and(|(whole, first)| {
                let parts = self.parts.get(whole);
                parts.is_some_and(|parts| parts.contains_key(&first))
            })
    }

    /// Uploads the tensors of one shard.
    fn read(
        &mut self,
        manifest: &Manifest,
        shard_index: usize,
        bytes: &[u8],
        device: &Device,
    ) -> Result<()> {
        let file = &manifest.shards[shard_index].path;
        let shard = SafeTensors::deserialize(bytes).map_err(|e| Error::format(file, e))?;
        for (name, view) in shard.iter() {
            if manifest.tensors.get(name) != Some(&shard_index) {
                return Err(Error::format(
                    file,
                    format!("holds {name}, which the index does not place there"),
                ));
            }
            let tensor = upload(file, name, &view, device)?;
            self.waiting += view.data().len();
            if self.waiting >= WAITING {
                let sent = device.flush();
                sent.map_err(|e| Error::DeviceLost(format!("uploading {name}: {e:?}")))?;
                self.waiting = 0;
            }
            match split(name) {
                Some((whole, first)) => {
                    let parts = self.parts.entry(whole.to_owned()).or_default();
                    parts.insert(first, tensor);
                }
                None => {
                    self.tensors.insert(name.to_owned(), tensor);
                }
            }
        }
        Ok(())
    }

    /// Returns all tensors, with split ones joined.
    fn into_joined(self, file: &str) -> Result<HashMap<String, DeviceTensor>> {
        let mut tensors = self.tensors;
        for (name, parts) in self.parts {
            let joined = join(parts).map_err(|reason| {
                Error::format(file, format!("the rows of {name} do not fit: {reason}"))
            })?;
            if tensors.insert(name.clone(), joined).is_some() {
                return Err(Error::format(
                    file,
                    format!("{name} is there whole and in rows"),
                ));
            }
        }
        Ok(tensors)
    }
}

/// Splits the name of a part into the tensor's name and the part's first row.
fn split(name: &str) -> Option<(&str, usize)> {
    let (whole, first) = name.rsplit_once(ROWS)?;
    first.parse().ok().map(|first| (whole, first))
}

/// Concatenates parts along the first axis.
fn join(parts: BTreeMap<usize, DeviceTensor>) -> std::result::Result<DeviceTensor, String> {
    let (mut floats, mut packed) = (Vec::new(), Vec::new());
    let (mut rows, mut rest) = (0, None);
    for (first, part) in parts {
        let (DeviceTensor::Float(_, shape) | DeviceTensor::Packed(_, shape)) = &part;
        let Some((&count, row)) = shape.split_first() else {
            return Err("a part is a single number".into());
        };
        if first != rows {
            return Err(format!(
                "a part begins at row {first}, {rows} came before it"
            ));
        }
        let rest = rest.get_or_insert_with(|| row.to_vec());
        if *rest != row {
            return Err(format!("parts have rows of {row:?} and {rest:?}"));
        }
        rows += count;
        match part {
            DeviceTensor::Float(flat, _) => floats.push(flat),
            DeviceTensor::Packed(flat, _) => packed.push(flat),
        }
    }
    let shape = [vec![rows], rest.unwrap_or_default()].concat();
    match (floats.is_empty(), packed.is_empty()) {
        (false, true) => Ok(DeviceTensor::Float(Tensor::cat(floats, 0), shape)),
        (true, false) => Ok(DeviceTensor::Packed(Tensor::cat(packed, 0), shape)),
        _ => {
            Err("its parts have different types, expected all floats or all packed integers".into())
        }
    }
}

/// Uploads one tensor to the device: floats as f32, packed integers unchanged, scales as two per 32-bit word.
fn upload(file: &str, name: &str, view: &TensorView<'_>, device: &Device) -> Result<DeviceTensor> {
    let bad = |reason: String| Error::format(file, format!("{name} {reason}"));
    let shape = view.shape().to_vec();
    if shape.contains(&0) {
        return Err(bad(format!("has shape {shape:?}; no axis may be empty")));
    }
    let f16_values = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    if name.split(ROWS).next().unwrap_or(name).ends_with(".scales") {
        let (Dtype::F16, &[rows, columns]) = (view.dtype(), shape.as_slice()) else {
            return Err(bad(format!(
                "is {:?} {shape:?}; scales are F16 [out, in / 32]",
                view.dtype()
            )));
        };
        if let Some(scale) = f16_values()
            .map(f16::from_le_bytes)
            .find(|scale| !scale.is_finite())
        {
            return Err(bad(format!("holds {scale}; scales are finite")));
        }
        if columns % 2 == 1 {
            return Err(bad(format!("has {columns} columns; they come in pairs")));
        }
        return Ok(packed(view.data(), vec![rows, columns / 2], device));
    }
    let values: Vec<f32> = match view.dtype() {
        Dtype::U32 => return Ok(packed(view.data(), shape, device)),
        Dtype::F32 => {
            let quads = view.data().chunks_exact(4);
            quads
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        }
        Dtype::F16 => f16_values()
            .map(|b| f16::from_le_bytes(b).to_f32())
            .collect(),
        Dtype::BF16 => f16_values()
            .map(|b| bf16::from_le_bytes(b).to_f32())
            .collect(),
        other => {
            return Err(bad(format!(
                "is {other:?}; F32, F16, BF16 and packed U32 are read"
            )));
        }
    };
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(bad(format!("holds {value}; weights are finite")));
    }
    let count = values.len();
    let flat = Tensor::from_data(TensorData::new(values, [count]), device);
    Ok(DeviceTensor::Float(flat, shape))
}

fn packed(bytes: &[u8], shape: Vec<usize>, device: &Device) -> DeviceTensor {
    let packed: Vec<i32> = bytes
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let count = packed.len();
    let flat: Tensor<1, Int> = Tensor::from_data(TensorData::new(packed, [count]), device);
    DeviceTensor::Packed(flat, shape)
}
