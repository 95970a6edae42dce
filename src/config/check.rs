//! Validation: the ranges of each file's fields, and the sizes that files share.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{
    Config, IndexConfig, STEPS, SchedulerConfig, TIMESTEPS, TextConfig, TransformerConfig,
    VaeConfig,
};
use crate::error::{Error, Result};

/// Allowed counts and widths.
const SIZES: RangeInclusive<usize> = 1..=1 << 24;

/// A message about a field.
type Check = std::result::Result<(), String>;

/// Checks that a field's value is in a range; NaN never is.
///
/// # Errors
/// A message with the field, its value and the range.
pub fn in_range<T: PartialOrd + Display>(field: &str, value: T, range: RangeInclusive<T>) -> Check {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(format!("{field} is {value}, expected {low} to {high}"))
}

fn require(ok: bool, message: impl FnOnce() -> String) -> Check {
    if ok { Ok(()) } else { Err(message()) }
}

impl IndexConfig {
    fn check(&self) -> Check {
        in_range("num_inference_steps", self.num_inference_steps, STEPS)?;
        in_range("sample_size", self.sample_size, 8..=4096)?;
        in_range("guidance_scale", self.guidance_scale, 0.0..=100.0)
    }
}

impl TextConfig {
    fn check(&self) -> Check {
        in_range("vocab_size", self.vocab_size, SIZES)?;
        in_range("d_model", self.d_model, SIZES)?;
        in_range("num_heads", self.num_heads, SIZES)?;
        in_range("num_layers", self.num_layers, SIZES)?;
        in_range("layer_norm_epsilon", self.layer_norm_epsilon, 0.0..=0.1)?;
        let (buckets, distance) = (
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        );
        require(buckets >= 4 && distance > buckets / 4, || {
            format!(
                "relative_attention_num_buckets is {buckets} and relative_attention_max_distance {distance}, expected at least 4 and more than a quarter of it"
            )
        })
    }
}

impl VaeConfig {
    fn check(&self) -> Check {
        in_range("latent_channels", self.latent_channels, SIZES)?;
        in_range("norm_num_groups", self.norm_num_groups, SIZES)?;
        in_range("block_out_channels", self.block_out_channels.len(), 1..=16)?;
        in_range("scaling_factor", self.scaling_factor, 1e-4..=1e4)?;
        in_range("shift_factor", self.shift_factor.unwrap_or(0.0), -1e4..=1e4)?;
        let (from, to) = (self.in_channels, self.out_channels);
        require([from, to] == [3; 2], || {
            format!("in_channels is {from} and out_channels {to}, expected 3")
        })?;
        let groups = self.norm_num_groups;
        let wrong = self
            .block_out_channels
            .iter()
            .find(|&&channels| channels == 0 || channels % groups != 0);
        wrong.map_or(Ok(()), |channels| {
            Err(format!(
                "block_out_channels has {channels}, not a multiple of norm_num_groups {groups}"
            ))
        })
    }
}

impl TransformerConfig {
    fn check(&self) -> Check {
        in_range("patch_size", self.patch_size, SIZES)?;
        in_range("hidden_size", self.hidden_size, SIZES)?;
        in_range("num_layers", self.num_layers, SIZES)?;
        in_range("num_attention_heads", self.num_attention_heads, SIZES)?;
        in_range("max_inputs", self.max_inputs, SIZES)?;
        in_range("max_outputs", self.max_outputs, SIZES)?;
        in_range("mlp_ratio", self.mlp_ratio, 0.25..=16.0)?;
        in_range("rope_theta", self.rope_theta, 1.0..=1e9)?;
        in_range("norm_eps", self.norm_eps, 0.0..=0.1)?;
        let (width, heads, frequencies) = (
            self.hidden_size,
            self.num_attention_heads,
            self.frequency_dim,
        );
        require(width.is_multiple_of(heads), || {
            format!("hidden_size {width} is not a multiple of num_attention_heads {heads}")
        })?;
        let axes = &self.axes_dims;
        let even = axes.iter().all(|axis| axis % 2 == 0);
        require(
            even && axes.iter().sum::<usize>() == self.head_dim(),
            || {
                format!(
                    "axes_dims {axes:?} must be even and add up to a head's width of {}",
                    self.head_dim()
                )
            },
        )?;
        require(frequencies >= 2 && frequencies % 2 == 0, || {
            format!("frequency_dim is {frequencies}, expected an even number of at least 2")
        })
    }
}

impl SchedulerConfig {
    fn check(&self) -> Check {
        in_range("shift", self.shift, 0.01..=100.0)?;
        let timesteps = self.num_train_timesteps;
        require(timesteps == TIMESTEPS, || {
            format!(
                "num_train_timesteps is {timesteps}, expected {TIMESTEPS}, the scale of the timestep embedding"
            )
        })
    }
}

impl Config {
    /// Validates every file and the sizes that files share.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file, the fields and their values.
    pub fn check(self) -> Result<Self> {
        for (file, check) in [
            ("model_index.json", self.index.check()),
            ("text_encoder/config.json", self.text_encoder.check()),
            ("vae/config.json", self.vae.check()),
            ("transformer/config.json", self.transformer.check()),
            ("scheduler/scheduler_config.json", self.scheduler.check()),
            ("transformer/config.json", self.shared_sizes()),
        ] {
            check.map_err(|reason| Error::format(file, reason))?;
        }
        Ok(self)
    }

    fn shared_sizes(&self) -> Check {
        let (channels, latent) = (self.transformer.in_channels, self.vae.latent_channels);
        require(channels == latent, || {
            format!("in_channels {channels} differs from the vae's latent_channels {latent}")
        })?;
        let (text, width) = (self.transformer.text_dim, self.text_encoder.d_model);
        require(text == width, || {
            format!("text_dim {text} differs from the text encoder's d_model {width}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

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
