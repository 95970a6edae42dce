//! Training. A run is a list of stages, each with its settings: the autoencoder, then text encoder and transformer on all
//! kinds of samples, then the same at higher resolutions, or small encoders for the evaluation. One loop trains all stages.
//!
//! `unireal train --config FILE.json --out RUN` trains the stages in order and resumes the run when it is started again after a
//! kill. The run's folder has the layout of a pack, with averaged f32 weights, so that `unireal pack` reads it directly; `clip/`
//! and `dino/`, written by encoder stages, have the layout of published encoders. The folder also holds `resume/` (checkpoints),
//! `latents/` (encoded shards) and `curves/`.

mod adamw;
mod average;
mod batch;
pub mod bench;
pub mod bench_whole;
pub(super) mod checkpoint;
mod cpu_tensor;
mod curve;
mod data;
pub mod devices;
pub mod encode;
mod encoders;
pub mod flow;
mod flow_networks;
mod flow_task;
pub mod grounding;
pub mod grow;
pub mod initialise;
mod milestones;
mod muon;
pub mod optimizer;
mod plot;
mod prefetch;
mod preview;
mod resume;
pub mod settings;
mod shape;
pub(crate) mod start;
mod step;
mod task;
mod throughput;
mod trainer;
mod vae;
mod vae_task;
pub mod vocabulary;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};

use encoders::{ClipTask, DinoTask};
use flow_task::FlowTask;
use settings::{Networks, Settings, Stage};
use trainer::{finished, train};
use unireal::internals::config::Config;
use unireal::internals::cpu::gemm::engine::{self, Precision};
use unireal::{Error, Result};
use vae_task::VaeTask;

/// Options of `unireal train`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The run's settings, a JSON file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The run's folder; an existing run is resumed
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A pack, of any encoding, whose weights initialise a new run; the preset may be deeper, or have more latent channels or
    /// another vocabulary
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Networks to take from that pack, by default all; the others start with fresh weights
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "NETWORK",
        requires = "from"
    )]
    pub take: Vec<grow::Network>,
    /// A pack, of any encoding, from which a new run resumes, with its weights and in the stage at which it was packed. If the preset
    /// has another shape, the run starts with fresh weights
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    pub resume_from: Option<PathBuf>,
    /// Train only this stage
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// Length of each stage in minutes, instead of the settings'
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Device to compute on
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: devices::Kind,
    /// Precision of matrix products on the CPU; by default bf16 if the CPU has instructions for it
    #[arg(long, value_parser = crate::arguments::precision())]
    pub precision: Option<Precision>,
    /// Number of devices; threads are assigned to them in turn
    #[arg(long, default_value_t = 1)]
    pub devices: usize,
    /// Stop after this many minutes; the next call resumes the run
    #[arg(long, value_name = "MINUTES")]
    pub limit: Option<f64>,
    /// Only test the devices: open them, add two numbers on each, and exit
    #[arg(long)]
    pub probe: bool,
}

/// Trains the stages of a run.
///
/// # Errors
/// [`Error::Format`] for incomplete settings, an incomplete run folder, or settings that do not match the folder;
/// [`Error::Request`] for an unknown stage, and when the loss is not finite.
pub fn run(options: &Options) -> Result<()> {
    let settings = apply_options(Settings::read(&options.config)?, options)?;
    let precision = match options.device {
        devices::Kind::Cpu => engine::choose(options.precision, true),
        _ => Precision::F32,
    };
    let _precision = engine::scoped(precision);
    if let (Precision::Bf16, Some(engine)) = (precision, engine::engine()) {
        eprintln!("matrix products in bf16 by {engine}");
    }
    let run = &options.out;
    let devices = devices::open(options.device, options.devices)?;
    if options.probe {
        return devices.iter().try_for_each(probe);
    }
    start::prepare(options, &settings)?;
    shape::check(run, &settings)?;
    for stage in &settings.stages {
        if let Some(warning) = resume::recover(run, stage)? {
            eprintln!("warning: {warning}");
        }
    }
    let end = options
        .limit
        .map(|minutes| Instant::now() + duration(minutes));
    for stage in &settings.stages {
        let progress = resume::progress(run, stage)?;
        if progress.done && finished(stage, &progress) {
            eprintln!("{}: done", stage.name);
            continue;
        }
        if !train_stage(run, &settings, stage, &devices, end)? {
            break;
        }
    }
    Ok(())
}

/// Trains a stage to its end or until the time `end`; returns whether the stage is done.
fn train_stage(
    run: &Path,
    settings: &Settings,
    stage: &Stage,
    devices: &[Device],
    end: Option<Instant>,
) -> Result<bool> {
    let device = &devices[0];
    device.seed(settings.seed);
    let config = Config::read(run)?;
    match stage.train {
        Networks::Vae => {
            let task = VaeTask::new(&config, settings, stage, device)?;
            train(&task, settings, stage, run, devices, end)
        }
        Networks::Flow => {
            let task = FlowTask::new(run, &config, settings, stage, device)?;
            train(&task, settings, stage, run, devices, end)
        }
        Networks::Clip => {
            let task = ClipTask::new(run, settings, stage, device)?;
            train(&task, settings, stage, run, devices, end)
        }
        Networks::Dino => {
            let task = DinoTask::new(settings, stage, device)?;
            train(&task, settings, stage, run, devices, end)
        }
    }
}

/// Adds two numbers on a device to check that it works.
fn probe(device: &Device) -> Result<()> {
    let one = Tensor::<1>::from_floats([1.0], device);
    let sum = (one.clone() + one).try_into_data();
    let sum = sum.map_err(|e| Error::DeviceLost(format!("reading a sum: {e:?}")))?;
    match sum.iter::<f32>().next() {
        Some(2.0) => Ok(()),
        found => Err(Error::DeviceLost(format!(
            "adding 1 and 1 on {device:?}: {found:?}, expected 2"
        ))),
    }
}

/// Applies the options to the settings.
fn apply_options(mut settings: Settings, options: &Options) -> Result<Settings> {
    if let Some(name) = &options.stage {
        let names: Vec<String> = settings.stages.iter().map(|s| s.name.clone()).collect();
        settings.stages.retain(|stage| stage.name == *name);
        if settings.stages.is_empty() {
            let names = names.join(", ");
            return Err(Error::Request(format!(
                "--stage: {name:?}, expected one of {names}"
            )));
        }
    }
    for (option, minutes) in [("minutes", options.minutes), ("limit", options.limit)] {
        if minutes.is_some_and(|minutes| !(0.0..=1e6).contains(&minutes)) {
            let minutes = minutes.unwrap_or_default();
            return Err(Error::Request(format!(
                "--{option}: {minutes}, expected 0 to 1000000"
            )));
        }
    }
    if let Some(minutes) = options.minutes {
        for stage in &mut settings.stages {
            (stage.minutes, stage.steps) = (Some(minutes), None);
        }
    }
    Ok(settings)
}

fn duration(minutes: f64) -> Duration {
    Duration::from_secs_f64(60.0 * minutes)
}
