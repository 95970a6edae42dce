//! Training, small enough to read in one go: a stage is a loss and its data; one loop serves both.
//!
//! `unireal train --stage vae` teaches the autoencoder to keep pictures; `--stage flow` teaches text encoder and
//! transformer together (their text is the world's own; large packs keep T5 as it is). A run is a folder in the pack's layout
//! with f32 weights, so that `unireal pack` reads it as it stands, plus the raw weights to go on from and the loss curves.

pub(super) mod checkpoint;
mod data;
pub mod flow;
pub mod optimizer;
mod stage;
mod vae;
pub mod vocabulary;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use data::HELD_OUT;

use crate::config::Config;
use crate::error::{Error, Result};
use optimizer::{Average, Optimizer, OptimizerConfig, Rule};
use stage::{FlowStage, Stage, VaeStage};

/// What `unireal train` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to train: vae first, then flow
    #[arg(long)]
    pub stage: StageName,
    /// The run's folder; a run that is there goes on
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The model's shape, for a new run
    #[arg(long, default_value = "tiny")]
    pub preset: String,
    /// Wall-clock minutes of this call; the learning rate falls to a twentieth over the last third
    #[arg(long, default_value_t = 60.0)]
    pub minutes: f64,
    /// Stop after this many steps of this call, if that comes first
    #[arg(long)]
    pub steps: Option<usize>,
    /// Samples in a batch
    #[arg(long, default_value_t = 64)]
    pub batch: usize,
    /// Threads among which a batch is divided
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub rate: f64,
    /// Steps over which the learning rate rises
    #[arg(long, default_value_t = 100)]
    pub warmup: usize,
    /// Decay of the moving average of the weights
    #[arg(long, default_value_t = 0.999)]
    pub ema: f64,
    /// adamw or muon
    #[arg(long, default_value = "adamw")]
    pub optimizer: Rule,
    /// How many families of scenes to draw from
    #[arg(long, default_value_t = 8000)]
    pub families: usize,
    /// Weight of the latent's divergence (vae)
    #[arg(long, default_value_t = 1e-4)]
    pub kl: f64,
    /// How much more the cells count that an edit changes (flow)
    #[arg(long, default_value_t = 3.0)]
    pub changed: f32,
    /// Part of prompts that are left empty, for guidance (flow)
    #[arg(long, default_value_t = 0.1)]
    pub text_dropout: f64,
    /// Seed of data, times and noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// The stages of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StageName {
    /// The autoencoder.
    Vae,
    /// Text encoder and transformer.
    Flow,
}

/// Runs one stage.
///
/// # Errors
/// [`Error::Format`] for a folder that does not hold what a run needs, [`Error::Internal`] when the loss is no number.
pub fn run(options: &Options) -> Result<()> {
    let config = config(&options.out, &options.preset)?;
    let device = Device::flex();
    match options.stage {
        StageName::Vae => train(VaeStage::new(&config, options, &device)?, options),
        StageName::Flow => train(FlowStage::new(&config, options, &device)?, options),
    }
}

/// The run's configuration: what its folder holds, or the preset, which is then written there.
fn config(run: &Path, preset: &str) -> Result<Config> {
    if run.join("model_index.json").exists() {
        return Config::read(run);
    }
    let config = Config::preset(preset)?.check()?;
    config.write(run)?;
    Ok(config)
}

fn train<S: Stage>(stage: S, options: &Options) -> Result<()> {
    let run = &options.out;
    let mut module = stage.resume(run)?;
    let mut average = Average::new(&stage.averaged(run)?, options.ema);
    let mut optimizer = Optimizer::new(&OptimizerConfig {
        rule: options.optimizer,
        ..OptimizerConfig::default()
    });
    let budget = Duration::from_secs_f64(options.minutes * 60.0);
    let (started, mut saved) = (Instant::now(), Instant::now());
    let mut curve = Curve::open(run, S::NAME)?;
    let limit = options.steps.unwrap_or(usize::MAX);
    // A run that goes on must not draw its first batches again: the streams differ with what the curve already holds.
    let resumed = curve.lines;
    let mut generators: Vec<ChaCha8Rng> = (0..options.threads.max(1))
        .map(|thread| {
            let mut generator = ChaCha8Rng::seed_from_u64(options.seed);
            generator.set_stream((resumed << 16) | thread as u64);
            generator
        })
        .collect();
    let mut step = 0;
    while step < limit && started.elapsed() < budget {
        let progress = (started.elapsed().as_secs_f64() / budget.as_secs_f64())
            .max(step as f64 / limit as f64);
        let warm = ((step + 1) as f64 / options.warmup.max(1) as f64).min(1.0);
        let cool = ((1.0 - progress) * 3.0).clamp(0.05, 1.0);
        let (value, gradients) = parallel(&stage, &module, &mut generators)?;
        if !value.is_finite() {
            return Err(Error::Internal(format!(
                "the loss is {value} at step {step}; the last checkpoint is whole, go on with a lower rate"
            )));
        }
        module = optimizer.step(module, gradients, options.rate * warm * cool);
        average.update(&module);
        step += 1;
        curve.add(value, step * options.batch, started.elapsed())?;
        if saved.elapsed() > Duration::from_secs(60) {
            stage.save(&module, &average, run)?;
            saved = Instant::now();
        }
    }
    stage.save(&module, &average, run)
}

/// Loss and gradients of one batch, its parts computed in threads of their own: on the CPU most operations between
/// the matrix products use one core.
fn parallel<S: Stage>(
    stage: &S,
    module: &S::Module,
    generators: &mut [ChaCha8Rng],
) -> Result<(f32, Vec<GradientsParams>)> {
    let count = generators.len();
    let parts: Vec<Result<(f32, GradientsParams)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = generators
            .iter_mut()
            .map(|generator| {
                scope.spawn(|| {
                    // A graph of its own: burn's autodiff takes its locks in different orders forward and backward, so
                    // threads that share a parameter's graph can stop for ever.
                    let module = module.clone().fork(stage.device());
                    let loss = stage.loss(&module, generator)?;
                    let value = loss.clone().into_scalar::<f32>();
                    Ok((value, GradientsParams::from_grads(loss.backward(), &module)))
                })
            })
            .collect();
        let died = |_| Err(Error::Internal("a training thread panicked".into()));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(died))
            .collect()
    });
    let mut sum = 0.0;
    let mut gradients = Vec::with_capacity(count);
    for part in parts {
        let (loss, gradient) = part?;
        sum += loss;
        gradients.push(gradient);
    }
    Ok((sum / count as f32, gradients))
}

/// The loss over samples and seconds, as a CSV file that later calls append to.
struct Curve {
    file: std::fs::File,
    path: String,
    name: &'static str,
    sum: f64,
    count: usize,
    written: Duration,
    /// Lines of earlier calls.
    lines: u64,
}

impl Curve {
    fn open(run: &Path, name: &'static str) -> Result<Self> {
        let path = run.join(format!("{name}-curve.csv"));
        let fail = |e: std::io::Error| Error::format(path.display().to_string(), e);
        let lines = match std::fs::read_to_string(&path) {
            Ok(text) => text.lines().count() as u64,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(fail(e)),
        };
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(fail)?;
        if lines == 0 {
            writeln!(file, "samples,seconds,loss").map_err(fail)?;
        }
        Ok(Curve {
            file,
            path: path.display().to_string(),
            name,
            sum: 0.0,
            count: 0,
            written: Duration::ZERO,
            lines,
        })
    }

    /// Takes a loss in; writes the mean of those since the last line every ten seconds.
    fn add(&mut self, loss: f32, samples: usize, elapsed: Duration) -> Result<()> {
        self.sum += f64::from(loss);
        self.count += 1;
        if elapsed < self.written + Duration::from_secs(10) {
            return Ok(());
        }
        let mean = self.sum / self.count as f64;
        let seconds = elapsed.as_secs();
        writeln!(self.file, "{samples},{seconds},{mean:.5}")
            .map_err(|e| Error::format(&self.path, e))?;
        eprintln!(
            "{}: {samples} samples, {seconds} s, loss {mean:.5}",
            self.name
        );
        (self.sum, self.count, self.written) = (0.0, 0, elapsed);
        Ok(())
    }
}
