//! `unireal bench train --whole`: times whole steps of a flow stage on random data in memory: the text encoder, the transformer,
//! flow and grounding losses, Muon and the moving average. Training from shards is as fast if the thread that prepares batches
//! keeps up.

use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{self, LossMode, MicroBatch, Size};
use super::bench::{TrainOptions, shape};
use super::flow_networks::FlowNetworks;
use super::resume::TrainState;
use super::settings::Stage;
use super::step::{compute, draw_micro_batches};
use super::task::{Losses, Task};
use crate::bench::memory;
use unireal::Image;
use unireal::internals::config::Config;
use unireal::internals::cpu::gemm::engine;
use unireal::{Error, Result};

/// Options of `unireal bench train --whole`.
#[derive(Clone, Debug, clap::Args)]
pub struct WholeOptions {
    /// Time whole steps of a flow stage, with the text encoder, the grounding loss, Muon and the moving average
    #[arg(long)]
    pub whole: bool,
    /// Number of groups in a step, each with one micro-batch per thread (with --whole)
    #[arg(long, default_value_t = 2)]
    pub groups: usize,
    /// Fraction of groups with only the grounding loss, 0 to 1 (with --whole)
    #[arg(long, default_value_t = 0.0)]
    pub grounding_only: f64,
}

/// Times whole steps and prints a line of JSON.
///
/// # Errors
/// As [`WholeStep::new`] and [`WholeStep::step`].
pub(super) fn run(options: &TrainOptions) -> Result<()> {
    let precision = engine::choose(options.precision, true);
    let _precision = engine::scoped(precision);
    let mut whole = WholeStep::new(options)?;
    let mut seconds = Vec::new();
    for _ in 0..=options.steps {
        let started = Instant::now();
        whole.step()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let mut timed = seconds.split_off(1);
    timed.sort_by(f64::total_cmp);
    // The throughput follows from the mean: steps differ if some groups have only the grounding loss.
    let mean = timed.iter().sum::<f64>() / timed.len() as f64;
    let median = timed.get(timed.len() / 2).copied().unwrap_or(f64::NAN);
    let line = serde_json::json!({
        "engine": "unireal", "what": "whole step", "step_seconds": median, "mean_step_seconds": mean,
        "samples_per_second": options.batch as f64 / mean, "config": whole.task.config.transformer, "batch": options.batch,
        "threads": options.threads, "cells": options.size / whole.task.config.vae.stride(), "text": options.text,
        "steps": options.steps, "groups": options.whole.groups, "grounding_only": options.whole.grounding_only,
        "peak_bytes": memory::peak(), "precision": precision.name(),
        "instructions": engine::engine().map(|engine| engine.to_string()), "cpu": engine::cpu_name(),
    });
    say!("{line}");
    Ok(())
}

/// Trains whole steps of a flow stage on random data in memory.
pub struct WholeStep {
    task: RandomFlow,
    train_state: TrainState<FlowNetworks>,
    devices: [Device; 1],
    threads: usize,
    stage: Stage,
    steps: u64,
}

impl WholeStep {
    /// Initialises the networks and one micro-batch per loss mode.
    ///
    /// # Errors
    /// [`Error::Request`] for a batch that cannot be divided, or sizes that the model does not support.
    pub fn new(options: &TrainOptions) -> Result<Self> {
        let config = shape(options)?;
        let stage = stage(options)?;
        let (size, text, grid) = (options.size, options.text, config.grid());
        if !size.is_multiple_of(grid) || text == 0 {
            return Err(Error::Request(format!(
                "size {size} and text {text}, expected a multiple of {grid} and 1 or more"
            )));
        }
        let device = Device::flex();
        device.seed(0);
        let size = Size {
            samples: options.batch / stage.groups / options.threads,
            text,
            cells: (size / config.vae.stride()) as u16,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let batches = [LossMode::Full, LossMode::GroundingOnly]
            .map(|mode| batch::random(&config, &stage, size, mode, &mut rng));
        let task = RandomFlow {
            device: device.autodiff(),
            config,
            batches,
            grounding_only: options.whole.grounding_only,
        };
        Ok(WholeStep {
            train_state: TrainState::new(task.fresh(), &stage, options.threads),
            devices: [task.device.clone()],
            threads: options.threads,
            task,
            stage,
            steps: 0,
        })
    }

    /// Trains one step.
    ///
    /// # Errors
    /// [`Error::Request`] when the gradients are not finite.
    pub fn step(&mut self) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.steps);
        self.steps += 1;
        let batches = draw_micro_batches(&self.task, self.stage.groups, self.threads, &mut rng)?;
        let step = compute(
            &self.task,
            self.train_state.module(),
            &batches,
            &self.devices,
        )?;
        self.train_state
            .step(step.gradients, self.stage.learning_rate)
    }
}

/// Returns a flow stage with Muon and the grounding loss.
fn stage(options: &TrainOptions) -> Result<Stage> {
    let WholeOptions {
        groups,
        grounding_only,
        ..
    } = options.whole;
    let json = serde_json::json!({
        "name": "bench", "train": "flow", "size": options.size, "steps": 1, "batch": options.batch, "groups": groups,
        "learning_rate": 1e-4, "optimizer": "muon", "ema": 0.999, "grounding": 0.3, "grounding_only": grounding_only,
        "kinds": { "edit": 1 },
    });
    let stage: Stage = serde_json::from_value(json).map_err(|e| Error::Internal(e.to_string()))?;
    match options.threads {
        0 => Err(Error::Request("threads is 0, expected 1 or more".into())),
        threads => stage.check(threads).map_err(Error::Request).map(|()| stage),
    }
}

/// A task on two micro-batches in memory, one per loss mode; its `MicroBatch` is an index into them.
struct RandomFlow {
    config: Config,
    device: Device,
    batches: [MicroBatch; 2],
    grounding_only: f64,
}

impl Task for RandomFlow {
    type Module = FlowNetworks;
    type MicroBatch = usize;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> FlowNetworks {
        FlowNetworks::new(&self.config, &self.device)
    }

    fn published(&self, _: &Path) -> Result<Option<FlowNetworks>> {
        Ok(None)
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let mode = usize::from(rng.random_bool(self.grounding_only));
        Ok(vec![mode; count])
    }

    fn losses(&self, module: &FlowNetworks, batch: &usize, on: &Device) -> Result<Losses> {
        let patch = self.config.transformer.patch_size;
        Ok(module.losses(&self.batches[*batch], patch, 0.3, on))
    }

    fn held_out(&self) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    fn preview(&self, _: &FlowNetworks) -> Result<Option<Image>> {
        Ok(None)
    }

    fn publish(&self, _: &FlowNetworks, _: &Path) -> Result<()> {
        Ok(())
    }
}
