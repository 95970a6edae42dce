//! A run's settings: the JSON that `unireal train --config` reads. An unknown field is an error, so that a typo does not start
//! a long run with a default.

mod stage;
mod time;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use unireal::internals::config::{self, Attention, Config};
use unireal::{Error, Result};

pub use stage::{Component, Mixture, PromptPart, Schedule, Stage};
pub use time::{Time, TimeDistribution};

/// The settings of a run: model, data and stages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model's shape for a new run, see [`unireal::internals::config::Config::preset`].
    pub preset: String,
    /// The transformer's width for a new run, in heads as wide as the preset's; by default the preset's.
    #[serde(default)]
    pub hidden_size: Option<usize>,
    /// The transformer's blocks for a new run; by default the preset's.
    #[serde(default)]
    pub num_layers: Option<usize>,
    /// The transformer's attention mask, for a new run; by default the preset's.
    #[serde(default)]
    pub attention: Option<Attention>,
    /// Tar shards: files, folders that hold them, or names with a `*` in the last part. New shards are read while training runs.
    pub data: Vec<PathBuf>,
    /// Shards for evaluation only.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// Number of threads among which a batch is divided.
    #[serde(default = "default_threads")]
    pub threads: usize,
    /// Seed of weights, draws, times and noise.
    #[serde(default)]
    pub seed: u64,
    /// Number of samples (images for the autoencoder) to wait for before the first step; fewer if the shards hold fewer.
    #[serde(default = "default_first_samples")]
    pub first_samples: usize,
    /// Seconds between checkpoints.
    #[serde(default = "default_save_seconds")]
    pub save_seconds: f64,
    /// Minutes between evaluations of the loss on held-out samples and of preview images; 0 disables them.
    #[serde(default = "default_preview_minutes")]
    pub preview_minutes: f64,
    /// Samples between milestones, which are also written at the end of every stage: a contact sheet of fixed held-out requests and a
    /// line of scores; 0 disables them.
    #[serde(default)]
    pub milestone_samples: u64,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// The networks that a stage trains.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Networks {
    /// The autoencoder.
    Vae,
    /// Text encoder and transformer.
    Flow,
    /// A small CLIP for the evaluation, on captioned images.
    Clip,
    /// A small ViT for the evaluation, on images without captions.
    Dino,
}

impl Networks {
    /// Returns the name in settings and file names.
    pub fn name(self) -> &'static str {
        match self {
            Networks::Vae => "vae",
            Networks::Flow => "flow",
            Networks::Clip => "clip",
            Networks::Dino => "dino",
        }
    }
}

fn default_threads() -> usize {
    2
}
fn default_first_samples() -> usize {
    512
}
fn default_save_seconds() -> f64 {
    40.0
}
fn default_preview_minutes() -> f64 {
    15.0
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file, the stage, the field and its value.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        config::parse::<Settings>(&file, &bytes)?.check(&file)
    }

    /// Checks values and their consistency; `file` is for error messages.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn check(self, file: &str) -> Result<Self> {
        let fail = |reason: String| Err(Error::format(file, reason));
        if self.data.is_empty() || self.stages.is_empty() {
            return fail("data or stages is empty, expected 1 or more entries in each".into());
        }
        if !(1..=64).contains(&self.threads) {
            return fail(format!("threads is {}, expected 1 to 64", self.threads));
        }
        if !(0.0..=3600.0).contains(&self.save_seconds) {
            return fail(format!(
                "save_seconds is {}, expected 0 to 3600",
                self.save_seconds
            ));
        }
        if !(0.0..=1e6).contains(&self.preview_minutes) {
            return fail(format!(
                "preview_minutes is {}, expected 0 to 1000000",
                self.preview_minutes
            ));
        }
        for (i, stage) in self.stages.iter().enumerate() {
            if self.stages[..i]
                .iter()
                .any(|other| other.name == stage.name)
            {
                return fail(format!(
                    "two stages have the name {:?}, expected unique names",
                    stage.name
                ));
            }
            if let Err(reason) = stage.check(self.threads) {
                return fail(format!("stage {:?}: {reason}", stage.name));
            }
        }
        Ok(self)
    }
}

impl Settings {
    /// Returns the model's configuration: the preset with the changes of these settings.
    ///
    /// # Errors
    /// As [`Config::preset`] and [`Config::check`].
    pub(crate) fn config(&self) -> Result<Config> {
        let mut config = Config::preset(&self.preset)?;
        let transformer = &mut config.transformer;
        if let Some(hidden_size) = self.hidden_size {
            let head_dim = transformer.hidden_size / transformer.num_attention_heads;
            transformer.hidden_size = hidden_size;
            transformer.num_attention_heads = hidden_size / head_dim;
        }
        transformer.num_layers = self.num_layers.unwrap_or(transformer.num_layers);
        transformer.attention = self.attention.unwrap_or(transformer.attention);
        config.check()
    }

    /// Returns the shards on which a stage trains.
    pub(super) fn data<'a>(&'a self, stage: &'a Stage) -> &'a [PathBuf] {
        if stage.data.is_empty() {
            &self.data
        } else {
            &stage.data
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Kind;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn parse(stage: &str) -> Result<Settings> {
        let json = format!(
            r#"{{"preset": "tiny", "data": ["shards"], "stages": [{{"name": "a", "train": "flow", "size": 64, "batch": 8,
            "learning_rate": 1e-3, {stage}}}]}}"#
        );
        config::parse::<Settings>("run.json", json.as_bytes())?.check("run.json")
    }

    #[test]
    fn errors_name_the_field_and_its_value() {
        let message = |stage: &str| parse(stage).unwrap_err().to_string();
        parse(r#""steps": 1, "kinds": {"edit": 1, "edit/recolour": 2}"#).unwrap();
        for (stage, expected) in [
            (r#""steps": 1, "kind": {"edit": 1}"#, "unknown field `kind`"),
            (
                r#""steps": 1, "kinds": {"edits": 1}"#,
                "unknown variant `edits`",
            ),
            (r#""steps": 1"#, "kinds is empty"),
            (r#""steps": 1, "kinds": {"edit": 0}"#, "weight of 0"),
            (r#""kinds": {"edit": 1}"#, "steps or minutes"),
            (r#""steps": 1, "ema": 2, "kinds": {"edit": 1}"#, "ema is 2"),
            (
                r#""steps": 1, "groups": 3, "kinds": {"edit": 1}"#,
                "batch is 8",
            ),
            (
                r#""steps": 1, "time": {"distribution": "even"}"#,
                "unknown variant `even`",
            ),
            (
                r#""steps": 1, "grounding_only": 0.5, "kinds": {"edit": 1}"#,
                "grounding_only is 0.5 and grounding 0",
            ),
        ] {
            assert!(
                message(stage).contains(expected),
                "{stage}: {}",
                message(stage)
            );
        }
    }

    #[test]
    fn a_variant_takes_precedence_over_its_kind() {
        let settings = parse(r#""steps": 1, "kinds": {"edit": 1, "edit/recolour": 2}"#).unwrap();
        let mixture = settings.stages[0].mixture().unwrap();
        let name = |kind, variant| {
            mixture
                .component(kind, variant)
                .map(|i| mixture.0[i].name.as_str())
        };
        assert_eq!(name(Kind::Edit, "recolour"), Some("edit/recolour"));
        assert_eq!(name(Kind::Edit, "move"), Some("edit"));
        assert_eq!(name(Kind::Control, "depth"), None);
    }

    /// The logit of a shifted time is normal with mean `mean + ln shift`.
    #[test]
    fn times_follow_their_distribution() {
        let time = Time {
            mean: 0.3,
            std: 0.8,
            shift: 2.0,
            uniform: 0.0,
            ..Time::default()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let logits: Vec<f64> = (0..20_000)
            .map(|_| f64::from(time.draw(&mut rng)))
            .map(|t| (t / (1.0 - t)).ln())
            .collect();
        let mean = logits.iter().sum::<f64>() / 20_000.0;
        let variance = logits.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - (0.3 + 2f64.ln())).abs() < 0.03, "{mean}");
        assert!((variance.sqrt() - 0.8).abs() < 0.03, "{variance}");
    }

    #[test]
    fn width_and_depth_replace_those_of_the_preset() {
        let resized = |settings: &mut Settings, hidden_size| {
            settings.hidden_size = Some(hidden_size);
            settings.num_layers = Some(3);
            settings.config()
        };
        let mut settings = parse(r#""steps": 3, "kinds": {"edit": 1}"#).unwrap();
        let preset = settings.config().unwrap().transformer;
        let wider = resized(&mut settings, 2 * preset.hidden_size)
            .unwrap()
            .transformer;
        assert_eq!(wider.num_attention_heads, 2 * preset.num_attention_heads);
        assert_eq!(wider.num_layers, 3);
        assert!(resized(&mut settings, preset.hidden_size + 1).is_err());
    }

    #[test]
    fn the_shards_of_a_stage_replace_those_of_the_run() {
        let settings = parse(r#""steps": 3, "kinds": {"edit": 1}"#).unwrap();
        assert_eq!(settings.data(&settings.stages[0]), settings.data);
        let settings = parse(r#""steps": 3, "data": ["easy"], "kinds": {"edit": 1}"#).unwrap();
        assert_eq!(settings.data(&settings.stages[0]), [PathBuf::from("easy")]);
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let settings = parse(r#""steps": 300, "warmup": 10, "kinds": {"edit": 1}"#).unwrap();
        let stage = &settings.stages[0];
        let rate = |step: u64| stage.learning_rate_at(step, stage.progress(step, 0.0)) / 1e-3;
        assert!((rate(0) - 0.1).abs() < 1e-9 && (rate(150) - 1.0).abs() < 1e-9);
        assert!((rate(250) - 0.5).abs() < 1e-9 && (rate(299) - 0.05).abs() < 1e-9);
    }
}
