//! The JSON configuration of a pack. [`Config::check`] validates every field, so other modules rely on the values. A
//! missing field is an error, except where transformers or diffusers define a default or older packs lack the field.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
    /// How the network receives the canvas; a file without it means [`Conditioning::Frames`].
    #[serde(default, skip_serializing_if = "Conditioning::is_frames")]
    pub conditioning: Conditioning,
}

/// How the network receives input images.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Conditioning {
    /// Every input is a frame of the sequence, as in the paper.
    #[default]
    Frames,
    /// The baseline: the canvas's latent is concatenated to the noisy latent along the channels, as in InstructPix2Pix
    /// (Brooks et al., 2023, section 3.2). There are no other inputs and only one output.
    Channels,
}

impl Conditioning {
    /// Returns whether this is the default, which serde omits.
    fn is_frames(&self) -> bool {
        *self == Conditioning::Frames
    }
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

    /// Returns the number of input values of a noise token: its patch, plus the canvas's patch with
    /// [`Conditioning::Channels`].
    pub fn patch_in_dim(&self) -> usize {
        match self.conditioning {
            Conditioning::Frames => self.patch_dim(),
            Conditioning::Channels => 2 * self.patch_dim(),
        }
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
    /// Validates every file and the sizes that files share.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file, the fields and their values.
    pub fn check(self) -> Result<Self> {
        let Config {
            index,
            text_encoder: text,
            vae,
            transformer: t,
            ..
        } = &self;
        let require = |ok: bool, file: &str, reason: String| {
            if ok {
                Ok(())
            } else {
                Err(Error::format(format!("{file}/config.json"), reason))
            }
        };
        let steps = index.num_inference_steps;
        if !STEPS.contains(&steps) {
            let reason = format!("num_inference_steps is {steps}; it must be from 1 to 1000");
            return Err(Error::format("model_index.json", reason));
        }
        let sizes = [
            ("text_encoder", "vocab_size", text.vocab_size),
            ("text_encoder", "d_model", text.d_model),
            ("text_encoder", "num_heads", text.num_heads),
            ("text_encoder", "num_layers", text.num_layers),
            ("vae", "in_channels", vae.in_channels),
            ("vae", "latent_channels", vae.latent_channels),
            ("vae", "norm_num_groups", vae.norm_num_groups),
            ("vae", "block_out_channels", vae.block_out_channels.len()),
            ("transformer", "patch_size", t.patch_size),
            ("transformer", "hidden_size", t.hidden_size),
            ("transformer", "num_layers", t.num_layers),
            ("transformer", "num_attention_heads", t.num_attention_heads),
            ("transformer", "max_inputs", t.max_inputs),
            ("transformer", "max_outputs", t.max_outputs),
        ];
        for (file, field, value) in sizes {
            require(
                (1..=1 << 24).contains(&value),
                file,
                format!("{field} is {value}; it must be from 1 to 16777216"),
            )?;
        }
        require(
            text.relative_attention_num_buckets >= 4
                && text.relative_attention_max_distance > text.relative_attention_num_buckets / 4,
            "text_encoder",
            format!(
                "relative_attention_num_buckets {} needs to be at least 4, and a max distance above a quarter of it; got {}",
                text.relative_attention_num_buckets, text.relative_attention_max_distance
            ),
        )?;
        require(
            [vae.in_channels, vae.out_channels] == [3; 2],
            "vae",
            format!(
                "in_channels is {} and out_channels {}; pictures have 3",
                vae.in_channels, vae.out_channels
            ),
        )?;
        for &channels in &vae.block_out_channels {
            require(
                channels > 0 && channels % vae.norm_num_groups == 0,
                "vae",
                format!(
                    "block_out_channels has {channels}, not a multiple of norm_num_groups {}",
                    vae.norm_num_groups
                ),
            )?;
        }
        require(
            t.in_channels == vae.latent_channels,
            "transformer",
            format!(
                "in_channels {} differs from the vae's latent_channels {}",
                t.in_channels, vae.latent_channels
            ),
        )?;
        require(
            t.text_dim == text.d_model,
            "transformer",
            format!(
                "text_dim {} differs from the text encoder's d_model {}",
                t.text_dim, text.d_model
            ),
        )?;
        require(
            t.hidden_size.is_multiple_of(t.num_attention_heads),
            "transformer",
            format!(
                "hidden_size {} is not a multiple of num_attention_heads {}",
                t.hidden_size, t.num_attention_heads
            ),
        )?;
        require(
            t.axes_dims.iter().sum::<usize>() == t.head_dim()
                && t.axes_dims.iter().all(|a| a % 2 == 0),
            "transformer",
            format!(
                "axes_dims {:?} must be even and add up to a head's width of {}",
                t.axes_dims,
                t.head_dim()
            ),
        )?;
        self.check_numbers()?;
        require(
            t.frequency_dim >= 2 && t.frequency_dim % 2 == 0,
            "transformer",
            format!(
                "frequency_dim is {}; it must be even, at least 2",
                t.frequency_dim
            ),
        )?;
        Ok(self)
    }

    /// Validates the ranges of numeric fields. JSON has no NaN, but 1e999 parses as infinity.
    fn check_numbers(&self) -> Result<()> {
        let (vae, transformer) = (&self.vae, &self.transformer);
        let scheduler = "scheduler/scheduler_config.json";
        let timesteps = self.scheduler.num_train_timesteps;
        if timesteps != TIMESTEPS {
            let reason = format!(
                "num_train_timesteps is {timesteps}, expected {TIMESTEPS}, the scale of the timestep embedding"
            );
            return Err(Error::format(scheduler, reason));
        }
        let text = self.text_encoder.layer_norm_epsilon;
        for (file, field, value, range) in [
            (scheduler, "shift", self.scheduler.shift, 0.01..=100.0),
            (
                "model_index.json",
                "sample_size",
                self.index.sample_size as f64,
                8.0..=4096.0,
            ),
            (
                "model_index.json",
                "guidance_scale",
                self.index.guidance_scale,
                0.0..=100.0,
            ),
            (
                "text_encoder/config.json",
                "layer_norm_epsilon",
                text,
                0.0..=0.1,
            ),
            (
                "vae/config.json",
                "scaling_factor",
                vae.scaling_factor,
                1e-4..=1e4,
            ),
            (
                "vae/config.json",
                "shift_factor",
                vae.shift_factor.unwrap_or(0.0),
                -1e4..=1e4,
            ),
            (
                "transformer/config.json",
                "mlp_ratio",
                transformer.mlp_ratio,
                0.25..=16.0,
            ),
            (
                "transformer/config.json",
                "rope_theta",
                transformer.rope_theta,
                1.0..=1e9,
            ),
            (
                "transformer/config.json",
                "norm_eps",
                transformer.norm_eps,
                0.0..=0.1,
            ),
        ] {
            if !range.contains(&value) {
                let (low, high) = (range.start(), range.end());
                return Err(Error::format(
                    file,
                    format!("{field} is {value}, expected {low} to {high}"),
                ));
            }
        }
        Ok(())
    }

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

    /// Returns a preset by name.
    ///
    /// # Errors
    /// [`Error::Request`] for an unknown name; the message lists the known ones.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "tiny" => Ok(Self::tiny()),
            "tabletop" => Ok(Self::tabletop()),
            "5b" => Ok(Self::five_billion()),
            _ => Err(Error::Request(format!(
                "unknown preset \"{name}\"; use tiny, tabletop or 5b"
            ))),
        }
    }

    /// Returns the configuration of the first trained pack: 64 pixels, 16 tokens per frame.
    pub fn tiny() -> Self {
        Config {
            index: IndexConfig {
                class_name: "UniRealPipeline".into(),
                name: "unireal-tiny".into(),
                sample_size: 64,
                num_inference_steps: default_steps(),
                guidance_scale: default_guidance(),
            },
            text_encoder: TextConfig {
                vocab_size: 512,
                d_model: 128,
                d_kv: 32,
                d_ff: 256,
                num_layers: 2,
                num_heads: 4,
                relative_attention_num_buckets: 32,
                relative_attention_max_distance: 128,
                feed_forward_proj: FeedForward::GatedGelu,
                layer_norm_epsilon: 1e-6,
            },
            vae: VaeConfig {
                in_channels: 3,
                out_channels: 3,
                block_out_channels: vec![8, 24, 48, 64],
                layers_per_block: 1,
                latent_channels: 16,
                norm_num_groups: 4,
                scaling_factor: 1.0,
                shift_factor: Some(0.0),
                mid_block_add_attention: false,
                use_quant_conv: false,
                use_post_quant_conv: false,
            },
            transformer: TransformerConfig {
                in_channels: 16,
                patch_size: 2,
                hidden_size: 192,
                num_layers: 6,
                num_attention_heads: 6,
                mlp_ratio: 4.0,
                text_dim: 128,
                axes_dims: [8, 12, 12],
                rope_theta: 100.0,
                max_inputs: 10,
                max_outputs: 10,
                frequency_dim: 256,
                norm_eps: 1e-6,
                attention: Attention::Full,
                conditioning: Conditioning::Frames,
            },
            scheduler: SchedulerConfig {
                num_train_timesteps: TIMESTEPS,
                shift: 1.0,
            },
        }
    }

    /// Returns the configuration that `scripts/tabletop.json` trains: one token per latent cell, 8 blocks of width 256
    /// (docs/TRAINING.md compares widths). Text and input images attend only to each other, so a request computes their
    /// KV cache once.
    pub fn tabletop() -> Self {
        let tiny = Self::tiny();
        Config {
            index: IndexConfig {
                name: "unireal-tabletop".into(),
                sample_size: 64,
                // More steps do not improve the results of `unireal evaluate world --steps`.
                num_inference_steps: 8,
                ..tiny.index
            },
            text_encoder: TextConfig {
                vocab_size: 1024,
                d_model: 192,
                d_ff: 512,
                num_heads: 6,
                num_layers: 4,
                ..tiny.text_encoder
            },
            vae: VaeConfig {
                block_out_channels: vec![24, 48, 96, 128],
                layers_per_block: 2,
                latent_channels: 32,
                norm_num_groups: 8,
                ..tiny.vae
            },
            transformer: TransformerConfig {
                in_channels: 32,
                patch_size: 1,
                hidden_size: 256,
                num_attention_heads: 4,
                num_layers: 8,
                text_dim: 192,
                axes_dims: [16, 24, 24],
                attention: Attention::CleanApart,
                ..tiny.transformer
            },
            scheduler: tiny.scheduler,
        }
    }

    /// Returns the configuration of the paper's size: about 5e9 parameters in the transformer, T5-XXL, a 16-channel
    /// autoencoder of stride 8.
    ///
    /// Choice: the paper gives only the parameter count. Width 3072 and 42 blocks give 42 * 12 * 3072^2 = 4.76e9 in the
    /// blocks.
    pub fn five_billion() -> Self {
        Config {
            index: IndexConfig {
                class_name: "UniRealPipeline".into(),
                name: "unireal-5b".into(),
                sample_size: 1024,
                num_inference_steps: default_steps(),
                guidance_scale: default_guidance(),
            },
            text_encoder: TextConfig {
                vocab_size: 32128,
                d_model: 4096,
                d_kv: 64,
                d_ff: 10240,
                num_layers: 24,
                num_heads: 64,
                relative_attention_num_buckets: 32,
                relative_attention_max_distance: 128,
                feed_forward_proj: FeedForward::GatedGelu,
                layer_norm_epsilon: 1e-6,
            },
            vae: VaeConfig {
                in_channels: 3,
                out_channels: 3,
                block_out_channels: vec![128, 256, 512, 512],
                layers_per_block: 2,
                latent_channels: 16,
                norm_num_groups: 32,
                scaling_factor: 0.3611,
                shift_factor: Some(0.1159),
                mid_block_add_attention: true,
                use_quant_conv: false,
                use_post_quant_conv: false,
            },
            transformer: TransformerConfig {
                in_channels: 16,
                patch_size: 2,
                hidden_size: 3072,
                num_layers: 42,
                num_attention_heads: 24,
                mlp_ratio: 4.0,
                text_dim: 4096,
                axes_dims: [16, 56, 56],
                rope_theta: 10000.0,
                max_inputs: 10,
                max_outputs: 10,
                frequency_dim: 256,
                norm_eps: 1e-6,
                attention: Attention::Full,
                conditioning: Conditioning::Frames,
            },
            scheduler: SchedulerConfig {
                num_train_timesteps: TIMESTEPS,
                shift: 3.0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_says_how_many_steps_it_takes_or_20() {
        let older = r#"{"_class_name": "UniRealPipeline", "name": "old", "sample_size": 64}"#;
        let index: IndexConfig = parse("model_index.json", older.as_bytes()).unwrap();
        assert_eq!(index.num_inference_steps, 20);
        for (steps, passes) in [(0, false), (1, true), (1000, true), (1001, false)] {
            let mut config = Config::tabletop();
            config.index.num_inference_steps = steps;
            let refused = config.check().err().map(|error| error.to_string());
            assert_eq!(refused.is_none(), passes, "{steps}");
            assert!(
                refused
                    .is_none_or(|text| text.contains(&format!("num_inference_steps is {steps}")))
            );
        }
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let refusal = |change: fn(&mut Config)| {
            let mut config = Config::tabletop();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        for (text, expected) in [
            (
                refusal(|c| c.scheduler.shift = 0.0),
                "shift is 0, expected 0.01 to 100",
            ),
            (refusal(|c| c.scheduler.shift = f64::NAN), "shift is NaN"),
            (
                refusal(|c| c.scheduler.num_train_timesteps = 500),
                "num_train_timesteps is 500, expected 1000",
            ),
            (
                refusal(|c| c.index.sample_size = 0),
                "sample_size is 0, expected 8 to 4096",
            ),
            (
                refusal(|c| c.vae.scaling_factor = 0.0),
                "scaling_factor is 0",
            ),
            (
                refusal(|c| c.vae.scaling_factor = f64::INFINITY),
                "scaling_factor is inf",
            ),
            (
                refusal(|c| c.transformer.mlp_ratio = -4.0),
                "mlp_ratio is -4",
            ),
            (
                refusal(|c| c.transformer.rope_theta = 0.0),
                "rope_theta is 0",
            ),
            (refusal(|c| c.transformer.norm_eps = -1.0), "norm_eps is -1"),
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
