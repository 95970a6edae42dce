//! The tasks of stages: their networks, their micro-batches, and the files that they write to the run's folder.

use std::path::Path;
use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{BatchBuilder, LossMode, MicroBatch};
use super::data::{Crop, Crops, Encoder, Pool};
use super::flow_networks::FlowNetworks;
use super::settings::{Settings, Stage};
use super::vae::vae_losses;
use super::{checkpoint, preview, vocabulary};
use crate::data::Sample;
use crate::evaluate::reconstruct::HeldOutFrame;
use crate::evaluate::requests::{self, Milestone, Requests};
use unireal::Image;
use unireal::Pipeline;
use unireal::internals::config::{Attention, Config};
use unireal::internals::gpu::device::Opened;
use unireal::internals::model::Model;
use unireal::internals::model::text;
use unireal::internals::model::transformer;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::noise::Noise;
use unireal::internals::tokenizer::Tokenizer;
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Result};

/// Number of images on which the latents' mean and standard deviation are measured.
const MEASURED: usize = 512;

/// Losses of a micro-batch.
pub(super) struct Losses {
    /// The losses that are minimised, `[b]`.
    pub(super) losses: Tensor<1>,
    /// The losses that the curves show, `[b]`.
    pub(super) shown: Tensor<1>,
    /// The kind of each sample.
    pub(super) names: Vec<String>,
}

/// The interface of a stage to the training loop.
pub(super) trait Task: Sync {
    /// The networks that the task trains.
    type Module: Module + Sync;
    /// A micro-batch, prepared in CPU memory.
    type MicroBatch: Send + Sync + 'static;
    /// Returns the device, with autodiff enabled.
    fn device(&self) -> &Device;
    /// Initialises new networks.
    fn fresh(&self) -> Self::Module;
    /// Reads the networks that the run's folder holds as a pack; `None` if it holds none.
    fn published(&self, run: &Path) -> Result<Option<Self::Module>>;
    /// Draws one group of a batch as `count` micro-batches of equal size. Called by the thread that prepares batches.
    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Self::MicroBatch>>;
    /// Computes the losses of a micro-batch on a device.
    fn losses(
        &self,
        module: &Self::Module,
        batch: &Self::MicroBatch,
        on: &Device,
    ) -> Result<Losses>;
    /// Returns micro-batches of held-out samples, the same each time; empty if no samples are held out.
    fn held_out(&self) -> Result<Vec<Self::MicroBatch>>;
    /// Returns an image of the averaged networks' results for fixed samples; `None` if there is none.
    fn preview(&self, averaged: &Self::Module) -> Result<Option<Image>>;
    /// Returns a contact sheet and scores of the averaged networks; `None` for networks without milestones.
    ///
    /// # Errors
    /// Errors of the networks.
    fn milestone(&self, _averaged: &Self::Module) -> Result<Option<Milestone>> {
        Ok(None)
    }
    /// Writes the averaged networks to the run's folder as a pack.
    fn publish(&self, averaged: &Self::Module, run: &Path) -> Result<()>;
}

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
            let reason = format!(
                "size is {}; the autoencoder needs a multiple of {stride}",
                stage.size
            );
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
    fn decoded(&self, crops: &[Crop]) -> Result<TensorData> {
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
            pixels: self.decoded(&crops)?,
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
        Autoencoder::new(&self.config.vae, Encoding::F32, &self.device)
    }

    fn published(&self, run: &Path) -> Result<Option<Autoencoder>> {
        checkpoint::load(self.fresh(), vae::NAMES, &run.join("vae"), &self.device)
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Images>> {
        let each = self.stage.batch / self.stage.groups / count;
        (0..count)
            .map(|_| self.draw(&self.crops, each, rng))
            .collect()
    }

    fn losses(&self, module: &Autoencoder, batch: &Images, on: &Device) -> Result<Losses> {
        let tensor = |data: &TensorData| Tensor::<4>::from_data(data.clone(), on);
        let (pixels, noise) = (tensor(&batch.pixels), tensor(&batch.noise));
        let count = pixels.dims()[0];
        let (losses, shown) = vae_losses(module, pixels, noise, &self.stage);
        Ok(Losses {
            losses,
            shown,
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
            let back = averaged.decode_latent(mean);
            pairs.push([image, pollster::block_on(Image::from_tensor(back))?]);
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
        for _ in 0..MEASURED / 32 {
            let crops: Vec<Crop> = (0..32).map(|_| self.crops.draw(&mut rng)).collect();
            let pixels = Tensor::from_data(self.decoded(&crops)?, &device);
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

/// Trains text encoder and transformer on latents.
pub(super) struct FlowTask {
    config: Config,
    stage: Stage,
    device: Device,
    tokenizer: Tokenizer,
    vae: Autoencoder,
    pool: Pool,
    held_out: Option<Pool>,
    shown: Vec<Sample>,
    /// The requests of milestones, rendered at the first milestone.
    requests: OnceLock<Requests>,
}

impl FlowTask {
    pub(super) fn new(
        run: &Path,
        config: &Config,
        settings: &Settings,
        stage: &Stage,
        device: &Device,
    ) -> Result<Self> {
        let grid = config.grid() as u32;
        let request = |reason: String| Error::Request(format!("stage {:?}: {reason}", stage.name));
        if !stage.size.is_multiple_of(grid) {
            let reason = format!(
                "size is {}; the model needs a multiple of {grid}",
                stage.size
            );
            return Err(request(reason));
        }
        if stage.grounding_only > 0.0 && config.transformer.attention == Attention::InputsApart {
            return Err(request(format!(
                "grounding_only is {} and the transformer's attention inputs-apart, in which the canvas does not see the words; expected \
                 0, or attention full or clean-apart",
                stage.grounding_only
            )));
        }
        let vae = Autoencoder::new(&config.vae, Encoding::F32, device);
        let vae = checkpoint::load(vae, vae::NAMES, &run.join("vae"), device)?;
        let vae = vae.ok_or_else(|| {
            let missing = run.join("vae/model.safetensors").display().to_string();
            Error::format(
                missing,
                "not there; a stage that trains the vae comes first",
            )
        })?;
        let encoder = || Encoder::of_run(vae.clone(), config, run, stage.size, device);
        let mixture = stage.mixture().map_err(request)?;
        let shown = preview::samples(settings, &mixture, &config.transformer)?;
        let held_out = if settings.held_out.is_empty() {
            None
        } else {
            let pool = Pool::start(
                &settings.held_out,
                mixture.clone(),
                &config.transformer,
                encoder()?,
            )?;
            // Wait for all of them, so that every call evaluates on the same samples.
            pool.wait(usize::MAX)?;
            Some(pool)
        };
        let size = config.text_encoder.vocab_size;
        let tokenizer = vocabulary::of_run(run, &settings.data, size)?;
        let pool = Pool::start(
            settings.data(stage),
            mixture,
            &config.transformer,
            encoder()?,
        )?;
        pool.wait(settings.first_samples)?;
        let absent = pool.absent();
        if !absent.is_empty() {
            eprintln!("{}: no sample yet of {}", stage.name, absent.join(", "));
        }
        Ok(FlowTask {
            config: config.clone(),
            stage: stage.clone(),
            device: device.clone().autodiff(),
            tokenizer,
            vae,
            pool,
            held_out,
            shown,
            requests: OnceLock::new(),
        })
    }
}

impl FlowTask {
    /// Returns the averaged networks as the pipeline that users run.
    fn pipeline(&self, averaged: &FlowNetworks) -> Pipeline {
        let model = Model {
            text: averaged.text.clone(),
            vae: self.vae.clone(),
            transformer: averaged.transformer.clone(),
        };
        let mut config = self.config.clone();
        config.index.sample_size = self.stage.size as usize;
        let opened = Opened::new(self.device.clone().inner());
        Pipeline::new(config, self.tokenizer.clone(), model, opened)
    }

    fn builder<'a>(&'a self, pool: &'a Pool, stage: &'a Stage) -> BatchBuilder<'a> {
        BatchBuilder {
            config: &self.config,
            stage,
            tokenizer: &self.tokenizer,
            latents: pool.latents(),
        }
    }
}

impl Task for FlowTask {
    type Module = FlowNetworks;
    type MicroBatch = MicroBatch;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> FlowNetworks {
        FlowNetworks::new(&self.config, &self.device)
    }

    fn published(&self, run: &Path) -> Result<Option<FlowNetworks>> {
        let FlowNetworks {
            text,
            transformer,
            grounding,
        } = self.fresh();
        let at = |name| run.join(name);
        let text = checkpoint::load(text, text::NAMES, &at("text_encoder"), &self.device)?;
        let names = transformer::NAMES;
        let transformer = checkpoint::load(transformer, names, &at("transformer"), &self.device)?;
        let both = text.zip(transformer);
        Ok(both.map(|(text, transformer)| FlowNetworks {
            text,
            transformer,
            grounding,
        }))
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<MicroBatch>> {
        let drawn = self.pool.draw(self.stage.batch / self.stage.groups, rng);
        let mode = if rng.random_bool(self.stage.grounding_only) && drawn.has_target_mask() {
            LossMode::GroundingOnly
        } else if rng.random_bool(self.stage.image_dropout) {
            LossMode::Unconditional
        } else {
            LossMode::Full
        };
        self.builder(&self.pool, &self.stage)
            .micro_batches(drawn, mode, count, rng)
    }

    /// Draws without dropout, because users send full requests.
    fn held_out(&self) -> Result<Vec<MicroBatch>> {
        let Some(pool) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let stage = Stage {
            text_dropout: 0.0,
            ..self.stage.clone()
        };
        let builder = self.builder(pool, &stage);
        let mut batches = Vec::new();
        for _ in 0..16 {
            let drawn = pool.draw(16, &mut rng);
            batches.extend(builder.micro_batches(drawn, LossMode::Full, 1, &mut rng)?);
        }
        Ok(batches)
    }

    fn preview(&self, averaged: &FlowNetworks) -> Result<Option<Image>> {
        if self.shown.is_empty() {
            return Ok(None);
        }
        preview::sheet(&self.pipeline(averaged), &self.shown, self.stage.size).map(Some)
    }

    fn milestone(&self, averaged: &FlowNetworks) -> Result<Option<Milestone>> {
        if self.requests.get().is_none() {
            let _ = self.requests.set(Requests::new(self.stage.size)?);
        }
        let requests = self
            .requests
            .get()
            .expect("the requests were just rendered");
        requests.milestone(&self.pipeline(averaged)).map(Some)
    }

    fn losses(&self, module: &FlowNetworks, batch: &MicroBatch, on: &Device) -> Result<Losses> {
        let patch = self.config.transformer.patch_size;
        Ok(module.losses(batch, patch, self.stage.grounding, on))
    }

    fn publish(&self, averaged: &FlowNetworks, run: &Path) -> Result<()> {
        checkpoint::save(&averaged.text, text::NAMES, &run.join("text_encoder"))?;
        let names = transformer::NAMES;
        checkpoint::save(&averaged.transformer, names, &run.join("transformer"))?;
        let mut config = Config::read(run)?;
        config.index.sample_size = self.stage.size as usize;
        config.write(run)
    }
}
