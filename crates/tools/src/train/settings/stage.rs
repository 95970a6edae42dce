//! A stage's settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::optimizer::OptimizerKind;
use super::{Networks, Time};
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
    /// Length in minutes of training over all calls; the stage ends when it reaches either length.
    #[serde(default)]
    pub minutes: Option<f64>,
    /// Number of samples in a step.
    pub batch: usize,
    /// Number of groups into which a step's batch is divided; the samples of a group share their geometry.
    #[serde(default = "default_groups")]
    pub groups: usize,
    /// Highest learning rate.
    #[serde(alias = "rate")]
    pub learning_rate: f64,
    /// Number of steps over which the learning rate rises.
    #[serde(default = "default_warmup")]
    pub warmup: u64,
    /// The learning rate schedule after the warm-up.
    #[serde(default)]
    pub schedule: Schedule,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Decoupled weight decay.
    #[serde(default = "default_weight_decay")]
    pub weight_decay: f32,
    /// Global norm to which the gradients are clipped.
    #[serde(default = "default_max_grad_norm", alias = "clip")]
    pub max_grad_norm: f64,
    /// Decay of the moving average of the weights.
    #[serde(default = "default_ema")]
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
    #[serde(default = "default_text_dropout")]
    pub text_dropout: f64,
    /// Fraction of groups without prompts and input images, for classifier-free guidance (flow).
    #[serde(default = "default_image_dropout")]
    pub image_dropout: f64,
    /// Loss weight of the edited region relative to the rest of an output (flow).
    #[serde(default = "default_edit_region_weight", alias = "changed")]
    pub edit_region_weight: f32,
    /// Weight of the grounding loss: after half of the blocks, a linear head predicts which cells the prompt refers to, that is, the
    /// edited region or the mask. With it, the model binds words to objects earlier in training. The head is not shipped (flow).
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
    #[serde(default = "default_kl")]
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

fn default_groups() -> usize {
    2
}
fn default_warmup() -> u64 {
    100
}
fn default_weight_decay() -> f32 {
    0.01
}
fn default_ema() -> f64 {
    0.999
}
fn default_max_grad_norm() -> f64 {
    1.0
}
fn default_text_dropout() -> f64 {
    0.1
}
fn default_image_dropout() -> f64 {
    0.05
}
fn default_edit_region_weight() -> f32 {
    3.0
}
fn default_kl() -> f64 {
    1e-4
}

impl Stage {
    /// Checks the stage's values; the error is a message.
    pub(crate) fn check(&self, threads: usize) -> std::result::Result<(), String> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(is_valid) {
            let name = &self.name;
            return Err(format!(
                "name is {name:?}, expected letters, digits, - and _"
            ));
        }
        if self.steps.is_none() && self.minutes.is_none() {
            return Err("the length is missing, expected steps or minutes".into());
        }
        if !self.size.is_multiple_of(8) || !(16..=1024).contains(&self.size) {
            return Err(format!(
                "size is {}, expected a multiple of 8 from 16 to 1024",
                self.size
            ));
        }
        if self.groups == 0 || self.batch == 0 || !self.batch.is_multiple_of(self.groups * threads)
        {
            return Err(format!(
                "batch is {}, expected a multiple of {} groups times {threads} threads",
                self.batch, self.groups
            ));
        }
        self.check_ranges()?;
        if self.grounding_only > 0.0 && self.grounding == 0.0 {
            return Err(format!(
                "grounding_only is {} and grounding 0, expected a weight of the grounding loss above 0",
                self.grounding_only
            ));
        }
        if self.train != Networks::Vae {
            self.mixture()?;
        }
        Ok(())
    }

    /// Checks that numbers are in their ranges; the error is a message.
    fn check_ranges(&self) -> std::result::Result<(), String> {
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
        Ok(())
    }

    /// Returns the kinds with their weights.
    ///
    /// # Errors
    /// A message, when there are no kinds, a name is not a kind, or a weight is not positive.
    pub fn mixture(&self) -> std::result::Result<Mixture, String> {
        if self.kinds.is_empty() {
            return Err("kinds is empty, expected weights such as {\"edit\": 1}".into());
        }
        let components = self.kinds.iter().map(|(name, &weight)| {
            let (kind, variant) = match name.split_once('/') {
                Some((kind, variant)) => (kind, Some(variant.to_owned())),
                None => (name.as_str(), None),
            };
            let kind: Kind = serde_json::from_value(kind.into())
                .map_err(|e| format!("kinds has {name:?}: {e}"))?;
            if !(f64::MIN_POSITIVE..=f64::MAX).contains(&weight) {
                return Err(format!(
                    "kinds gives {name:?} a weight of {weight}, expected above 0"
                ));
            }
            Ok(Component {
                name: name.clone(),
                kind,
                variant,
                weight,
            })
        });
        components
            .collect::<std::result::Result<_, _>>()
            .map(Mixture)
    }

    /// Returns the learning rate of a step (from 0) at `progress` (0 to 1) of the stage.
    pub fn learning_rate_at(&self, step: u64, progress: f64) -> f64 {
        let warmup = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let decay = match self.schedule {
            Schedule::Decay => ((1.0 - progress) * 3.0).clamp(0.05, 1.0),
            Schedule::Constant => 1.0,
        };
        self.learning_rate * warmup * decay
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
pub struct Component {
    /// The name in the settings.
    pub name: String,
    kind: Kind,
    variant: Option<String>,
    /// Relative frequency with which the kind is drawn.
    pub weight: f64,
}

/// The kinds that a stage draws.
#[derive(Clone, Debug)]
pub struct Mixture(pub Vec<Component>);

impl Mixture {
    /// Returns the index of the component to which a sample belongs: the one of its variant, else the one of its kind.
    pub fn component(&self, kind: Kind, variant: &str) -> Option<usize> {
        let position = |variant: Option<&str>| {
            self.0.iter().position(|component| {
                component.kind == kind && component.variant.as_deref() == variant
            })
        };
        position(Some(variant)).or_else(|| position(None))
    }
}
