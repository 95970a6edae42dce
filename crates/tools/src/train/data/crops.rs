//! The autoencoder's data: crops of the images in shards.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::watch::Watch;
use crate::data::shard::{self, Picture};
use unireal::Image;
use unireal::Result;

/// Size of the encoded images in memory, in bytes, from which reservoir sampling replaces images, so that all are equally likely.
const HELD: usize = 512 << 20;

/// A growing set of distinct images, encoded as in the shards, of about 512 MiB at most.
pub(in super::super) struct Crops {
    pictures: Arc<RwLock<Vec<Arc<Picture>>>>,
    watch: Watch,
}

/// A crop that is drawn but not yet decoded.
pub(in super::super) struct Crop {
    picture: Arc<Picture>,
    seed: u64,
}

impl Crops {
    /// Starts reading the shards that match `patterns`.
    ///
    /// # Errors
    /// As [`Watch::start`].
    pub(in super::super) fn start(patterns: &[PathBuf], seed: u64) -> Result<Self> {
        let pictures = Arc::new(RwLock::new(Vec::new()));
        let mut reservoir = Reservoir {
            pictures: pictures.clone(),
            seen: HashSet::new(),
            bytes: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        let take = move |path: &Path, stop: &AtomicBool| reservoir.take(path, stop);
        Ok(Crops {
            pictures,
            watch: Watch::start(patterns.to_vec(), take)?,
        })
    }

    /// Waits until there are `count` images or all shards are read.
    ///
    /// # Errors
    /// As [`Watch::wait`].
    pub(in super::super) fn wait(&self, count: usize) -> Result<()> {
        let there = || {
            self.pictures
                .read()
                .unwrap_or_else(|e| e.into_inner())
                .len()
        };
        self.watch.wait(count, there, "pictures")
    }

    /// Draws a crop of a random image.
    pub(in super::super) fn draw(&self, rng: &mut impl Rng) -> Crop {
        let pictures = self.pictures.read().unwrap_or_else(|e| e.into_inner());
        Crop {
            picture: pictures[rng.random_range(0..pictures.len())].clone(),
            seed: rng.random(),
        }
    }
}

struct Reservoir {
    pictures: Arc<RwLock<Vec<Arc<Picture>>>>,
    seen: HashSet<[u8; 32]>,
    bytes: usize,
    rng: ChaCha8Rng,
}

impl Reservoir {
    fn take(&mut self, path: &Path, stop: &AtomicBool) -> Result<()> {
        for sample in shard::encoded(path)? {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let sample = sample?;
            let inputs = sample.inputs.into_iter().map(|(picture, _)| picture);
            for picture in inputs.chain(sample.outputs) {
                if self.seen.insert(picture.hash) {
                    self.add(Arc::new(picture));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, picture: Arc<Picture>) {
        let mut pictures = self.pictures.write().unwrap_or_else(|e| e.into_inner());
        if self.bytes + picture.bytes.len() <= HELD {
            self.bytes += picture.bytes.len();
            pictures.push(picture);
            return;
        }
        let at = self.rng.random_range(0..self.seen.len());
        if let Some(old) = pictures.get_mut(at) {
            self.bytes = self.bytes + picture.bytes.len() - old.bytes.len();
            *old = picture;
        }
    }
}

impl Crop {
    /// Decodes a random crop of `size` x `size` pixels: with probability 0.5 from the image at its own resolution, else from the image
    /// resized so that its shorter side is `size`. So the autoencoder learns both details and whole images.
    ///
    /// # Errors
    /// [`unireal::Error::Format`] when the image cannot be decoded.
    pub(in super::super) fn decode(&self, size: u32) -> Result<Image> {
        let image = self.picture.decode("a picture of the shards")?;
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
