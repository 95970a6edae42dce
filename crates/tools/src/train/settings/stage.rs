//! A stage's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::optimizer::OptimizerKind;
use super::{Networks, Time, two};
use crate::data::Kind;
use unireal::internals::config::in_range;

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

fn warmup() -> u64 {
    100
}
fn weight_decay() -> f32 {
    0.01
}
fn ema() -> f64 {
    0.999
}
fn one() -> f64 {
    1.0
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

impl Stage {
    /// Checks the stage's values; the error is a message.
    pub(crate) fn check(&self, threads: usize) -> std::result::Result<(), String> {
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
