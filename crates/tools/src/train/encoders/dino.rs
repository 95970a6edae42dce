//! The task of DINO stages.

use std::path::Path;

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::image_pool::{ImagePool, image_pools};
use super::{
    HELD_OUT_BATCH_SIZE, HELD_OUT_BATCHES, cross_entropy, initial_weights, l2_normalise, one_hot,
    patches_tensor,
};
use crate::evaluate::backbone::config::Vision;
use crate::evaluate::backbone::vit::VisionTower;
use crate::evaluate::backbone::{publish, square_patches};
use crate::train::initialise::initialised;
use crate::train::settings::{Settings, Stage};
use crate::train::task::{Losses, Task};
use unireal::internals::model::linear::{Bias, Linear};
use unireal::internals::model::text::MASKED;
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Image, Result};

/// Temperature by which the ViT's objective divides cosine similarities before the softmax.
const TEMPERATURE: f64 = 0.1;

/// A vision tower and its projection head, which only training uses.
#[derive(Module, Debug)]
pub(in crate::train) struct Projected {
    tower: VisionTower,
    first: Linear,
    second: Linear,
}

/// Patches of two views of each sample, all first views first; number of samples.
pub(in crate::train) struct Views(Vec<f32>, usize);

/// Trains a ViT on views of images.
pub(in crate::train) struct DinoTask {
    stage: Stage,
    vision: Vision,
    device: Device,
    pool: ImagePool,
    held_out: Option<ImagePool>,
}

impl DinoTask {
    pub(in crate::train) fn new(
        settings: &Settings,
        stage: &Stage,
        device: &Device,
    ) -> Result<Self> {
        let (pool, held_out) = image_pools(settings, stage)?;
        Ok(DinoTask {
            stage: stage.clone(),
            vision: Vision::small(stage.size as usize),
            device: device.clone().autodiff(),
            pool,
            held_out,
        })
    }

    /// Draws a micro-batch.
    fn views(&self, pool: &ImagePool, count: usize, rng: &mut ChaCha8Rng) -> Result<Views> {
        let entries = pool.draw(count, rng);
        let mut patches = Vec::new();
        for _ in 0..2 {
            for entry in &entries {
                let encoded = entry.images.choose(rng);
                let encoded = encoded.ok_or_else(|| {
                    Error::Internal(
                        "drawing views: a sample has no image, expected 1 or more".into(),
                    )
                })?;
                let image = view(&encoded.decode("an image of the shards")?, rng)?;
                patches.extend(square_patches(&image, &self.vision));
            }
        }
        Ok(Views(patches, entries.len()))
    }
}

/// Returns a random square crop, of 40 % to 100 % of the area of the largest square, mirrored with probability 0.5.
fn view(image: &Image, rng: &mut impl Rng) -> Result<Image> {
    let short = image.width.min(image.height);
    let side = f64::from(short) * rng.random_range(0.4f64..=1.0).sqrt();
    let side = (side.round() as u32).clamp(1, short);
    let left = rng.random_range(0..=image.width - side) as usize;
    let top = rng.random_range(0..=image.height - side) as usize;
    let (width, length) = (image.width as usize, side as usize);
    let mirrored = rng.random_bool(0.5);
    let mut rgb = Vec::with_capacity(3 * length * length);
    for y in top..top + length {
        let start = 3 * (y * width + left);
        let row = image.rgb[start..start + 3 * length].chunks_exact(3);
        if mirrored {
            rgb.extend(row.rev().flatten())
        } else {
            rgb.extend(row.flatten())
        }
    }
    Image::from_rgb(side, side, rgb)
}

impl Task for DinoTask {
    type Module = Projected;
    type MicroBatch = Views;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> Projected {
        let d = self.vision.tower.hidden_size;
        let linear = |o| Linear::new(d, o, Bias::Yes, Encoding::F32, &self.device);
        let projected = Projected {
            tower: VisionTower::small(&self.vision, &self.device),
            first: linear(d),
            second: linear(d),
        };
        initialised(projected, initial_weights)
    }

    fn published(&self, run: &Path) -> Result<Option<Projected>> {
        let fresh = self.fresh();
        let folder = run.join("dino");
        let tower = publish::load_dino(fresh.tower.clone(), &self.vision, &folder, &self.device)?;
        Ok(tower.map(|tower| Projected { tower, ..fresh }))
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Views>> {
        let samples = self.stage.batch / self.stage.groups / count;
        (0..count)
            .map(|_| self.views(&self.pool, samples, rng))
            .collect()
    }

    fn losses(
        &self,
        module: &Projected,
        Views(patches, count): &Views,
        on: &Device,
    ) -> Result<Losses> {
        let patches = patches_tensor(patches.clone(), 2 * count, &self.vision, on);
        let state = module.tower.forward(patches);
        let z = module.second.forward(relu(module.first.forward(state)));
        let z = l2_normalise(z.squeeze_dim::<2>(1));
        let self_mask = one_hot(2 * count, |i| i, on) * MASKED;
        let logits = z.clone().matmul(z.transpose()) / TEMPERATURE + self_mask;
        let targets = one_hot(2 * count, |i| (i + count) % (2 * count), on);
        let mean_of_views = |x: Tensor<1>| x.reshape([2, *count]).mean_dim(0).squeeze_dim::<1>(0);
        let [losses, error] = cross_entropy(logits, targets).map(mean_of_views);
        Ok(Losses {
            losses,
            logged: error,
            names: vec!["retrieval-error".into(); *count],
        })
    }

    fn held_out(&self) -> Result<Vec<Views>> {
        let Some(pool) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        (0..HELD_OUT_BATCHES)
            .map(|_| self.views(pool, HELD_OUT_BATCH_SIZE, &mut rng))
            .collect()
    }

    fn preview(&self, _: &Projected) -> Result<Option<Image>> {
        Ok(None)
    }

    fn publish(&self, averaged: &Projected, run: &Path) -> Result<()> {
        publish::save_dino(&averaged.tower, &self.vision, &run.join("dino"))
    }
}
