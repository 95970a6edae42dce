//! The JSON configuration of a pack. [`Config::check`] validates every field, so other modules rely on the values. A
//! missing field is an error, except where transformers or diffusers define a default or older packs lack the field.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

mod check;
mod presets;

pub use check::in_range;

use crate::error::{Error, Result};

/// `text_encoder/config.json`: the fields of transformers' `T5Config` that the encoder reads.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct TextConfig {
    /// Number of rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub d_model: usize,
    /// Width of one head's queries, keys and values.
    pub d_kv: usize,
    /// Inner width of the feed-forward layer.
    pub d_ff: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Number of buckets of the relative position bias.
    pub relative_attention_num_buckets: usize,
    /// Distance from which all positions share the last bucket.
    #[serde(default = "t5_max_distance")]
    pub relative_attention_max_distance: usize,
    /// `relu` (v1.0) or `gated-gelu` (v1.1).
    pub feed_forward_proj: FeedForward,
    /// Epsilon that every RMS norm adds to the variance.
    pub layer_norm_epsilon: f64,
}

fn t5_max_distance() -> usize {
    128
}

/// The feed-forward layer of T5, by version.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum FeedForward {
    /// T5 v1.0: `wo(relu(wi x))`.
    #[serde(rename = "relu")]
    Relu,
    /// T5 v1.1: `wo(gelu_tanh(wi_0 x) * wi_1 x)`.
    #[serde(rename = "gated-gelu")]
    GatedGelu,
}

/// `vae/config.json`: the fields of diffusers' `AutoencoderKL` that change the computation.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct VaeConfig {
    /// Channels of an input image.
    pub in_channels: usize,
    /// Channels of a decoded image.
    pub out_channels: usize,
    /// Channels at each resolution, finest first; every level but the last ends by halving the resolution.
    pub block_out_channels: Vec<usize>,
    /// Residual layers per resolution in the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Number of groups of every group norm.
    pub norm_num_groups: usize,
    /// Factor by which latents are multiplied for the transformer.
    pub scaling_factor: f64,
    /// Offset subtracted from latents before scaling.
    #[serde(default)]
    pub shift_factor: Option<f64>,
    /// Whether the middle blocks of encoder and decoder have an attention layer.
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
    /// Whether a 1x1 convolution follows the encoder.
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
}

fn yes() -> bool {
    true
}

impl VaeConfig {
    /// Returns the number of pixels per latent cell along each side.
    pub fn stride(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}

/// `transformer/config.json`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct TransformerConfig {
    /// Channels of the latent.
    pub in_channels: usize,
    /// Side of a token's patch in latent cells.
    pub patch_size: usize,
    /// Width `d` of the hidden states.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of attention heads `h`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer as a multiple of `d`.
    pub mlp_ratio: f64,
    /// Width of the text encoder's states.
    pub text_dim: usize,
    /// Rotary dimensions per head for the axes frame, y and x.
    pub axes_dims: [usize; 3],
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Number of rows of the input images' index embedding.
    pub max_inputs: usize,
    /// Number of rows of the output images' index embedding.
    pub max_outputs: usize,
    /// Width of the sinusoidal timestep features.
    pub frequency_dim: usize,
    /// Epsilon that every norm adds to the variance.
    pub norm_eps: f64,
    /// Which tokens attend to which; a file without it means [`Attention::Full`].
    #[serde(default, skip_serializing_if = "Attention::is_full")]
    pub attention: Attention,
}

/// Which tokens attend to which. Tokens that do not attend to noise are the same in every sampler step, so
/// [`crate::model::transformer::Transformer::prepare`] computes their KV cache once.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Attention {
    /// Every token attends to every token, as in the paper.
    #[default]
    Full,
    /// Input images attend only to input images.
    InputsApart,
    /// Text and input images attend only to text and input images.
    CleanApart,
}

impl Attention {
    /// Returns whether this is the default, which serde omits.
    fn is_full(&self) -> bool {
        *self == Attention::Full
    }
}

impl TransformerConfig {
    /// Returns the width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Returns the number of values in one token's patch.
    pub fn patch_dim(&self) -> usize {
        self.in_channels * self.patch_size * self.patch_size
    }

    /// Returns the width of the feed-forward layer.
    pub fn mlp_dim(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio).round() as usize
    }
}

/// `scheduler/scheduler_config.json`: diffusers' `FlowMatchEulerDiscreteScheduler`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct SchedulerConfig {
    /// Factor that scales times before their embedding; always [`TIMESTEPS`].
    pub num_train_timesteps: usize,
    /// Shift of the schedule towards noise, from 0.01 to 100; 1 means no shift.
    pub shift: f64,
}

/// `model_index.json`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct IndexConfig {
    /// Always `UniRealPipeline`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Display name of the model.
    pub name: String,
    /// Side in pixels of the images in the last training stage; larger inputs are scaled to the area of this square.
    pub sample_size: usize,
    /// Default number of sampler steps.
    #[serde(default = "default_steps")]
    pub num_inference_steps: usize,
    /// Default text guidance scale, from 0 to 100; 1 means no guidance.
    #[serde(default = "default_guidance")]
    pub guidance_scale: f64,
}

/// Factor that scales times in 0..1 before their sinusoidal embedding.
pub const TIMESTEPS: usize = 1000;

/// Allowed numbers of sampler steps.
pub(crate) const STEPS: std::ops::RangeInclusive<usize> = 1..=1000;

fn default_steps() -> usize {
    20
}

fn default_guidance() -> f64 {
    2.0
}

/// Configuration of the whole model, from a pack or a preset: `tiny` (tests and the first trained pack), `tabletop`
/// (the shipped pack) or `5b` (the paper's size).
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Config {
    /// `model_index.json`.
    pub index: IndexConfig,
    /// `text_encoder/config.json`.
    pub text_encoder: TextConfig,
    /// `vae/config.json`.
    pub vae: VaeConfig,
    /// `transformer/config.json`.
    pub transformer: TransformerConfig,
    /// `scheduler/scheduler_config.json`.
    pub scheduler: SchedulerConfig,
}

/// Parses one JSON file of a pack.
///
/// # Errors
/// [`Error::Format`] that names the file and the field.
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::format(file, e))
}

impl Config {
    /// Reads the pack's JSON files from a folder.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Format`] when it is malformed.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(folder: &std::path::Path) -> Result<Self> {
        fn json<T: DeserializeOwned>(folder: &std::path::Path, name: &str) -> Result<T> {
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
            parse(&path.display().to_string(), &bytes)
        }
        Config {
            index: json(folder, "model_index.json")?,
            text_encoder: json(folder, "text_encoder/config.json")?,
            vae: json(folder, "vae/config.json")?,
            transformer: json(folder, "transformer/config.json")?,
            scheduler: json(folder, "scheduler/scheduler_config.json")?,
        }
        .check()
    }

    /// Writes the pack's JSON files into a folder.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn write(&self, folder: &std::path::Path) -> Result<()> {
        let put = |name: &str, json: serde_json::Result<String>| {
            let path = folder.join(name);
            let fail = |e: std::io::Error| Error::io(&path, e);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(fail)?;
            }
            let json = json.map_err(|e| Error::Internal(format!("{name}: {e}")))?;
            // Rename at the end, so that a killed process leaves either the old file or the new one.
            let beside = path.with_extension("partial");
            std::fs::write(&beside, json + "\n").map_err(fail)?;
            std::fs::rename(&beside, &path).map_err(fail)
        };
        put(
            "text_encoder/config.json",
            serde_json::to_string_pretty(&self.text_encoder),
        )?;
        put("vae/config.json", serde_json::to_string_pretty(&self.vae))?;
        put(
            "transformer/config.json",
            serde_json::to_string_pretty(&self.transformer),
        )?;
        put(
            "scheduler/scheduler_config.json",
            serde_json::to_string_pretty(&self.scheduler),
        )?;
        // Written last, since readers take a folder with this file for complete.
        put(
            "model_index.json",
            serde_json::to_string_pretty(&self.index),
        )
    }

    /// Returns the number of pixels of which image sides must be a multiple.
    pub fn grid(&self) -> usize {
        self.vae.stride() * self.transformer.patch_size
    }
}
