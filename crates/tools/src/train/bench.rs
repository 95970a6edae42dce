//! `unireal bench train`: times training steps on random data. `tests/golden/speed.py` does the same with the same shapes in
//! PyTorch; `scripts/bench train` runs the two alternately.

use std::path::Path;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::bench_whole::{self, WholeOptions};
use super::devices;
use super::flow::{Batch, flow_losses};
use super::initialise;
use super::optimizer::{Optimizer, OptimizerConfig};
use super::step::{compute, draw_micro_batches};
use super::task::{Losses, Task};
use unireal::Image;
use unireal::Role;
use unireal::internals::config::{Config, TransformerConfig};
use unireal::internals::cpu::gemm::engine::{self, Precision};
use unireal::internals::model::sequence::{InputFrame, TextStates};
use unireal::internals::model::transformer::Transformer;
use unireal::{Error, Result};

/// Options of `unireal bench train`.
#[derive(Clone, Debug, clap::Args)]
pub struct TrainOptions {
    /// Preset of the model's shape
    #[arg(long, default_value = "tabletop")]
    pub preset: String,
    /// Number of samples in a step
    #[arg(long, default_value_t = 64)]
    pub batch: usize,
    /// Number of threads among which a step is divided
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Side of the images in pixels
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Number of text tokens
    #[arg(long, default_value_t = 24)]
    pub text: usize,
    /// Precision of matrix products; by default bf16 if the CPU has instructions for it
    #[arg(long, value_parser = crate::arguments::precision())]
    pub precision: Option<Precision>,
    /// Hidden size, instead of the preset's
    #[arg(long)]
    pub width: Option<usize>,
    /// Number of attention heads, instead of the preset's
    #[arg(long)]
    pub heads: Option<usize>,
    /// Number of blocks, instead of the preset's
    #[arg(long)]
    pub blocks: Option<usize>,
    /// Device to compute on
    #[arg(long, value_enum, default_value = "cpu")]
    pub device: devices::Kind,
    /// Number of timed steps, after one that is not timed
    #[arg(long, default_value_t = 10)]
    pub steps: usize,
    /// Whole steps of a stage instead of the transformer alone
    #[command(flatten)]
    pub whole: WholeOptions,
}

/// Times steps and prints a line of JSON.
///
/// # Errors
/// [`Error::Request`] for a shape that the model does not support.
pub fn run(options: &TrainOptions) -> Result<()> {
    if options.whole.whole {
        return bench_whole::run(options);
    }
    let config = shape(options)?;
    let precision = match options.device {
        devices::Kind::Cpu => engine::choose(options.precision, true),
        _ => Precision::F32,
    };
    let _precision = engine::scoped(precision);
    let (batch, threads) = (options.batch, options.threads);
    let grid = config.grid();
    if threads == 0 || batch == 0 || !batch.is_multiple_of(threads) {
        let reason = format!("batch {batch}, expected a multiple of {threads} threads");
        return Err(Error::Request(reason));
    }
    if options.size == 0 || !options.size.is_multiple_of(grid) || options.text == 0 {
        let size = options.size;
        let reason = format!(
            "size {size} and text {}, expected a multiple of {grid} and 1 or more",
            options.text
        );
        return Err(Error::Request(reason));
    }
    let device = devices::open(options.device, 1)?.remove(0);
    device.seed(0);
    let task = Bench {
        config: config.transformer.clone(),
        device: device.autodiff(),
        batch: batch / threads,
        cells: options.size / config.vae.stride(),
        text: options.text,
    };
    let devices = [task.device.clone()];
    let mut module = task.fresh();
    let mut optimizer = Optimizer::new(&OptimizerConfig::default());
    let mut seconds = Vec::new();
    for step in 0..=options.steps {
        let started = Instant::now();
        let mut rng = ChaCha8Rng::seed_from_u64(step as u64);
        let batches = draw_micro_batches(&task, 1, threads, &mut rng)?;
        let result = compute(&task, &module, &batches, &devices)?;
        module = optimizer.step(module, result.gradients, 1e-4)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    let mut timed = seconds.split_off(1);
    timed.sort_by(f64::total_cmp);
    let median = timed.get(timed.len() / 2).copied().unwrap_or(f64::NAN);
    let line = serde_json::json!({
        "engine": "unireal", "step_seconds": median, "samples_per_second": batch as f64 / median,
        "config": config.transformer, "batch": batch, "threads": threads, "cells": task.cells,
        "text": options.text, "steps": options.steps, "precision": precision.name(),
        "instructions": engine::engine().map(|engine| engine.to_string()), "cpu": engine::cpu_name(),
    });
    say!("{line}");
    Ok(())
}

/// Applies the options to the preset; the rotary axes take a quarter, three eighths and three eighths of a head's width.
pub(super) fn shape(options: &TrainOptions) -> Result<Config> {
    let mut config = Config::preset(&options.preset)?;
    let transformer = &mut config.transformer;
    transformer.hidden_size = options.width.unwrap_or(transformer.hidden_size);
    transformer.num_attention_heads = options.heads.unwrap_or(transformer.num_attention_heads);
    transformer.num_layers = options.blocks.unwrap_or(transformer.num_layers);
    if options.width.is_some() || options.heads.is_some() {
        let head = transformer.hidden_size / transformer.num_attention_heads.max(1);
        transformer.axes_dims = [head / 4, 3 * head / 8, 3 * head / 8];
    }
    config.check()
}

/// Trains the transformer alone on random data.
struct Bench {
    config: TransformerConfig,
    device: Device,
    batch: usize,
    cells: usize,
    text: usize,
}

impl Task for Bench {
    type Module = Transformer;
    type MicroBatch = ();

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> Transformer {
        initialise::transformer(&self.config, &self.device)
    }

    fn published(&self, _: &Path) -> Result<Option<Transformer>> {
        Ok(None)
    }

    fn micro_batches(&self, count: usize, _: &mut ChaCha8Rng) -> Result<Vec<()>> {
        Ok(vec![(); count])
    }

    fn held_out(&self) -> Result<Vec<()>> {
        Ok(Vec::new())
    }

    fn preview(&self, _: &Transformer) -> Result<Option<Image>> {
        Ok(None)
    }

    fn losses(&self, module: &Transformer, (): &(), on: &Device) -> Result<Losses> {
        let (b, normal) = (self.batch, Distribution::Normal(0.0, 1.0));
        let shape = [b, self.config.in_channels, self.cells, self.cells];
        let latent = || Tensor::<4>::random(shape, normal, on);
        let image_refs = TensorData::new(vec![0i32; b * self.text], [b, self.text]);
        let states = [b, self.text, self.config.text_dim];
        let batch = Batch {
            text: TextStates {
                states: Tensor::random(states, normal, on),
                image_refs: Tensor::from_data(image_refs, on),
                mask: None,
            },
            inputs: vec![InputFrame {
                latent: latent(),
                role: Role::Canvas,
            }],
            targets: vec![latent()],
            noise: vec![latent()],
            t: Tensor::random([b], Distribution::Uniform(0.0, 1.0), on),
            weights: Vec::new(),
            target_mask: None,
        };
        let losses = flow_losses(module, self.config.patch_size, &batch);
        Ok(Losses {
            logged: losses.clone(),
            losses,
            names: vec![String::new(); b],
        })
    }

    fn publish(&self, _: &Transformer, _: &Path) -> Result<()> {
        Ok(())
    }
}
