//! `unireal bench`: times training steps or transformer evaluations and prints a line of JSON. `scripts/bench` alternates it
//! with other implementations.

use std::time::Instant;

use burn::tensor::{Distribution, Tensor, TensorData};

use super::train::bench::{self, TrainOptions};
use crate::train::initialise;
use unireal::Role;
use unireal::internals::config::{Attention, Config, TransformerConfig};
use unireal::internals::gpu::device::Choice;
use unireal::internals::loader::open;
use unireal::internals::model::sequence::{Grid, InputFrame, TextStates};
use unireal::{Error, Result};

/// Options of `unireal bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Benchmark to run
    #[command(subcommand)]
    pub what: What,
}

/// Selects the benchmark.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// Training steps: forward, backward and AdamW on the transformer, with one input and one output frame
    Train(TrainOptions),
    /// One transformer evaluation at any shape: text, one input frame, one output frame
    Step(StepOptions),
}

/// Options of `unireal bench step`.
#[derive(Clone, Debug, clap::Args)]
pub struct StepOptions {
    /// Hidden size; a multiple of the head size of 64
    #[arg(long, default_value_t = 512)]
    pub width: usize,
    /// Number of blocks
    #[arg(long, default_value_t = 2)]
    pub layers: usize,
    /// Total number of tokens; an eighth is text, the rest is divided equally between input and output
    #[arg(long, default_value_t = 1024)]
    pub tokens: usize,
    /// Number of timed evaluations, after one warm-up
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// auto, cpu, gpu or gpu-f16
    #[arg(long, default_value = "cpu")]
    pub device: Choice,
}

/// Runs the selected benchmark and prints a line of JSON.
///
/// # Errors
/// [`Error::Request`] for an invalid shape, and the errors of opening the device.
pub fn run(options: &Options) -> Result<()> {
    match &options.what {
        What::Train(options) => bench::run(options),
        What::Step(options) => pollster::block_on(step(options)),
    }
}

/// Head dimension.
const HEAD_DIM: usize = 64;

/// Checks the shape of [`StepOptions`].
fn check(options: &StepOptions) -> Result<()> {
    const MAX_TOKENS: usize = 1 << 20;
    let StepOptions { width, tokens, .. } = *options;
    if width == 0 || !width.is_multiple_of(HEAD_DIM) {
        return Err(Error::Request(format!(
            "--width: {width}, expected a positive multiple of {HEAD_DIM}"
        )));
    }
    for (option, value) in [("--layers", options.layers), ("--rounds", options.rounds)] {
        if value == 0 {
            return Err(Error::Request(format!("{option}: 0, expected 1 or more")));
        }
    }
    if !(16..=MAX_TOKENS).contains(&tokens) || !tokens.is_multiple_of(16) {
        return Err(Error::Request(format!(
            "--tokens: {tokens}, expected a multiple of 16 from 16 to {MAX_TOKENS}"
        )));
    }
    Ok(())
}

/// Times evaluations of a random transformer and prints a line of JSON.
async fn step(options: &StepOptions) -> Result<()> {
    check(options)?;
    let StepOptions {
        width,
        layers,
        tokens,
        rounds,
        ..
    } = *options;
    let config = TransformerConfig {
        hidden_size: width,
        num_layers: layers,
        num_attention_heads: width / HEAD_DIM,
        axes_dims: [16, 24, 24],
        attention: Attention::Full,
        ..Config::tabletop().transformer
    };
    let opened = open(options.device).await?;
    let device = &opened.device;
    let network = initialise::transformer(&config, device);
    let normal = Distribution::Normal(0.0, 1.0);
    let n_text = tokens / 8;
    let frame = [1, config.in_channels, 1, (tokens - n_text) / 2];
    let latent = || Tensor::<4>::random(frame, normal, device);
    let text = TextStates {
        states: Tensor::random([1, n_text, config.text_dim], normal, device),
        image_refs: Tensor::from_data(TensorData::new(vec![0i32; n_text], [1, n_text]), device),
        mask: None,
    };
    let (source, noise) = (latent(), latent());
    let grid = Grid::of(&noise, config.patch_size);
    let inputs = [InputFrame {
        latent: source,
        role: Role::Canvas,
    }];
    let t = Tensor::from_data([0.5f32], device);
    let evaluate = || {
        let started = Instant::now();
        let sequence = network.sequence(&text, &inputs, &[grid]);
        let velocity = network.forward(&sequence, std::slice::from_ref(&noise), t.clone());
        // Reading the values waits for the computation.
        drop(velocity[0].clone().into_data());
        started.elapsed().as_secs_f64()
    };
    evaluate();
    let before = memory::reset_peak();
    let mut seconds: Vec<f64> = (0..rounds).map(|_| evaluate()).collect();
    seconds.sort_by(f64::total_cmp);
    // Peak memory of an evaluation above the memory in use between evaluations.
    let bytes = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
    let line = serde_json::json!({
        "width": width, "layers": layers, "tokens": tokens, "text": n_text, "device": format!("{} {}", opened.kind, opened.adapter),
        "step_ms": 1e3 * seconds[rounds / 2], "bytes": bytes, "config": config,
    });
    say!("{line}");
    Ok(())
}

/// Memory use of this process, on systems with `/proc`.
pub(super) mod memory {
    /// Returns a field of `/proc/self/status`, in bytes.
    fn status(name: &str) -> Option<u64> {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line
            .trim_start_matches(':')
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()?;
        Some(1024 * kilobytes)
    }

    /// Resets the peak to the current memory use and returns that.
    pub(super) fn reset_peak() -> Option<u64> {
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        status("VmRSS")
    }

    /// Returns the peak memory use since the last reset.
    pub(crate) fn peak() -> Option<u64> {
        status("VmHWM")
    }
}
