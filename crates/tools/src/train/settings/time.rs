//! The distribution of times of the flow loss.

use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};
use serde::{Deserialize, Serialize};

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
