//! The task of autoencoder stages.

use std::path::Path;
use std::sync::OnceLock;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::data::{Crop, Crops};
use super::settings::{Settings, Stage};
use super::task::{Losses, Task};
use super::vae::vae_losses;
use super::{checkpoint, initialise};
use crate::evaluate::reconstruct::HeldOutFrame;
use crate::evaluate::requests::{self, Milestone};
use unireal::internals::config::Config;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::noise::Noise;
use unireal::{Error, Image, Result};

/// Number of images on which the latents' mean and standard deviation are measured.
const STATISTICS_IMAGES: usize = 512;

/// Trains the autoencoder on crops of images.
pub(super) struct VaeTask {
    config: Config,
    stage: Stage,
    device: Device,
    crops: Crops,
    held_out: Option<Crops>,
    /// The frames that milestones reconstruct, rendered at the first milestone.
    frames: OnceLock<Vec<HeldOutFrame>>,
}

impl VaeTask {
    pub(super) fn new(
        config: &Config,
        settings: &Settings,
        stage: &Stage,
        device: &Device,
    ) -> Result<Self> {
        let stride = config.vae.stride() as u32;
        if !stage.size.is_multiple_of(stride) {
            let reason = format!("size is {}, expected a multiple of {stride}", stage.size);
            return Err(Error::Request(format!("stage {:?}: {reason}", stage.name)));
        }
        let crops = Crops::start(settings.data(stage), settings.seed)?;
        crops.wait(settings.first_samples)?;
        let held_out = if settings.held_out.is_empty() {
            None
        } else {
            let crops = Crops::start(&settings.held_out, settings.seed)?;
            // Wait for all of them, so that every call evaluates on the same samples.
            crops.wait(usize::MAX)?;
            Some(crops)
        };
        Ok(VaeTask {
            held_out,
            config: config.clone(),
            stage: stage.clone(),
            device: device.clone().autodiff(),
            crops,
            frames: OnceLock::new(),
        })
    }

    /// Decodes crops to pixels from -1 to 1, `[b, 3, y, x]`.
    fn decode(&self, crops: &[Crop]) -> Result<TensorData> {
        let side = self.stage.size as usize;
        let mut values = Vec::with_capacity(crops.len() * 3 * side * side);
        for crop in crops {
            values.extend(crop.decode(self.stage.size)?.to_planes());
        }
        Ok(TensorData::new(values, [crops.len(), 3, side, side]))
    }

    /// Draws a micro-batch.
    fn draw(&self, crops: &Crops, count: usize, rng: &mut ChaCha8Rng) -> Result<Images> {
        let crops: Vec<Crop> = (0..count).map(|_| crops.draw(rng)).collect();
        let cells = self.stage.size as usize / self.config.vae.stride();
        let shape = [count, self.config.vae.latent_channels, cells, cells];
        Ok(Images {
            noise: Noise::new(rng.random()).data(shape),
            pixels: self.decode(&crops)?,
        })
    }
}

/// A micro-batch of the autoencoder.
pub(super) struct Images {
    /// `[b, 3, y, x]`, from -1 to 1.
    pixels: TensorData,
    /// Standard normal noise for the latents, `[b, c, y, x]`.
    noise: TensorData,
}

impl Task for VaeTask {
    type Module = Autoencoder;
    type MicroBatch = Images;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> Autoencoder {
        initialise::autoencoder(&self.config.vae, &self.device)
    }

    fn published(&self, run: &Path) -> Result<Option<Autoencoder>> {
        checkpoint::load(self.fresh(), vae::NAMES, &run.join("vae"), &self.device)
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Images>> {
        let samples = self.stage.batch / self.stage.groups / count;
        (0..count)
            .map(|_| self.draw(&self.crops, samples, rng))
            .collect()
    }

    fn losses(&self, module: &Autoencoder, batch: &Images, on: &Device) -> Result<Losses> {
        let tensor = |data: &TensorData| Tensor::<4>::from_data(data.clone(), on);
        let (pixels, noise) = (tensor(&batch.pixels), tensor(&batch.noise));
        let count = pixels.dims()[0];
        let (losses, logged) = vae_losses(module, pixels, noise, &self.stage);
        Ok(Losses {
            losses,
            logged,
            names: vec!["squared-error".into(); count],
        })
    }

    fn held_out(&self) -> Result<Vec<Images>> {
        let Some(crops) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        (0..8).map(|_| self.draw(crops, 8, &mut rng)).collect()
    }

    /// Returns images beside their reconstructions.
    fn preview(&self, averaged: &Autoencoder) -> Result<Option<Image>> {
        let crops = self.held_out.as_ref().unwrap_or(&self.crops);
        let device = self.device.clone().inner();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut pairs = Vec::new();
        for _ in 0..16 {
            let image = crops.draw(&mut rng).decode(self.stage.size)?;
            let moments = averaged.moments(image.to_tensor(&device));
            let mean = moments.narrow(1, 0, self.config.vae.latent_channels);
            let reconstruction = averaged.decode_latent(mean);
            let reconstruction = pollster::block_on(Image::from_tensor(reconstruction))?;
            pairs.push([image, reconstruction]);
        }
        let pairs: Vec<[Option<&Image>; 2]> =
            pairs.iter().map(|pair| pair.each_ref().map(Some)).collect();
        Image::sheet(&pairs, 4).map(Some)
    }

    fn milestone(&self, averaged: &Autoencoder) -> Result<Option<Milestone>> {
        if self.frames.get().is_none() {
            let _ = self.frames.set(requests::frames(self.stage.size)?);
        }
        let frames = self.frames.get().expect("the frames were just rendered");
        let device = self.device.clone().inner();
        requests::autoencoder_milestone(averaged, frames, &device).map(Some)
    }

    /// Also measures the latents, so that the transformer sees mean 0 and standard deviation 1.
    fn publish(&self, averaged: &Autoencoder, run: &Path) -> Result<()> {
        if self.stage.decoder_only {
            return checkpoint::save(averaged, vae::NAMES, &run.join("vae"));
        }
        let device = self.device.clone().inner();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for _ in 0..STATISTICS_IMAGES / 32 {
            let crops: Vec<Crop> = (0..32).map(|_| self.crops.draw(&mut rng)).collect();
            let pixels = Tensor::from_data(self.decode(&crops)?, &device);
            let moments = averaged.moments(pixels);
            let mean = moments.narrow(1, 0, self.config.vae.latent_channels);
            count += mean.shape().num_elements() as f64;
            sum += f64::from(mean.clone().sum().into_scalar::<f32>());
            squares += f64::from(mean.square().sum().into_scalar::<f32>());
        }
        let mean = sum / count;
        let mut config = Config::read(run)?;
        config.vae.shift_factor = Some(mean);
        config.vae.scaling_factor = 1.0 / (squares / count - mean * mean).sqrt();
        checkpoint::save(averaged, vae::NAMES, &run.join("vae"))?;
        config.write(run)
    }
}
