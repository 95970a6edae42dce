//! The samples of encoder stages: captioned images from shards, in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use rand::Rng;
use rand::seq::IndexedRandom as _;

use crate::data::shard::{self, EncodedImage};
use crate::train::data::ShardWatcher;
use crate::train::settings::{Mixture, Settings, Stage};
use unireal::{Error, Result};

/// Maximum size of the encoded images in memory, in bytes; later images are ignored.
const MAX_ENCODED_BYTES: usize = 512 << 20;

/// Maximum number of captions on which the tokenizer is trained.
const MAX_CORPUS_CAPTIONS: usize = 20_000;

/// A sample: its output images and paraphrases of their caption.
pub(super) struct CaptionedImages {
    pub(super) captions: Vec<String>,
    pub(super) images: Vec<EncodedImage>,
}

/// A growing set of samples, grouped by the components of the stage's mixture.
pub(super) struct ImagePool {
    mixture: Mixture,
    components: Arc<RwLock<Vec<Vec<Arc<CaptionedImages>>>>>,
    _watch: ShardWatcher,
}

impl ImagePool {
    /// Starts reading the shards that match `patterns` and waits for `count` samples.
    fn open(patterns: &[PathBuf], mixture: Mixture, count: usize) -> Result<Self> {
        let components: Vec<Vec<Arc<CaptionedImages>>> =
            mixture.0.iter().map(|_| Vec::new()).collect();
        let components = Arc::new(RwLock::new(components));
        let (samples, kinds) = (components.clone(), mixture.clone());
        let mut bytes = 0;
        let read_shard = move |path: &Path, stop: &AtomicBool| {
            for sample in shard::encoded(path)? {
                if stop.load(Ordering::Relaxed) || bytes > MAX_ENCODED_BYTES {
                    return Ok(());
                }
                let sample = sample?;
                let Some(component) = kinds.component(sample.kind, &sample.variant) else {
                    continue;
                };
                bytes += sample
                    .outputs
                    .iter()
                    .map(|image| image.bytes.len())
                    .sum::<usize>();
                let entry = Arc::new(CaptionedImages {
                    captions: sample.prompts,
                    images: sample.outputs,
                });
                samples.write().unwrap_or_else(|e| e.into_inner())[component].push(entry);
            }
            Ok(())
        };
        let watch = ShardWatcher::start(patterns.to_vec(), read_shard)?;
        let loaded = || {
            let components = components.read().unwrap_or_else(|e| e.into_inner());
            components.iter().map(Vec::len).sum()
        };
        watch.wait(count, loaded, "samples of the stage's kinds")?;
        Ok(ImagePool {
            mixture,
            components,
            _watch: watch,
        })
    }

    /// Draws `count` samples; components are drawn by weight.
    pub(super) fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<Arc<CaptionedImages>> {
        let components = self.components.read().unwrap_or_else(|e| e.into_inner());
        let filled: Vec<(&Vec<Arc<CaptionedImages>>, f64)> = components
            .iter()
            .zip(&self.mixture.0)
            .filter(|(entries, _)| !entries.is_empty())
            .map(|(entries, component)| (entries, component.weight))
            .collect();
        let draw = |_| {
            let (entries, _) = filled.choose_weighted(rng, |(_, weight)| *weight).ok()?;
            entries.choose(rng).cloned()
        };
        (0..count).filter_map(draw).collect()
    }

    /// Returns captions on which a tokenizer can be trained.
    pub(super) fn captions(&self) -> Vec<String> {
        let components = self.components.read().unwrap_or_else(|e| e.into_inner());
        let entries = components.iter().flatten();
        let captions = entries.flat_map(|entry| entry.captions.iter().cloned());
        captions.take(MAX_CORPUS_CAPTIONS).collect()
    }
}

/// Opens the training and held-out samples of a stage.
pub(super) fn image_pools(
    settings: &Settings,
    stage: &Stage,
) -> Result<(ImagePool, Option<ImagePool>)> {
    let mixture = stage
        .mixture()
        .map_err(|reason| Error::Request(format!("stage {:?}: {reason}", stage.name)))?;
    let held_out = if settings.held_out.is_empty() {
        None
    } else {
        Some(ImagePool::open(&settings.held_out, mixture.clone(), 64)?)
    };
    let pool = ImagePool::open(settings.data(stage), mixture, settings.first_samples)?;
    Ok((pool, held_out))
}
