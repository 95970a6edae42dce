//! Training data from the tabletop world: families of scenes, rendered in the background while training already runs,
//! their latents computed once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};

use super::super::world::{Family, Kind, Pair, effect, family};
use crate::error::{Error, Result};
use crate::image::Image;

/// Held-out seeds start here: training draws its families below, evaluation above.
pub const HELD_OUT: u64 = 1 << 40;

/// A family and, for the flow stage, the latents of its images.
pub(super) struct Entry {
    pub(super) family: Family,
    /// One `[c, y, x]` for each image, row-major; empty in the VAE's stage.
    pub(super) latents: Vec<Vec<f32>>,
}

/// A growing pool of families, filled by a thread of its own.
pub(super) struct Pool {
    entries: Arc<RwLock<Vec<Arc<Entry>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pool {
    /// Starts to fill the pool with `count` families of `size` pixels a side, `encode`d as they come.
    pub(super) fn start(
        seed: u64,
        size: u32,
        count: usize,
        encode: impl Fn(&[Image]) -> Vec<Vec<f32>> + Send + 'static,
    ) -> Self {
        let entries = Arc::new(RwLock::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (entries.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for i in 0..count as u64 {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let family = family((seed + i) % HELD_OUT, size);
                let latents = encode(&family.images);
                let entry = Arc::new(Entry { family, latents });
                let mut entries = shared.write().unwrap_or_else(|e| e.into_inner());
                entries.push(entry);
            }
        });
        Pool {
            entries,
            stop,
            thread: Some(thread),
        }
    }

    /// How many families are there by now.
    pub(super) fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(|e| e.into_inner()).len()
    }

    /// Waits until there are `count` families.
    ///
    /// # Errors
    /// [`Error::Internal`] when the thread that makes them died.
    pub(super) fn wait(&self, count: usize) -> Result<()> {
        while self.len() < count {
            let ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if ended && self.len() < count {
                return Err(Error::Internal(format!(
                    "the data thread ended after {} families of {count}",
                    self.len()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// One of the families.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Arc<Entry> {
        let entries = self.entries.read().unwrap_or_else(|e| e.into_inner());
        entries[rng.random_range(0..entries.len())].clone()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already seen by `wait`; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}

impl Entry {
    /// A task of this kind, if the family has one.
    pub(super) fn pair(&self, kind: Kind, rng: &mut impl Rng) -> Option<Pair> {
        let fitting: Vec<&Pair> = self
            .family
            .pairs
            .iter()
            .filter(|pair| pair.kind() == kind)
            .collect();
        match fitting.len() {
            0 => None,
            n => Some(*fitting[rng.random_range(0..n)]),
        }
    }

    /// How much each latent cell counts: cells that the edit changes count `changed` times as much as the others; the
    /// mean is 1. Row-major, `cells` a side.
    pub(super) fn cell_weights(&self, pair: &Pair, cells: usize, changed: f32) -> Vec<f32> {
        let Some(from) = pair.from.filter(|_| pair.kind() != Kind::Segment) else {
            return vec![1.0; cells * cells];
        };
        let (before, after) = (&self.family.images[from], &self.family.images[pair.to]);
        let side = before.width as usize / cells;
        let mut weights = vec![1.0; cells * cells];
        for (i, different) in effect(before, after).into_iter().enumerate() {
            if different {
                let (y, x) = (i / before.width as usize, i % before.width as usize);
                weights[y / side * cells + x / side] = changed;
            }
        }
        let mean = weights.iter().sum::<f32>() / weights.len() as f32;
        weights.iter().map(|weight| weight / mean).collect()
    }
}

/// Pictures of one size as `[b, 3, y, x]` in -1..1.
pub(super) fn pictures(images: &[&Image], device: &Device) -> Tensor<4> {
    Tensor::cat(
        images.iter().map(|image| image.to_tensor(device)).collect(),
        0,
    )
}

/// Rows of numbers as one tensor.
pub(super) fn stacked<const D: usize>(
    rows: &[Vec<f32>],
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(rows.concat(), shape), device)
}
