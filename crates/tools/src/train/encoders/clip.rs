//! The task of CLIP stages.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::SeedableRng;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::image_pool::{ImagePool, image_pools};
use super::{
    HELD_OUT_BATCH_SIZE, HELD_OUT_BATCHES, cross_entropy, initial_weights, l2_normalise, one_hot,
    patches_tensor,
};
use crate::evaluate::backbone::clip::Clip;
use crate::evaluate::backbone::config::ClipShape;
use crate::evaluate::backbone::{Captions, publish, square_patches};
use crate::train::initialise::initialised;
use crate::train::settings::{Settings, Stage};
use crate::train::task::{Losses, Task};
use crate::train::{checkpoint, vocabulary};
use unireal::{Error, Image, Result};

/// A micro-batch of images with their captions.
pub(in crate::train) struct Pairs {
    patches: Vec<f32>,
    ids: Vec<i32>,
    ends: Vec<usize>,
}

/// Trains CLIP on captioned images.
pub(in crate::train) struct ClipTask {
    stage: Stage,
    shape: ClipShape,
    device: Device,
    captions: Captions,
    pool: ImagePool,
    held_out: Option<ImagePool>,
    tokenizer: String,
}

impl ClipTask {
    pub(in crate::train) fn new(
        run: &Path,
        settings: &Settings,
        stage: &Stage,
        device: &Device,
    ) -> Result<Self> {
        let (pool, held_out) = image_pools(settings, stage)?;
        let shape = ClipShape::small(stage.size as usize);
        let path = run.join("clip/tokenizer.json");
        if !path.exists() {
            let size = shape.text_config.vocab_size;
            let json = vocabulary::vocabulary(&pool.captions(), size)?;
            checkpoint::write(&path, json.as_bytes())?;
        }
        let file = path.display().to_string();
        let tokenizer = std::fs::read_to_string(&path).map_err(|e| Error::format(file, e))?;
        Ok(ClipTask {
            stage: stage.clone(),
            captions: Captions::open(&run.join("clip"), shape.text_config.clone())?,
            shape,
            device: device.clone().autodiff(),
            pool,
            held_out,
            tokenizer,
        })
    }

    /// Draws a micro-batch.
    fn pairs(&self, pool: &ImagePool, count: usize, rng: &mut ChaCha8Rng) -> Result<Pairs> {
        let (mut patches, mut captions) = (Vec::new(), Vec::new());
        for entry in pool.draw(count, rng) {
            let encoded = entry.images.choose(rng);
            let caption = entry.captions.choose(rng);
            let (Some(encoded), Some(caption)) = (encoded, caption) else {
                continue;
            };
            let image = encoded.decode("an image of the shards")?;
            patches.extend(square_patches(&image, &self.shape.vision_config));
            captions.push(caption.clone());
        }
        let (ids, ends) = self.captions.ids(&captions)?;
        Ok(Pairs { patches, ids, ends })
    }
}

impl Task for ClipTask {
    type Module = Clip;
    type MicroBatch = Pairs;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> Clip {
        initialised(Clip::new(&self.shape, &self.device), initial_weights)
    }

    fn published(&self, run: &Path) -> Result<Option<Clip>> {
        publish::load_clip(self.fresh(), &self.shape, &run.join("clip"), &self.device)
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Pairs>> {
        let samples = self.stage.batch / self.stage.groups / count;
        (0..count)
            .map(|_| self.pairs(&self.pool, samples, rng))
            .collect()
    }

    fn losses(&self, clip: &Clip, batch: &Pairs, on: &Device) -> Result<Losses> {
        let count = batch.ends.len();
        let patches = patches_tensor(batch.patches.clone(), count, &self.shape.vision_config, on);
        let ids = TensorData::new(batch.ids.clone(), [count, batch.ids.len() / count]);
        let texts = clip.texts(Tensor::<2, Int>::from_data(ids, on), &batch.ends);
        let images = l2_normalise(clip.images(patches));
        let scale = clip.logit_scale.val().clamp_max(100f64.ln()).exp();
        let logits = images.matmul(l2_normalise(texts).transpose()) * scale.unsqueeze();
        let targets = one_hot(count, |i| i, on);
        let [by_image, _] = cross_entropy(logits.clone(), targets.clone());
        let [by_caption, error] = cross_entropy(logits.transpose(), targets);
        Ok(Losses {
            losses: (by_image + by_caption) * 0.5,
            logged: error,
            names: vec!["retrieval-error".into(); count],
        })
    }

    fn held_out(&self) -> Result<Vec<Pairs>> {
        let Some(pool) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        (0..HELD_OUT_BATCHES)
            .map(|_| self.pairs(pool, HELD_OUT_BATCH_SIZE, &mut rng))
            .collect()
    }

    fn preview(&self, _: &Clip) -> Result<Option<Image>> {
        Ok(None)
    }

    fn publish(&self, averaged: &Clip, run: &Path) -> Result<()> {
        let folder = run.join("clip");
        checkpoint::write(&folder.join("tokenizer.json"), self.tokenizer.as_bytes())?;
        publish::save_clip(averaged, &self.shape, &folder)
    }
}
