//! Latents cached on disk. Each shard is encoded once per autoencoder and size: one file holds its latents as 16-bit floats, a JSON
//! index its samples' texts and offsets. A restart reads the index; training reads latents when it draws them, so that a sample
//! takes about a kilobyte of memory, whatever the size of its images.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use burn::tensor::{Device, Tensor};
use half::f16;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::data::shard::{self, EncodedSample, Picture};
use crate::data::{Kind, Sample};
use crate::train::checkpoint;
use unireal::Image;
use unireal::internals::config::Config;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::pipeline::fitted;
use unireal::internals::weights::module::collect;
use unireal::{Error, Result};
use unireal::{Role, Tag};

/// Batch size of the encoder.
const CHUNK: usize = 16;

/// Mean absolute difference of a cell's values, in levels of 255, above which the cell counts as changed. It exceeds the noise of
/// a path tracer or a video in static regions.
const CHANGED: u32 = 8;

/// Version of the index format.
const INDEX_VERSION: u32 = 2;

/// The location of a latent on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    file: u32,
    offset: u64,
    /// Rows and columns of cells.
    pub(in super::super) sides: [u16; 2],
}

#[cfg(test)]
impl Place {
    /// Returns a square place without a file, for tests that use only sizes.
    pub(super) fn at(side: u16) -> Self {
        let (file, offset) = (0, 0);
        let sides = [side; 2];
        Place {
            file,
            offset,
            sides,
        }
    }
}

/// A sample without its images.
#[derive(Clone, Debug)]
pub(in super::super) struct Entry {
    pub(in super::super) kind: Kind,
    pub(in super::super) variant: String,
    /// The context prompt.
    pub(in super::super) context: Vec<Tag>,
    /// The paraphrases of the base prompt.
    pub(in super::super) prompts: Vec<String>,
    pub(in super::super) inputs: Vec<(Place, Role)>,
    pub(in super::super) outputs: Vec<Place>,
    /// For each cell of the outputs, whether the sample changes it or its mask covers it; empty for kinds without an edited region.
    pub(in super::super) changed: Vec<bool>,
}

/// The files of latents. They are opened for each read, because a large data set has more files than a process may hold open.
#[derive(Default)]
pub(in super::super) struct Latents {
    files: RwLock<Vec<PathBuf>>,
}

impl Latents {
    fn add(&self, file: PathBuf) -> u32 {
        let mut files = self.files.write().unwrap_or_else(|e| e.into_inner());
        files.push(file);
        files.len() as u32 - 1
    }

    /// Appends a latent of `channels` channels, `[c, y, x]`, to `values`.
    ///
    /// # Errors
    /// [`Error::Format`] when the file is missing or too short.
    pub(in super::super) fn read(
        &self,
        place: Place,
        channels: usize,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let files = self.files.read().unwrap_or_else(|e| e.into_inner());
        let path = &files[place.file as usize];
        let fail = |e: std::io::Error| Error::io(path, e);
        let count = channels * usize::from(place.sides[0]) * usize::from(place.sides[1]);
        let mut bytes = vec![0u8; 2 * count];
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(place.offset)).map_err(fail)?;
        file.read_exact(&mut bytes).map_err(fail)?;
        let numbers = bytes.chunks_exact(2);
        values.extend(numbers.map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()));
        Ok(())
    }
}

/// The key of a latent: the hash of its image, and its rows and columns of cells.
type Key = ([u8; 32], [u16; 2]);

/// The JSON index of a file of latents.
#[derive(Deserialize, Serialize)]
struct Index {
    /// Length and modification time of the shard, to detect that it was replaced.
    shard: (u64, u64),
    samples: Vec<IndexRow>,
}

/// A sample in an [`Index`]. A frame is its hash, `[rows, columns]`, and its offset or null if another shard's file holds it.
#[derive(Deserialize, Serialize)]
struct IndexRow {
    kind: Kind,
    variant: String,
    context: Vec<String>,
    prompts: Vec<String>,
    roles: Vec<String>,
    inputs: Vec<Cached>,
    outputs: Vec<Cached>,
    changed: String,
}

#[derive(Clone, Deserialize, Serialize)]
struct Cached(String, [u16; 2], Option<u64>);

/// Encodes shards and caches their latents on disk.
pub(in super::super) struct Encoder {
    vae: Autoencoder,
    device: Device,
    channels: usize,
    stride: u32,
    grid: u32,
    size: u32,
    folder: PathBuf,
    latents: Arc<Latents>,
    places: HashMap<Key, Place>,
}

/// A shard that is being encoded.
#[derive(Default)]
struct Open {
    bytes: Vec<u8>,
    /// Images that wait for a full batch of their size.
    waiting: BTreeMap<[u32; 2], Vec<(Key, Image)>>,
    /// Offsets of the encoded ones in `bytes`.
    offsets: HashMap<Key, u64>,
}

impl Encoder {
    /// Creates an encoder for images with the area of `size` x `size` pixels, which uses the run's autoencoder and caches latents in
    /// the run's folder.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the autoencoder's weights cannot be read back.
    pub(in super::super) fn of_run(
        vae: Autoencoder,
        config: &Config,
        run: &Path,
        size: u32,
        device: &Device,
    ) -> Result<Self> {
        let mut hash = Sha256::new();
        let mut tensors = collect(&vae, vae::NAMES)?;
        // A change of the decoder does not invalidate the latents.
        tensors.retain(|tensor| !tensor.name.contains("decoder") && !tensor.name.contains("post"));
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for tensor in &tensors {
            hash.update(bytemuck::cast_slice(&tensor.values));
        }
        hash.update(format!("{:?}", config.vae));
        let (hash, grid) = (hash.finalize(), config.grid());
        let name = format!("{}-{size}-{grid}-{INDEX_VERSION}", hex(&hash[..8]));
        let folder = run.join("latents").join(name);
        Ok(Self::new(vae, config, folder, size, device))
    }

    /// Creates an encoder for images with the area of `size` x `size` pixels, which caches latents in `folder`.
    pub(in super::super) fn new(
        vae: Autoencoder,
        config: &Config,
        folder: PathBuf,
        size: u32,
        device: &Device,
    ) -> Self {
        Encoder {
            vae,
            device: device.clone(),
            channels: config.vae.latent_channels,
            stride: config.vae.stride() as u32,
            grid: config.grid() as u32,
            size,
            folder,
            latents: Arc::new(Latents::default()),
            places: HashMap::new(),
        }
    }

    /// Returns the latents that this encoder writes.
    pub(in super::super) fn latents(&self) -> Arc<Latents> {
        self.latents.clone()
    }

    /// Returns the samples of a shard; encodes it unless it is cached. `None` if `stop` was set.
    ///
    /// # Errors
    /// As [`shard::encoded`], and [`Error::Format`] when a file cannot be written.
    pub(in super::super) fn shard(
        &mut self,
        path: &Path,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Entry>>> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let place = Sha256::digest(path.to_string_lossy().as_bytes());
        let beside = self.folder.join(format!("{name}-{}", hex(&place[..4])));
        let (blob, note) = (beside.with_extension("f16"), beside.with_extension("json"));
        let stamp = stamp(path)?;
        if let Some(entries) = self.cached(&blob, &note, stamp) {
            return Ok(Some(entries));
        }
        let mut open = Open::default();
        let mut rows = Vec::new();
        for sample in shard::encoded(path)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let sample = sample?;
            rows.push(self.add(&mut open, &sample)?);
        }
        self.flush(&mut open, 1)?;
        for row in &mut rows {
            for held in row.inputs.iter_mut().chain(&mut row.outputs) {
                held.2 = open.offsets.get(&key(held)?).copied();
            }
        }
        let index = Index {
            shard: stamp,
            samples: rows,
        };
        let json = serde_json::to_vec(&index).map_err(|e| Error::Internal(e.to_string()))?;
        checkpoint::write(&blob, &open.bytes)?;
        checkpoint::write(&note, &json)?;
        self.entries(&blob, index).map(Some)
    }

    /// Returns a shard's cached samples if they are complete and match its `stamp`.
    fn cached(&mut self, blob: &Path, note: &Path, stamp: (u64, u64)) -> Option<Vec<Entry>> {
        let index: Index = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
        (index.shard == stamp)
            .then(|| self.entries(blob, index).ok())
            .flatten()
    }

    /// Resolves an index's offsets in a file of latents.
    fn entries(&mut self, blob: &Path, index: Index) -> Result<Vec<Entry>> {
        let fail = |e: std::io::Error| Error::io(blob, e);
        let length = std::fs::metadata(blob).map_err(fail)?.len();
        let file = self.latents.add(blob.to_owned());
        index
            .samples
            .into_iter()
            .map(|row| self.entry(row, file, length))
            .collect()
    }

    fn entry(&mut self, row: IndexRow, file: u32, length: u64) -> Result<Entry> {
        let mut place = |held: &Cached| {
            let key = key(held)?;
            if let Some(offset) = held.2 {
                let count = self.channels * usize::from(held.1[0]) * usize::from(held.1[1]);
                if offset + 2 * count as u64 > length {
                    let name = &held.0;
                    return Err(Error::Internal(format!("latent {name} is cut off")));
                }
                let sides = held.1;
                let new = Place {
                    file,
                    offset,
                    sides,
                };
                self.places.entry(key).or_insert(new);
            }
            let known = self.places.get(&key).copied();
            known.ok_or_else(|| Error::Internal(format!("latent {} is missing", held.0)))
        };
        let inputs: Result<Vec<Place>> = row.inputs.iter().map(&mut place).collect();
        let outputs: Result<Vec<Place>> = row.outputs.iter().map(&mut place).collect();
        let roles: Result<Vec<Role>> = row.roles.iter().map(|role| role.parse()).collect();
        let context: Result<Vec<Tag>> = row.context.iter().map(|tag| tag.parse()).collect();
        Ok(Entry {
            kind: row.kind,
            variant: row.variant,
            context: context?,
            prompts: row.prompts,
            inputs: inputs?.into_iter().zip(roles?).collect(),
            outputs: outputs?,
            changed: row.changed.bytes().map(|b| b == b'1').collect(),
        })
    }

    /// Adds a sample; its new images wait to be encoded.
    fn add(&self, open: &mut Open, encoded: &EncodedSample) -> Result<IndexRow> {
        let sample = encoded.decode()?;
        let first = &sample.outputs[0];
        let target = fitted(self.size, self.grid, first.width, first.height);
        let mut inputs = Vec::new();
        for ((image, role), (picture, _)) in sample.inputs.iter().zip(&encoded.inputs) {
            // As in the pipeline, canvas and control get the output's size, and an asset keeps its aspect ratio.
            let target = match role {
                Role::Canvas | Role::Control => target,
                Role::Asset => fitted(self.size, self.grid, image.width, image.height),
            };
            inputs.push(self.want(open, picture, image, target)?);
        }
        let mut outputs = Vec::new();
        for (image, picture) in sample.outputs.iter().zip(&encoded.outputs) {
            outputs.push(self.want(open, picture, image, target)?);
        }
        let cells = [target.1 / self.stride, target.0 / self.stride];
        let changed = changed(&sample, cells).into_iter();
        let filled = sample.prompts.iter().filter(|p| !p.trim().is_empty());
        Ok(IndexRow {
            kind: sample.kind,
            variant: sample.variant.clone(),
            context: sample.context.iter().map(|t| t.name().into()).collect(),
            prompts: filled.cloned().collect(),
            roles: sample.inputs.iter().map(|i| i.1.name().into()).collect(),
            inputs,
            outputs,
            changed: changed.map(|on| if on { '1' } else { '0' }).collect(),
        })
    }

    fn want(
        &self,
        open: &mut Open,
        picture: &Picture,
        image: &Image,
        (width, height): (u32, u32),
    ) -> Result<Cached> {
        let sides = [(height / self.stride) as u16, (width / self.stride) as u16];
        let key = (picture.hash, sides);
        let waits = |open: &Open| {
            let same = open.waiting.get(&[width, height]);
            same.is_some_and(|all| all.iter().any(|(other, _)| *other == key))
        };
        if !self.places.contains_key(&key) && !open.offsets.contains_key(&key) && !waits(open) {
            let waiting = open.waiting.entry([width, height]).or_default();
            waiting.push((key, image.resize(width, height)));
            self.flush(open, CHUNK)?;
        }
        Ok(Cached(hex(&picture.hash), sides, None))
    }

    /// Encodes the sizes for which at least `full` images wait; all sizes if more than `8 * CHUNK` images wait in total.
    fn flush(&self, open: &mut Open, full: usize) -> Result<()> {
        let all: usize = open.waiting.values().map(Vec::len).sum();
        let full = if all > 8 * CHUNK { 1 } else { full };
        for waiting in open.waiting.values_mut() {
            if waiting.len() < full {
                continue;
            }
            for chunk in std::mem::take(waiting).chunks(CHUNK) {
                let pictures = chunk.iter().map(|(_, image)| image.to_tensor(&self.device));
                let latents = self.vae.encode(Tensor::cat(pictures.collect(), 0), None);
                let data = latents.try_into_data();
                let data = data.map_err(|e| Error::DeviceLost(format!("encoding: {e:?}")))?;
                let values: Vec<f32> = data.iter::<f32>().collect();
                let one = values.len() / chunk.len();
                for ((key, _), latent) in chunk.iter().zip(values.chunks(one)) {
                    open.offsets.insert(*key, open.bytes.len() as u64);
                    let numbers = latent.iter().map(|&x| f16::from_f32(x).to_le_bytes());
                    open.bytes.extend(numbers.flatten());
                }
            }
        }
        Ok(())
    }
}

/// Returns for each of the cells (rows, columns) whether the sample changes it: where its mask covers it or, since shadows and
/// reflections change too, where a canvas of the output's size differs from the first output. For a segmentation, returns where
/// the output mask covers the cell.
fn changed(sample: &Sample, [rows, columns]: [u32; 2]) -> Vec<bool> {
    let output = &sample.outputs[0];
    let (mask, canvas) = match sample.kind {
        Kind::Edit | Kind::FrameToFrame | Kind::Insertion | Kind::ObjectAdd => {
            let canvas = sample.inputs.iter().find(|(_, role)| *role == Role::Canvas);
            (sample.changed.as_ref(), canvas)
        }
        Kind::Segmentation => (Some(output), None),
        _ => return Vec::new(),
    };
    let same_size = |image: &&Image| (image.width, image.height) == (output.width, output.height);
    let canvas = canvas.map(|(image, _)| image).filter(same_size);
    let cells = (rows * columns) as usize;
    let (mut masked, mut sums, mut counts) =
        (vec![false; cells], vec![0u32; cells], vec![0u32; cells]);
    for i in 0..output.width * output.height {
        let (y, x) = (i / output.width, i % output.width);
        let cell = (y * rows / output.height * columns + x * columns / output.width) as usize;
        let at = 3 * i as usize;
        counts[cell] += 3;
        if let Some(mask) = mask {
            masked[cell] |= mask.rgb[at] > 127;
        }
        if let Some(canvas) = canvas {
            let pair = std::iter::zip(&canvas.rgb[at..at + 3], &output.rgb[at..at + 3]);
            sums[cell] += pair.map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>();
        }
    }
    let differs = std::iter::zip(sums, counts).map(|(sum, count)| sum > CHANGED * count);
    std::iter::zip(masked, differs)
        .map(|(a, b)| a || b)
        .collect()
}

/// Returns a file's length and modification time in seconds.
fn stamp(path: &Path) -> Result<(u64, u64)> {
    let fail = |e: std::io::Error| Error::io(path, e);
    let metadata = std::fs::metadata(path).map_err(fail)?;
    let changed = metadata.modified().map_err(fail)?;
    let since = changed.duration_since(std::time::UNIX_EPOCH);
    Ok((metadata.len(), since.map_or(0, |t| t.as_secs())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(held: &Cached) -> Result<Key> {
    let byte = |i: usize| u8::from_str_radix(held.0.get(2 * i..2 * i + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    let hash = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let wrong = || Error::Internal(format!("{:?} is not a hash", held.0));
    Ok((hash.ok_or_else(wrong)?, held.1))
}
