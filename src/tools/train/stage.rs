//! The two stages: what they train, on which batches, and what they keep.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::super::world::{self, Kind};
use super::data::{Entry, Pool, pictures, stacked};
use super::flow::{Batch, flow_loss};
use super::optimizer::Average;
use super::vae::vae_loss;
use super::vocabulary::vocabulary;
use super::{Options, checkpoint};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::model::sequence::{InputFrame, TextStates};
use crate::model::text::{self, TextEncoder};
use crate::model::transformer::{self, Transformer};
use crate::model::vae::{self, Autoencoder};
use crate::pipeline::batch_tokens;
use crate::request::{self, Role};
use crate::tokenizer::{Tokenizer, Tokens};
use crate::weights::quant::Encoding;

/// Texts from which the tokenizer is made.
const CORPUS: usize = 20_000;

/// Pictures on which the latents' mean and spread are measured.
const MEASURED: usize = 512;

/// How often each kind is drawn. Choice: the kinds that the first pack is judged by come most often; text to image is
/// there so that the model also knows scenes without a canvas.
const KINDS: [(Kind, f64); 6] = [
    (Kind::Recolour, 0.35),
    (Kind::Remove, 0.28),
    (Kind::Add, 0.13),
    (Kind::Move, 0.10),
    (Kind::Segment, 0.06),
    (Kind::TextToImage, 0.08),
];

/// What the loop needs of a stage.
pub(super) trait Stage: Sync {
    /// The networks that it trains.
    type Module: Module + Sync;
    /// Name of the curve.
    const NAME: &'static str;
    /// Where it computes.
    fn device(&self) -> &Device;
    /// The weights to go on from: the run's raw ones, else new ones.
    fn resume(&self, run: &Path) -> Result<Self::Module>;
    /// The averaged weights so far, else the same as [`Stage::resume`].
    fn averaged(&self, run: &Path) -> Result<Self::Module>;
    /// The loss of one thread's part of a new batch.
    fn loss(&self, module: &Self::Module, rng: &mut ChaCha8Rng) -> Result<Tensor<1>>;
    /// Writes raw and averaged weights.
    fn save(&self, module: &Self::Module, average: &Average, run: &Path) -> Result<()>;
}

/// The autoencoder on pictures of the world.
pub(super) struct VaeStage {
    config: Config,
    device: Device,
    pool: Pool,
    /// Samples of one thread's part.
    batch: usize,
    kl: f64,
}

impl VaeStage {
    pub(super) fn new(config: &Config, options: &Options, device: &Device) -> Result<Self> {
        device.seed(options.seed);
        let size = config.index.sample_size as u32;
        let pool = Pool::start(options.seed, size, options.families, |_| Vec::new());
        pool.wait(options.families.min(64))?;
        Ok(VaeStage {
            config: config.clone(),
            device: device.clone().autodiff(),
            pool,
            batch: options.batch / options.threads.max(1),
            kl: options.kl,
        })
    }

    fn fresh(&self) -> Autoencoder {
        Autoencoder::new(&self.config.vae, Encoding::F32, &self.device)
    }
}

impl Stage for VaeStage {
    type Module = Autoencoder;
    const NAME: &'static str = "vae";

    fn device(&self) -> &Device {
        &self.device
    }

    fn resume(&self, run: &Path) -> Result<Autoencoder> {
        let folder = run.join("resume/vae");
        let found = checkpoint::load(self.fresh(), vae::NAMES, &folder, &self.device)?;
        Ok(found.unwrap_or_else(|| self.fresh()))
    }

    fn averaged(&self, run: &Path) -> Result<Autoencoder> {
        let found = checkpoint::load(self.fresh(), vae::NAMES, &run.join("vae"), &self.device)?;
        found.map_or_else(|| self.resume(run), Ok)
    }

    fn loss(&self, module: &Autoencoder, rng: &mut ChaCha8Rng) -> Result<Tensor<1>> {
        let entries: Vec<_> = (0..self.batch).map(|_| self.pool.draw(rng)).collect();
        let images: Vec<&Image> = entries
            .iter()
            .map(|entry| {
                let images = &entry.family.images;
                &images[rng.random_range(0..images.len())]
            })
            .collect();
        Ok(vae_loss(module, pictures(&images, &self.device), self.kl))
    }

    /// Also measures the latents, so that the transformer sees mean 0 and spread 1.
    fn save(&self, module: &Autoencoder, average: &Average, run: &Path) -> Result<()> {
        checkpoint::save(module, vae::NAMES, &run.join("resume/vae"))?;
        let averaged = average.apply(module.clone()).valid();
        checkpoint::save(&averaged, vae::NAMES, &run.join("vae"))?;
        let device = self.device.clone().inner();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for _ in 0..MEASURED / 64 {
            let entries: Vec<_> = (0..64).map(|_| self.pool.draw(&mut rng)).collect();
            let images: Vec<&Image> = entries.iter().map(|e| &e.family.images[0]).collect();
            let moments = averaged.moments(pictures(&images, &device));
            let mean = moments.narrow(1, 0, self.config.vae.latent_channels);
            count += mean.shape().num_elements() as f64;
            sum += f64::from(mean.clone().sum().into_scalar::<f32>());
            squares += f64::from(mean.square().sum().into_scalar::<f32>());
        }
        let mean = sum / count;
        let mut config = self.config.clone();
        config.vae.shift_factor = Some(mean);
        config.vae.scaling_factor = 1.0 / (squares / count - mean * mean).sqrt();
        config.write(run)
    }
}

/// Text encoder and transformer, which the flow stage trains together.
#[derive(Module, Debug)]
pub(super) struct Networks {
    text: TextEncoder,
    transformer: Transformer,
}

/// Text encoder and transformer on latents of the world's tasks.
pub(super) struct FlowStage {
    config: Config,
    device: Device,
    tokenizer: Tokenizer,
    pool: Pool,
    /// Samples of one thread's part.
    batch: usize,
    changed: f32,
    text_dropout: f64,
}

impl FlowStage {
    pub(super) fn new(config: &Config, options: &Options, device: &Device) -> Result<Self> {
        device.seed(options.seed);
        let run = &options.out;
        let vae = Autoencoder::new(&config.vae, Encoding::F32, device);
        let vae =
            checkpoint::load(vae, vae::NAMES, &run.join("vae"), device)?.ok_or_else(|| {
                let missing = run.join("vae/model.safetensors").display().to_string();
                Error::format(missing, "not there; run --stage vae first")
            })?;
        let on = device.clone();
        let encode = move |images: &[Image]| {
            let images: Vec<&Image> = images.iter().collect();
            let latents = vae.encode(pictures(&images, &on), None);
            let values: Vec<f32> = latents.into_data().iter::<f32>().collect();
            let one = values.len() / images.len();
            values.chunks(one).map(<[f32]>::to_vec).collect()
        };
        let size = config.index.sample_size as u32;
        let pool = Pool::start(options.seed, size, options.families, encode);
        let tokenizer = tokenizer(config, run)?;
        pool.wait(options.families.min(64))?;
        Ok(FlowStage {
            config: config.clone(),
            device: device.clone().autodiff(),
            tokenizer,
            pool,
            batch: options.batch / options.threads.max(1),
            changed: options.changed,
            text_dropout: options.text_dropout,
        })
    }

    fn fresh(&self) -> Networks {
        Networks {
            text: TextEncoder::new(&self.config.text_encoder, Encoding::F32, &self.device),
            transformer: Transformer::new(&self.config.transformer, Encoding::F32, &self.device),
        }
    }

    fn load(&self, folder: &Path) -> Result<Option<Networks>> {
        let Networks { text, transformer } = self.fresh();
        let at = |name| folder.join(name);
        let text = checkpoint::load(text, text::NAMES, &at("text_encoder"), &self.device)?;
        let names = transformer::NAMES;
        let transformer = checkpoint::load(transformer, names, &at("transformer"), &self.device)?;
        Ok(text
            .zip(transformer)
            .map(|(text, transformer)| Networks { text, transformer }))
    }

    fn write(networks: &Networks, folder: &Path) -> Result<()> {
        checkpoint::save(&networks.text, text::NAMES, &folder.join("text_encoder"))?;
        let names = transformer::NAMES;
        checkpoint::save(&networks.transformer, names, &folder.join("transformer"))
    }

    /// A batch whose samples share their geometry: all with a canvas, or all without.
    fn batch(&self, networks: &Networks, rng: &mut ChaCha8Rng) -> Result<Batch> {
        let from_text = kind(rng) == Kind::TextToImage;
        let c = &self.config;
        let cells = c.index.sample_size / c.vae.stride();
        let shape = [self.batch, c.vae.latent_channels, cells, cells];
        let (mut inputs, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut texts: Vec<Tokens> = Vec::new();
        while targets.len() < self.batch {
            let kind = match from_text {
                true => Kind::TextToImage,
                false => match kind(rng) {
                    Kind::TextToImage => continue,
                    kind => kind,
                },
            };
            let entry: std::sync::Arc<Entry> = self.pool.draw(rng);
            let Some(pair) = entry.pair(kind, rng) else {
                continue;
            };
            let (prompt, tags) = pair.prompt(&entry.family, rng);
            let text = match rng.random_bool(self.text_dropout) {
                true => String::new(),
                false => request::text(&tags, &prompt),
            };
            texts.push(self.tokenizer.encode(&text)?);
            inputs.extend(pair.from.map(|from| entry.latents[from].clone()));
            targets.push(entry.latents[pair.to].clone());
            weights.push(entry.cell_weights(&pair, cells, self.changed));
        }
        let texts: Vec<&Tokens> = texts.iter().collect();
        let (ids, words, mask) = batch_tokens(&texts, &self.config, &self.device);
        let targets = stacked(&targets, shape, &self.device);
        Ok(Batch {
            text: TextStates {
                states: networks.text.forward(ids, mask.clone()),
                words,
                mask,
            },
            inputs: match from_text {
                true => Vec::new(),
                false => vec![InputFrame {
                    latent: stacked(&inputs, shape, &self.device),
                    role: Role::Canvas,
                }],
            },
            noise: vec![targets.random_like(Distribution::Normal(0.0, 1.0))],
            targets: vec![targets],
            t: times(self.batch, rng, &self.device),
            weights: vec![stacked(
                &weights,
                [self.batch, 1, cells, cells],
                &self.device,
            )],
        })
    }
}

fn kind(rng: &mut impl Rng) -> Kind {
    let total: f64 = KINDS.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.random_range(0.0..total);
    for (kind, weight) in KINDS {
        if at < weight {
            return kind;
        }
        at -= weight;
    }
    KINDS[0].0
}

/// Logit-normal times (Esser et al., 2024), which visit the middle of the way most; a tenth is drawn evenly so that both
/// ends are seen.
fn times(count: usize, rng: &mut impl Rng, device: &Device) -> Tensor<1> {
    let times: Vec<f32> = (0..count)
        .map(|_| match rng.random_bool(0.1) {
            true => rng.random_range(0.0..1.0),
            false => {
                let z: f32 = StandardNormal.sample(rng);
                1.0 / (1.0 + (-z).exp())
            }
        })
        .collect();
    Tensor::from_data(TensorData::new(times, [count]), device)
}

/// The run's tokenizer, made from the world's wording when there is none.
fn tokenizer(config: &Config, run: &Path) -> Result<Tokenizer> {
    let path = run.join("tokenizer/tokenizer.json");
    if !path.exists() {
        let json = vocabulary(&world::corpus(0, CORPUS), config.text_encoder.vocab_size)?;
        checkpoint::write(&path, json.as_bytes())?;
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::format(path.display().to_string(), e))?;
    Tokenizer::from_json(&bytes)
}

impl Stage for FlowStage {
    type Module = Networks;
    const NAME: &'static str = "flow";

    fn device(&self) -> &Device {
        &self.device
    }

    fn resume(&self, run: &Path) -> Result<Networks> {
        let found = self.load(&run.join("resume"))?;
        Ok(found.unwrap_or_else(|| self.fresh()))
    }

    fn averaged(&self, run: &Path) -> Result<Networks> {
        self.load(run)?.map_or_else(|| self.resume(run), Ok)
    }

    fn loss(&self, module: &Networks, rng: &mut ChaCha8Rng) -> Result<Tensor<1>> {
        let batch = self.batch(module, rng)?;
        let patch = self.config.transformer.patch_size;
        Ok(flow_loss(&module.transformer, patch, &batch))
    }

    fn save(&self, module: &Networks, average: &Average, run: &Path) -> Result<()> {
        Self::write(module, &run.join("resume"))?;
        Self::write(&average.apply(module.clone()).valid(), run)
    }
}
