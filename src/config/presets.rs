//! The configurations that can be trained by name.

use super::{
    Attention, Config, FeedForward, IndexConfig, SchedulerConfig, TIMESTEPS, TextConfig,
    TransformerConfig, VaeConfig, default_guidance, default_steps,
};
use crate::error::{Error, Result};

impl Config {
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
            },
            scheduler: SchedulerConfig {
                num_train_timesteps: TIMESTEPS,
                shift: 3.0,
            },
        }
    }
}
