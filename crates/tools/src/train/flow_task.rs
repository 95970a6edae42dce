//! The task of flow stages.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{BatchBuilder, LossMode, MicroBatch};
use super::data::{Encoder, Pool};
use super::flow_networks::FlowNetworks;
use super::settings::{Settings, Stage};
use super::task::{Losses, Task};
use super::{checkpoint, preview, vocabulary};
use crate::data::Sample;
use crate::evaluate::requests::{Milestone, Requests};
use unireal::internals::config::{Attention, Config};
use unireal::internals::gpu::device::Opened;
use unireal::internals::model::Model;
use unireal::internals::model::text;
use unireal::internals::model::transformer;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::tokenizer::Tokenizer;
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Image, Pipeline, Result};

/// Trains text encoder and transformer on latents.
pub(super) struct FlowTask {
    config: Config,
    stage: Stage,
    device: Device,
    tokenizer: Tokenizer,
    vae: Autoencoder,
    pool: Pool,
    held_out: Option<Pool>,
    previews: Vec<Sample>,
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
        let fail = |reason: String| Error::Request(format!("stage {:?}: {reason}", stage.name));
        check(config, stage).map_err(fail)?;
        let mixture = stage.mixture().map_err(fail)?;
        let vae = trained_vae(config, run, device)?;
        let start_pool = |shards: &[PathBuf]| {
            let encoder = Encoder::for_run(vae.clone(), config, run, stage.size, device)?;
            Pool::start(shards, mixture.clone(), &config.transformer, encoder)
        };
        let previews = preview::samples(settings, &mixture, &config.transformer)?;
        let held_out = if settings.held_out.is_empty() {
            None
        } else {
            let pool = start_pool(&settings.held_out)?;
            // Wait for all of them, so that every call evaluates on the same samples.
            pool.wait(usize::MAX)?;
            Some(pool)
        };
        let size = config.text_encoder.vocab_size;
        let tokenizer = vocabulary::read_or_train(run, &settings.data, size)?;
        let pool = start_pool(settings.data(stage))?;
        pool.wait(settings.first_samples)?;
        let missing = pool.missing_kinds();
        if !missing.is_empty() {
            eprintln!("{}: no sample yet of {}", stage.name, missing.join(", "));
        }
        Ok(FlowTask {
            config: config.clone(),
            stage: stage.clone(),
            device: device.clone().autodiff(),
            tokenizer,
            vae,
            pool,
            held_out,
            previews,
            requests: OnceLock::new(),
        })
    }

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

/// Checks that the model supports the stage; the error is a message.
fn check(config: &Config, stage: &Stage) -> std::result::Result<(), String> {
    let grid = config.grid() as u32;
    if !stage.size.is_multiple_of(grid) {
        return Err(format!(
            "size is {}, expected a multiple of {grid}",
            stage.size
        ));
    }
    if stage.grounding_only > 0.0 && config.transformer.attention == Attention::InputsApart {
        return Err(format!(
            "grounding_only is {} with attention inputs-apart, in which the canvas does not attend to the prompt; expected 0, or \
             attention full or clean-apart",
            stage.grounding_only
        ));
    }
    Ok(())
}

/// Reads the autoencoder that an earlier stage has trained.
fn trained_vae(config: &Config, run: &Path, device: &Device) -> Result<Autoencoder> {
    let vae = Autoencoder::new(&config.vae, Encoding::F32, device);
    let folder = run.join("vae");
    checkpoint::load(vae, vae::NAMES, &folder, device)?.ok_or_else(|| {
        let file = folder.join("model.safetensors").display().to_string();
        Error::format(
            file,
            "the file is missing, expected the autoencoder of an earlier stage",
        )
    })
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
        let device = &self.device;
        let text = checkpoint::load(text, text::NAMES, &run.join("text_encoder"), device)?;
        let names = transformer::NAMES;
        let folder = run.join("transformer");
        let transformer = checkpoint::load(transformer, names, &folder, device)?;
        let networks = text.zip(transformer);
        Ok(networks.map(|(text, transformer)| FlowNetworks {
            text,
            transformer,
            grounding,
        }))
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<MicroBatch>> {
        let group = self.pool.draw(self.stage.batch / self.stage.groups, rng);
        let mode = if rng.random_bool(self.stage.grounding_only) && group.has_target_mask() {
            LossMode::GroundingOnly
        } else if rng.random_bool(self.stage.image_dropout) {
            LossMode::Unconditional
        } else {
            LossMode::Full
        };
        self.builder(&self.pool, &self.stage)
            .micro_batches(group, mode, count, rng)
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
            let group = pool.draw(16, &mut rng);
            batches.extend(builder.micro_batches(group, LossMode::Full, 1, &mut rng)?);
        }
        Ok(batches)
    }

    fn preview(&self, averaged: &FlowNetworks) -> Result<Option<Image>> {
        if self.previews.is_empty() {
            return Ok(None);
        }
        preview::sheet(&self.pipeline(averaged), &self.previews, self.stage.size).map(Some)
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
