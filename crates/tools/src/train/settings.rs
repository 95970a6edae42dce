//! A run's settings: the JSON that `unireal train --config` reads. An unknown field is an error, so that a typo does not train for
//! a day.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};
use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerKind;
use crate::data::Kind;
use unireal::internals::config::in_range;
use unireal::internals::config::{self, Attention, Conditioning, Config};
use unireal::{Error, Result};

/// The settings of a run: model, data and stages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model's shape for a new run, see [`unireal::internals::config::Config::preset`].
    pub preset: String,
    /// The transformer's width for a new run, in heads as wide as the preset's; the preset's own when left out.
    #[serde(default)]
    pub hidden_size: Option<usize>,
    /// The transformer's blocks for a new run; the preset's own when left out.
    #[serde(default)]
    pub num_layers: Option<usize>,
    /// The transformer's attention mask, for a new run; the preset's own when left out.
    #[serde(default)]
    pub attention: Option<Attention>,
    /// How the network is conditioned on the canvas, for a new run; the preset's own when left out.
    #[serde(default)]
    pub conditioning: Option<Conditioning>,
    /// Tar shards: files, folders that hold them, or names with a `*` in the last part. New shards are read while training runs.
    pub data: Vec<PathBuf>,
    /// Shards for evaluation only.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// Number of threads among which a batch is divided.
    #[serde(default = "two")]
    pub threads: usize,
    /// Seed of weights, draws, times and noise.
    #[serde(default)]
    pub seed: u64,
    /// Number of samples (images for the autoencoder) to wait for before the first step; fewer if the shards hold fewer.
    #[serde(default = "first_samples")]
    pub first_samples: usize,
    /// Seconds between checkpoints.
    #[serde(default = "save_seconds")]
    pub save_seconds: f64,
    /// Minutes between evaluations of the loss on held-out samples and of preview images; 0 disables them.
    #[serde(default = "preview_minutes")]
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

/// The settings of a stage.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Unique name, also of the stage's files.
    pub name: String,
    /// The networks to train.
    pub train: Networks,
    /// Tar shards, instead of the run's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<PathBuf>,
    /// Image size in pixels: the side of the autoencoder's random crops, the square root of the area of flow images, or the side to
    /// which the small encoders' images are resized.
    pub size: u32,
    /// Length in steps.
    #[serde(default)]
    pub steps: Option<u64>,
    /// Length in minutes of training over all calls; the stage ends at the first of both lengths.
    #[serde(default)]
    pub minutes: Option<f64>,
    /// Number of samples in a step.
    pub batch: usize,
    /// Number of groups into which a step's batch is divided; the samples of a group share their geometry.
    #[serde(default = "two")]
    pub groups: usize,
    /// Highest learning rate.
    #[serde(alias = "rate")]
    pub learning_rate: f64,
    /// Number of steps over which the learning rate rises.
    #[serde(default = "warmup")]
    pub warmup: u64,
    /// The learning rate schedule after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Decoupled weight decay.
    #[serde(default = "weight_decay")]
    pub weight_decay: f32,
    /// Global norm to which the gradients are clipped.
    #[serde(default = "one", alias = "clip")]
    pub max_grad_norm: f64,
    /// Decay of the moving average of the weights.
    #[serde(default = "ema")]
    pub ema: f64,
    /// Relative weight of each kind, such as `edit`, or of a variant, such as `edit/recolour` (flow, clip, dino).
    #[serde(default)]
    pub kinds: BTreeMap<String, f64>,
    /// Parts of the hierarchical prompt to leave out, for ablations (flow).
    #[serde(default)]
    pub without: Vec<PromptPart>,
    /// Probability of the shortest paraphrase instead of a random one, so that simple wordings are learnt first (flow).
    #[serde(default, alias = "plain")]
    pub shortest_prompt_prob: f64,
    /// Probability of an empty prompt, for classifier-free guidance (flow).
    #[serde(default = "tenth")]
    pub text_dropout: f64,
    /// Fraction of groups without prompts and input images, for classifier-free guidance (flow).
    #[serde(default = "twentieth")]
    pub image_dropout: f64,
    /// Loss weight of the edited region relative to the rest of an output (flow).
    #[serde(default = "three", alias = "changed")]
    pub edit_region_weight: f32,
    /// Weight of the grounding loss: after half of the blocks, a linear head predicts which cells the prompt refers to, that is, the
    /// edited region or the mask. It binds words to objects sooner than the flow loss does. The head is not shipped (flow).
    #[serde(default)]
    pub grounding: f64,
    /// Fraction of groups with only the grounding loss, on the canvas tokens and without an output, at a quarter of the cost (flow).
    #[serde(default, alias = "grounding_alone")]
    pub grounding_only: f64,
    /// The distribution of the times (flow).
    #[serde(default)]
    pub time: Time,
    /// Whether to train only the decoder, so that latents stay valid for a transformer that has learnt them (vae).
    #[serde(default)]
    pub decoder_only: bool,
    /// Weight of the latent's KL divergence from a standard normal (vae).
    #[serde(default = "divergence")]
    pub kl: f64,
    /// Weight of the mean absolute error (vae).
    #[serde(default)]
    pub l1: f64,
    /// Weight of the mean absolute error of differences between neighbouring pixels, which keeps edges sharp (vae).
    #[serde(default)]
    pub gradient: f64,
}

/// The parts of a hierarchical prompt beside the base prompt (paper, section 3.1).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PromptPart {
    /// The context tags.
    ContextPrompt,
    /// The roles of the input images; without them, every one is an asset.
    ImagePrompt,
}

/// The learning rate schedule after the warm-up.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The learning rate falls to a twentieth over the last third of the stage.
    #[default]
    Decay,
    /// The learning rate stays constant.
    Constant,
}

/// The distribution of the times t of the flow loss.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Time {
    /// The family of distributions.
    #[serde(alias = "law")]
    pub distribution: TimeDistribution,
    /// Mean of the normal variable.
    pub mean: f64,
    /// Standard deviation of the normal variable.
    pub std: f64,
    /// Shifts times towards noise like [`unireal::internals::sampler::schedule`]; 1 leaves them unchanged.
    pub shift: f64,
    /// Fraction of times drawn uniformly from 0..1 instead, so that both ends are trained.
    pub uniform: f64,
}

/// The families of time distributions.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TimeDistribution {
    /// The logistic function of a normal variable (Esser et al., 2024).
    #[default]
    LogitNormal,
}

impl Default for Time {
    fn default() -> Self {
        Time {
            distribution: TimeDistribution::LogitNormal,
            mean: 0.0,
            std: 1.0,
            shift: 1.0,
            uniform: 0.1,
        }
    }
}

impl Time {
    /// Draws a time in 0..1.
    pub fn draw(&self, rng: &mut impl Rng) -> f32 {
        let t: f64 = if rng.random_bool(self.uniform) {
            rng.random_range(0.0..1.0)
        } else {
            let z: f64 = StandardNormal.sample(rng);
            1.0 / (1.0 + (-(self.mean + self.std * z)).exp())
        };
        (self.shift * t / (1.0 + (self.shift - 1.0) * t)) as f32
    }
}

fn two() -> usize {
    2
}
fn first_samples() -> usize {
    512
}
fn save_seconds() -> f64 {
    40.0
}
fn preview_minutes() -> f64 {
    15.0
}
fn warmup() -> u64 {
    100
}
fn weight_decay() -> f32 {
    0.01
}
fn one() -> f64 {
    1.0
}
fn ema() -> f64 {
    0.999
}
fn tenth() -> f64 {
    0.1
}
fn twentieth() -> f64 {
    0.05
}
fn three() -> f32 {
    3.0
}
fn divergence() -> f64 {
    1e-4
}

impl Settings {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file, the stage, the field and its value.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| Error::format(&file, e))?;
        config::parse::<Settings>(&file, &bytes)?.check(&file)
    }

    /// Checks values and their consistency; `file` is for error messages.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub fn check(self, file: &str) -> Result<Self> {
        let refuse = |reason: String| Err(Error::format(file, reason));
        if self.data.is_empty() || self.stages.is_empty() {
            return refuse("data and stages need an entry each, at least".into());
        }
        if !(1..=64).contains(&self.threads) {
            return refuse(format!("threads is {}; use 1 to 64", self.threads));
        }
        if !(0.0..=3600.0).contains(&self.save_seconds) {
            return refuse(format!(
                "save_seconds is {}; use 0 to 3600",
                self.save_seconds
            ));
        }
        if !(0.0..=1e6).contains(&self.preview_minutes) {
            return refuse(format!(
                "preview_minutes is {}; use 0 to 1000000",
                self.preview_minutes
            ));
        }
        for (i, stage) in self.stages.iter().enumerate() {
            if self.stages[..i]
                .iter()
                .any(|other| other.name == stage.name)
            {
                return refuse(format!("two stages are named {:?}", stage.name));
            }
            if let Err(reason) = stage.check(self.threads) {
                return refuse(format!("stage {:?}: {reason}", stage.name));
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
    pub(super) fn config(&self) -> Result<Config> {
        let mut config = Config::preset(&self.preset)?;
        let transformer = &mut config.transformer;
        if let Some(hidden_size) = self.hidden_size {
            let head_dim = transformer.hidden_size / transformer.num_attention_heads;
            transformer.hidden_size = hidden_size;
            transformer.num_attention_heads = hidden_size / head_dim;
        }
        transformer.num_layers = self.num_layers.unwrap_or(transformer.num_layers);
        transformer.attention = self.attention.unwrap_or(transformer.attention);
        transformer.conditioning = self.conditioning.unwrap_or(transformer.conditioning);
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

impl Stage {
    /// Checks the stage's values; the error is a message.
    pub(super) fn check(&self, threads: usize) -> std::result::Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err("a name is made of letters, digits, - and _".into());
        }
        if self.steps.is_none() && self.minutes.is_none() {
            return Err("it needs a length, steps or minutes".into());
        }
        if !self.size.is_multiple_of(8) || !(16..=1024).contains(&self.size) {
            return Err(format!(
                "size is {}; use a multiple of 8 from 16 to 1024",
                self.size
            ));
        }
        if self.groups == 0 || self.batch == 0 || !self.batch.is_multiple_of(self.groups * threads)
        {
            return Err(format!(
                "a batch of {} cannot be divided among {} groups and {threads} threads",
                self.batch, self.groups
            ));
        }
        let positive = f64::MIN_POSITIVE..=f64::MAX;
        for (field, value, range) in [
            ("minutes", self.minutes.unwrap_or(1.0), positive.clone()),
            ("learning_rate", self.learning_rate, positive.clone()),
            ("max_grad_norm", self.max_grad_norm, positive.clone()),
            ("ema", self.ema, 0.0..=1.0),
            ("weight_decay", self.weight_decay.into(), 0.0..=1.0),
            ("shortest_prompt_prob", self.shortest_prompt_prob, 0.0..=1.0),
            ("text_dropout", self.text_dropout, 0.0..=1.0),
            ("image_dropout", self.image_dropout, 0.0..=1.0),
            (
                "edit_region_weight",
                self.edit_region_weight.into(),
                1.0..=1e3,
            ),
            ("grounding", self.grounding, 0.0..=1e3),
            ("grounding_only", self.grounding_only, 0.0..=1.0),
            ("kl", self.kl, 0.0..=1e3),
            ("l1", self.l1, 0.0..=1e3),
            ("gradient", self.gradient, 0.0..=1e3),
            ("time.mean", self.time.mean, -10.0..=10.0),
            ("time.std", self.time.std, 0.0..=10.0),
            ("time.shift", self.time.shift, 0.01..=100.0),
            ("time.uniform", self.time.uniform, 0.0..=1.0),
        ] {
            in_range(field, value, range)?;
        }
        if self.grounding_only > 0.0 && self.grounding == 0.0 {
            return Err(format!(
                "grounding_only is {} and grounding 0; a loss that counts nothing teaches nothing",
                self.grounding_only
            ));
        }
        if self.train != Networks::Vae {
            self.mixture()?;
        }
        Ok(())
    }

    /// Returns the kinds with their weights.
    ///
    /// # Errors
    /// A message, when there are no kinds, a name is not a kind, or a weight is not positive.
    pub fn mixture(&self) -> std::result::Result<Mixture, String> {
        if self.kinds.is_empty() {
            return Err("kinds is empty; say what to draw, such as {\"edit\": 1}".into());
        }
        let parts = self.kinds.iter().map(|(name, &weight)| {
            let (kind, variant) = match name.split_once('/') {
                Some((kind, variant)) => (kind, Some(variant.to_owned())),
                None => (name.as_str(), None),
            };
            let kind: Kind = serde_json::from_value(kind.into())
                .map_err(|e| format!("kinds has {name:?}: {e}"))?;
            if !(f64::MIN_POSITIVE..=f64::MAX).contains(&weight) {
                return Err(format!(
                    "kinds gives {name:?} a weight of {weight}; it must be above 0"
                ));
            }
            Ok(Part {
                name: name.clone(),
                kind,
                variant,
                weight,
            })
        });
        parts.collect::<std::result::Result<_, _>>().map(Mixture)
    }

    /// Returns the learning rate of a step (from 0) at `progress` (0 to 1) of the stage.
    pub fn learning_rate_at(&self, step: u64, progress: f64) -> f64 {
        let warm = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let cool = match self.schedule {
            Schedule::Decay => ((1.0 - progress) * 3.0).clamp(0.05, 1.0),
            Schedule::Constant => 1.0,
        };
        self.learning_rate * warm * cool
    }

    /// Returns the fraction of the stage that is done after `steps` and `seconds`.
    pub fn progress(&self, steps: u64, seconds: f64) -> f64 {
        let by_steps = self
            .steps
            .map_or(0.0, |all| steps as f64 / (all as f64).max(1.0));
        let by_time = self.minutes.map_or(0.0, |all| seconds / (60.0 * all));
        by_steps.max(by_time)
    }
}

/// One kind of sample in a mixture.
#[derive(Clone, Debug)]
pub struct Part {
    /// The name in the settings.
    pub name: String,
    kind: Kind,
    variant: Option<String>,
    /// Relative frequency with which the kind is drawn.
    pub weight: f64,
}

/// The kinds that a stage draws.
#[derive(Clone, Debug)]
pub struct Mixture(pub Vec<Part>);

impl Mixture {
    /// Returns the index of the part to which a sample belongs: the one of its variant, else the one of its kind.
    pub fn part(&self, kind: Kind, variant: &str) -> Option<usize> {
        let of = |wanted: Option<&str>| {
            self.0
                .iter()
                .position(|part| part.kind == kind && part.variant.as_deref() == wanted)
        };
        of(Some(variant)).or_else(|| of(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn mistakes_are_named_with_what_is_wrong() {
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
                "batch of 8",
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
    fn a_sample_belongs_to_the_finest_part_that_names_it() {
        let settings = parse(r#""steps": 1, "kinds": {"edit": 1, "edit/recolour": 2}"#).unwrap();
        let mixture = settings.stages[0].mixture().unwrap();
        let name = |kind, variant| {
            mixture
                .part(kind, variant)
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
    fn width_and_depth_replace_the_preset_s() {
        let width = |settings: &mut Settings, hidden_size| {
            settings.hidden_size = Some(hidden_size);
            settings.num_layers = Some(3);
            settings.config()
        };
        let mut settings = parse(r#""steps": 3, "kinds": {"edit": 1}"#).unwrap();
        let preset = settings.config().unwrap().transformer;
        let wider = width(&mut settings, 2 * preset.hidden_size)
            .unwrap()
            .transformer;
        assert_eq!(wider.num_attention_heads, 2 * preset.num_attention_heads);
        assert_eq!(wider.num_layers, 3);
        assert!(width(&mut settings, preset.hidden_size + 1).is_err());
    }

    #[test]
    fn a_stage_may_have_shards_of_its_own() {
        let settings = parse(r#""steps": 3, "kinds": {"edit": 1}"#).unwrap();
        assert_eq!(settings.data(&settings.stages[0]), settings.data);
        let settings = parse(r#""steps": 3, "data": ["easy"], "kinds": {"edit": 1}"#).unwrap();
        assert_eq!(settings.data(&settings.stages[0]), [PathBuf::from("easy")]);
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let settings = parse(r#""steps": 300, "warmup": 10, "kinds": {"edit": 1}"#).unwrap();
        let stage = &settings.stages[0];
        let rate = |step: u64| stage.learning_rate_at(step, stage.progress(step, 0.0)) / 1e-3;
        assert!((rate(0) - 0.1).abs() < 1e-9 && (rate(150) - 1.0).abs() < 1e-9);
        assert!((rate(250) - 0.5).abs() < 1e-9 && (rate(299) - 0.05).abs() < 1e-9);
    }
}
