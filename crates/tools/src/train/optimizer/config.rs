//! The settings of the optimizer.

use serde::{Deserialize, Serialize};

/// The optimizer of a stage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[derive(clap::ValueEnum)]
pub enum OptimizerKind {
    /// Decoupled weight decay (Loshchilov and Hutter, 2019).
    #[default]
    #[value(name = "adamw")]
    AdamW,
    /// Orthogonalised momentum (Jordan et al., 2024) on the matrices of the transformer's blocks and on the autoencoder's inner
    /// convolutions, AdamW on everything else.
    Muon,
}

/// Settings of [`Optimizer`](super::Optimizer).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OptimizerConfig {
    /// The optimizer.
    #[serde(default, alias = "rule")]
    pub kind: OptimizerKind,
    /// AdamW's decay of the first moment.
    pub beta1: f32,
    /// AdamW's decay of the second moment.
    pub beta2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Global norm to which the gradients are clipped.
    #[serde(alias = "clip")]
    pub max_grad_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::AdamW,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
        }
    }
}
