//! Encodes shards once per autoencoder and size, and caches their latents on disk.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use half::f16;
use sha2::{Digest as _, Sha256};

use super::latents::{
    Entry, FrameRef, INDEX_VERSION, Index, IndexRow, Key, LatentLocation, Latents, hex,
};
use crate::data::shard::{self, EncodedImage, EncodedSample};
use crate::data::{Kind, Sample};
use crate::train::checkpoint;
use unireal::internals::config::Config;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::pipeline::fitted;
use unireal::internals::weights::module::collect;
use unireal::{Error, Image, Result, Role, Tag};

/// Batch size of the encoder.
const BATCH_SIZE: usize = 16;

/// Mean absolute difference of a cell's values, in levels of 255, above which the cell counts as changed. It exceeds the noise of
/// a path tracer or a video in static regions.
const CHANGED_THRESHOLD: u32 = 8;

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
    /// The location of each known latent.
    locations: HashMap<Key, LatentLocation>,
}

/// A shard that is being encoded.
#[derive(Default)]
struct PendingShard {
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
    pub(in super::super) fn for_run(
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
            locations: HashMap::new(),
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
    pub(in super::super) fn encode_shard(
        &mut self,
        path: &Path,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Entry>>> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let path_hash = Sha256::digest(path.to_string_lossy().as_bytes());
        let base = self.folder.join(format!("{name}-{}", hex(&path_hash[..4])));
        let (latents_path, index_path) = (base.with_extension("f16"), base.with_extension("json"));
        let stamp = stamp(path)?;
        if let Some(entries) = self.cached(&latents_path, &index_path, stamp) {
            return Ok(Some(entries));
        }
        let mut pending = PendingShard::default();
        let mut rows = Vec::new();
        for sample in shard::encoded(path)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let sample = sample?;
            rows.push(self.add(&mut pending, &sample)?);
        }
        self.flush(&mut pending, 1)?;
        for row in &mut rows {
            for frame in row.inputs.iter_mut().chain(&mut row.outputs) {
                frame.2 = pending.offsets.get(&frame.key()?).copied();
            }
        }
        let index = Index {
            shard: stamp,
            samples: rows,
        };
        let json = serde_json::to_vec(&index).map_err(|e| Error::Internal(e.to_string()))?;
        checkpoint::write(&latents_path, &pending.bytes)?;
        checkpoint::write(&index_path, &json)?;
        self.entries(&latents_path, index).map(Some)
    }

    /// Returns a shard's cached samples if they are complete and match its `stamp`.
    fn cached(
        &mut self,
        latents_path: &Path,
        index_path: &Path,
        stamp: (u64, u64),
    ) -> Option<Vec<Entry>> {
        let index: Index = serde_json::from_slice(&std::fs::read(index_path).ok()?).ok()?;
        (index.shard == stamp)
            .then(|| self.entries(latents_path, index).ok())
            .flatten()
    }

    /// Resolves an index's offsets in a file of latents.
    fn entries(&mut self, latents_path: &Path, index: Index) -> Result<Vec<Entry>> {
        let fail = |e: std::io::Error| Error::io(latents_path, e);
        let length = std::fs::metadata(latents_path).map_err(fail)?.len();
        let file = self.latents.add(latents_path.to_owned());
        index
            .samples
            .into_iter()
            .map(|row| self.entry(row, file, length))
            .collect()
    }

    /// Resolves the frames of a sample in a file of `length` bytes.
    fn entry(&mut self, row: IndexRow, file: u32, length: u64) -> Result<Entry> {
        let mut locate = |frame: &FrameRef| {
            let key = frame.key()?;
            if let Some(offset) = frame.2 {
                let count = self.channels * usize::from(frame.1[0]) * usize::from(frame.1[1]);
                let end = offset + 2 * count as u64;
                if end > length {
                    let name = &frame.0;
                    return Err(Error::Internal(format!(
                        "latent {name}: the file has {length} bytes, expected {end} or more"
                    )));
                }
                let sides = frame.1;
                let new = LatentLocation {
                    file,
                    offset,
                    sides,
                };
                self.locations.entry(key).or_insert(new);
            }
            let known = self.locations.get(&key).copied();
            known.ok_or_else(|| {
                Error::Internal(format!(
                    "latent {}: not found, expected it in an earlier shard",
                    frame.0
                ))
            })
        };
        let inputs: Result<Vec<LatentLocation>> = row.inputs.iter().map(&mut locate).collect();
        let outputs: Result<Vec<LatentLocation>> = row.outputs.iter().map(&mut locate).collect();
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
    fn add(&self, pending: &mut PendingShard, encoded: &EncodedSample) -> Result<IndexRow> {
        let sample = encoded.decode()?;
        let first = &sample.outputs[0];
        let target = fitted(self.size, self.grid, first.width, first.height);
        let mut inputs = Vec::new();
        for ((image, role), (encoded_image, _)) in sample.inputs.iter().zip(&encoded.inputs) {
            // As in the pipeline, canvas and control get the output's size, and an asset keeps its aspect ratio.
            let target = match role {
                Role::Canvas | Role::Control => target,
                Role::Asset => fitted(self.size, self.grid, image.width, image.height),
            };
            inputs.push(self.enqueue(pending, encoded_image, image, target)?);
        }
        let mut outputs = Vec::new();
        for (image, encoded_image) in sample.outputs.iter().zip(&encoded.outputs) {
            outputs.push(self.enqueue(pending, encoded_image, image, target)?);
        }
        let cells = [target.1 / self.stride, target.0 / self.stride];
        let changed = edited_cells(&sample, cells).into_iter();
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

    /// Queues an image for encoding unless its latent is known or queued; returns the reference to its latent.
    fn enqueue(
        &self,
        pending: &mut PendingShard,
        encoded_image: &EncodedImage,
        image: &Image,
        (width, height): (u32, u32),
    ) -> Result<FrameRef> {
        let sides = [(height / self.stride) as u16, (width / self.stride) as u16];
        let key = (encoded_image.hash, sides);
        let is_waiting = |pending: &PendingShard| {
            let same = pending.waiting.get(&[width, height]);
            same.is_some_and(|all| all.iter().any(|(other, _)| *other == key))
        };
        if !self.locations.contains_key(&key)
            && !pending.offsets.contains_key(&key)
            && !is_waiting(pending)
        {
            let waiting = pending.waiting.entry([width, height]).or_default();
            waiting.push((key, image.resize(width, height)));
            self.flush(pending, BATCH_SIZE)?;
        }
        Ok(FrameRef(hex(&encoded_image.hash), sides, None))
    }

    /// Encodes the sizes for which at least `full` images wait; all sizes if more than `8 * BATCH_SIZE` images wait in total.
    fn flush(&self, pending: &mut PendingShard, full: usize) -> Result<()> {
        let total: usize = pending.waiting.values().map(Vec::len).sum();
        let full = if total > 8 * BATCH_SIZE { 1 } else { full };
        for waiting in pending.waiting.values_mut() {
            if waiting.len() < full {
                continue;
            }
            for chunk in std::mem::take(waiting).chunks(BATCH_SIZE) {
                let images = chunk.iter().map(|(_, image)| image.to_tensor(&self.device));
                let latents = self.vae.encode(Tensor::cat(images.collect(), 0), None);
                let data = latents.try_into_data();
                let data = data.map_err(|e| Error::DeviceLost(format!("encoding: {e:?}")))?;
                let values: Vec<f32> = data.iter::<f32>().collect();
                let latent_len = values.len() / chunk.len();
                for ((key, _), latent) in chunk.iter().zip(values.chunks(latent_len)) {
                    pending.offsets.insert(*key, pending.bytes.len() as u64);
                    let floats = latent.iter().map(|&x| f16::from_f32(x).to_le_bytes());
                    pending.bytes.extend(floats.flatten());
                }
            }
        }
        Ok(())
    }
}

/// Returns for each of the cells (rows, columns) whether the sample changes it: where its mask covers it or, since shadows and
/// reflections change too, where a canvas of the output's size differs from the first output. For a segmentation, returns where
/// the output mask covers the cell.
fn edited_cells(sample: &Sample, [rows, columns]: [u32; 2]) -> Vec<bool> {
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
    let differs = std::iter::zip(sums, counts).map(|(sum, count)| sum > CHANGED_THRESHOLD * count);
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
