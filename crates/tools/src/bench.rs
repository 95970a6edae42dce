//! `unireal bench`: what takes how long, in lines of JSON; `scripts/bench` runs peers in turns with it.

use std::time::Instant;

use burn::tensor::{Distribution, Tensor, TensorData};

use super::open_device;
use super::train::bench::{self, TrainOptions};
use unireal::Role;
use unireal::internals::config::{Attention, Config, TransformerConfig};
use unireal::internals::gpu::device::Choice;
use unireal::internals::model::sequence::{Grid, InputFrame, TextStates};
use unireal::internals::model::transformer::Transformer;
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Result};

/// What `unireal bench` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to time
    #[command(subcommand)]
    pub what: What,
}

/// What to time.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum What {
    /// Steps of training: forward, backward and AdamW on the transformer, one input and one output frame
    Train(TrainOptions),
    /// One evaluation of a transformer of any shape: text, one input frame, one output frame
    Step(StepOptions),
}

/// What `unireal bench step` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct StepOptions {
    /// Width; a multiple of the heads' 64
    #[arg(long, default_value_t = 512)]
    pub width: usize,
    /// Blocks
    #[arg(long, default_value_t = 2)]
    pub layers: usize,
    /// Tokens in all, of which an eighth is text and the rest is divided between input and output
    #[arg(long, default_value_t = 1024)]
    pub tokens: usize,
    /// Evaluations, after one that is not timed
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// auto, cpu, gpu or gpu-f16
    #[arg(long, default_value = "cpu")]
    pub device: Choice,
}

/// Runs what was asked for and prints a line of JSON.
///
/// # Errors
/// [`Error::Request`] for a shape that cannot be, and those of opening the device.
pub fn run(options: &Options) -> Result<()> {
    match &options.what {
        What::Train(options) => bench::run(options),
        What::Step(options) => pollster::block_on(step(options)),
    }
}

/// Features of a head.
const HEAD: usize = 64;

async fn step(options: &StepOptions) -> Result<()> {
    let StepOptions {
        width,
        layers,
        tokens,
        rounds,
        ..
    } = *options;
    if width == 0 || !width.is_multiple_of(HEAD) || layers == 0 || rounds == 0 {
        return Err(Error::Request(format!(
            "width {width}, {layers} layers, {rounds} rounds; width must be a multiple of {HEAD}, and none may be 0"
        )));
    }
    if !(16..=1 << 20).contains(&tokens) || !tokens.is_multiple_of(16) {
        return Err(Error::Request(format!(
            "{tokens} tokens; use a multiple of 16, at most 1048576"
        )));
    }
    let config = TransformerConfig {
        hidden_size: width,
        num_layers: layers,
        num_attention_heads: width / HEAD,
        axes_dims: [16, 24, 24],
        attention: Attention::Full,
        ..Config::tabletop().transformer
    };
    let opened = open_device(options.device).await?;
    let device = &opened.device;
    let network = Transformer::new(&config, Encoding::F32, device);
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
        let all = velocity[0].clone().into_data();
        drop(all);
        started.elapsed().as_secs_f64()
    };
    evaluate();
    let before = memory::reset_peak();
    let mut seconds: Vec<f64> = (0..rounds).map(|_| evaluate()).collect();
    seconds.sort_by(f64::total_cmp);
    // What an evaluation takes above what lies in memory between two.
    let bytes = before.and_then(|before| Some(memory::peak()?.saturating_sub(before)));
    let line = serde_json::json!({
        "width": width, "layers": layers, "tokens": tokens, "text": n_text, "device": format!("{} {}", opened.kind, opened.adapter),
        "step_ms": 1e3 * seconds[rounds / 2], "bytes": bytes, "config": config,
    });
    say!("{line}");
    Ok(())
}

/// The process's own memory, where the system tells it.
pub(super) mod memory {
    /// A line of `/proc/self/status`, in bytes.
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

    /// Lets the peak begin anew from what is held now, which is returned.
    pub(super) fn reset_peak() -> Option<u64> {
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        status("VmRSS")
    }

    /// The most that was held since.
    pub(crate) fn peak() -> Option<u64> {
        status("VmHWM")
    }
}
