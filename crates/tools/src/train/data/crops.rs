//! The autoencoder's data: crops of the images in shards.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::watch::ShardWatcher;
use crate::data::shard::{self, EncodedImage};
use unireal::Image;
use unireal::Result;

/// Maximum size of the encoded images in memory, in bytes. From there on, reservoir sampling replaces images, so that all images are
/// equally likely.
const MAX_ENCODED_BYTES: usize = 512 << 20;

/// A growing set of distinct images, encoded as in the shards, of about 512 MiB at most.
pub(in super::super) struct Crops {
    images: Arc<RwLock<Vec<Arc<EncodedImage>>>>,
    watch: ShardWatcher,
}

/// A crop that is drawn but not yet decoded.
pub(in super::super) struct Crop {
    encoded: Arc<EncodedImage>,
    seed: u64,
}

impl Crops {
    /// Starts reading the shards that match `patterns`.
    ///
    /// # Errors
    /// As [`ShardWatcher::start`].
    pub(in super::super) fn start(patterns: &[PathBuf], seed: u64) -> Result<Self> {
        let images = Arc::new(RwLock::new(Vec::new()));
        let mut reservoir = Reservoir {
            images: images.clone(),
            seen: HashSet::new(),
            bytes: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        let read_shard = move |path: &Path, stop: &AtomicBool| reservoir.read_shard(path, stop);
        Ok(Crops {
            images,
            watch: ShardWatcher::start(patterns.to_vec(), read_shard)?,
        })
    }

    /// Waits until there are `count` images or all shards are read.
    ///
    /// # Errors
    /// As [`ShardWatcher::wait`].
    pub(in super::super) fn wait(&self, count: usize) -> Result<()> {
        let loaded = || self.images.read().unwrap_or_else(|e| e.into_inner()).len();
        self.watch.wait(count, loaded, "images")
    }

    /// Draws a crop of a random image.
    pub(in super::super) fn draw(&self, rng: &mut impl Rng) -> Crop {
        let images = self.images.read().unwrap_or_else(|e| e.into_inner());
        Crop {
            encoded: images[rng.random_range(0..images.len())].clone(),
            seed: rng.random(),
        }
    }
}

/// A uniform random sample of the distinct images read so far.
struct Reservoir {
    images: Arc<RwLock<Vec<Arc<EncodedImage>>>>,
    seen: HashSet<[u8; 32]>,
    bytes: usize,
    rng: ChaCha8Rng,
}

impl Reservoir {
    fn read_shard(&mut self, path: &Path, stop: &AtomicBool) -> Result<()> {
        for sample in shard::encoded(path)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let sample = sample?;
            let inputs = sample.inputs.into_iter().map(|(encoded, _)| encoded);
            for encoded in inputs.chain(sample.outputs) {
                if self.seen.insert(encoded.hash) {
                    self.add(Arc::new(encoded));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, encoded: Arc<EncodedImage>) {
        let mut images = self.images.write().unwrap_or_else(|e| e.into_inner());
        if self.bytes + encoded.bytes.len() <= MAX_ENCODED_BYTES {
            self.bytes += encoded.bytes.len();
            images.push(encoded);
            return;
        }
        let index = self.rng.random_range(0..self.seen.len());
        if let Some(old) = images.get_mut(index) {
            self.bytes = self.bytes + encoded.bytes.len() - old.bytes.len();
            *old = encoded;
        }
        // The new image may be larger than the one that it replaced.
        while self.bytes > MAX_ENCODED_BYTES {
            let index = self.rng.random_range(0..images.len());
            self.bytes -= images.swap_remove(index).bytes.len();
        }
    }
}

impl Crop {
    /// Decodes a random crop of `size` x `size` pixels: with probability 0.5 from the image at its own resolution, else from the image
    /// resized so that its shorter side is `size`. So the autoencoder learns details as well as whole images.
    ///
    /// # Errors
    /// [`unireal::Error::Format`] when the image cannot be decoded.
    pub(in super::super) fn decode(&self, size: u32) -> Result<Image> {
        let image = self.encoded.decode("an image of the shards")?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let short = image.width.min(image.height);
        let image = if short < size || rng.random_bool(0.5) {
            let scale = f64::from(size) / f64::from(short);
            let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(size);
            image.resize(scaled(image.width), scaled(image.height))
        } else {
            image
        };
        let left = rng.random_range(0..=image.width - size) as usize;
        let top = rng.random_range(0..=image.height - size) as usize;
        let (width, size) = (image.width as usize, size as usize);
        let rows = (top..top + size).map(|y| 3 * (y * width + left));
        let rgb = rows.flat_map(|at| image.rgb[at..at + 3 * size].iter().copied());
        Image::from_rgb(size as u32, size as u32, rgb.collect())
    }
}
