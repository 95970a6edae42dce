//! The grounding loss: after half of the transformer's blocks, a linear head predicts which output tokens the prompt refers to.
//!
//! The flow loss gives only a weak signal about the object that the prompt refers to: few of the cells differ, and only while noise
//! hides the object. The grounding loss gives that signal in every sample, and directly to the first blocks. Only training uses the
//! head; no pack holds it.

use burn::module::Module;
use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor, TensorData};

use super::initialise::{Initial, initialised};
use unireal::internals::config::TransformerConfig;
use unireal::internals::model::linear::{Bias, Linear};
use unireal::internals::model::transformer::norm;
use unireal::internals::weights::quant::Encoding;

/// The head: predicts whether the prompt refers to a token.
#[derive(Module, Debug)]
pub(super) struct Grounding {
    out: Linear,
    #[module(skip)]
    epsilon: f64,
}

/// The tokens that the prompts of a batch refer to.
#[derive(Clone, Debug)]
pub struct TargetMask {
    /// 1 for a target token, else 0, `[b, n]`.
    tokens: Tensor<2>,
    /// Loss weight of each token, `[b, n]`. The target tokens sum to one half, as do the others, so that a small object weighs as much
    /// as a large one; 0 for samples without a known target.
    weights: Tensor<2>,
}

/// [`TargetMask`] in CPU memory.
#[derive(Clone, Debug)]
pub(super) struct TargetMaskData {
    tokens: TensorData,
    weights: TensorData,
}

impl TargetMaskData {
    /// Builds the mask from the target cells of each sample's first output, row by row on a grid of `sides` (rows, columns). A token of
    /// `patch` x `patch` cells is a target if one of them is. Returns `None` if no sample has both target and other tokens.
    pub(super) fn new(cells: &[&[bool]], sides: [u16; 2], patch: usize) -> Option<Self> {
        let [rows, columns] = sides.map(usize::from);
        let n = (rows / patch) * (columns / patch);
        let mut tokens = vec![0f32; cells.len() * n];
        let mut weights = vec![0f32; cells.len() * n];
        let samples = std::iter::zip(tokens.chunks_mut(n), weights.chunks_mut(n));
        for (cells, (tokens, weights)) in std::iter::zip(cells, samples) {
            for (i, _) in cells
                .iter()
                .enumerate()
                .filter(|(_, is_target)| **is_target)
            {
                tokens[i / columns / patch * (columns / patch) + i % columns / patch] = 1.0;
            }
            let targets = tokens.iter().sum::<f32>();
            if targets == 0.0 || targets == n as f32 {
                continue;
            }
            for (token, weight) in std::iter::zip(tokens, weights) {
                let class_size = if *token > 0.0 {
                    targets
                } else {
                    n as f32 - targets
                };
                *weight = 0.5 / class_size;
            }
        }
        let has_known = weights.iter().any(|weight| *weight > 0.0);
        let shape = [cells.len(), n];
        has_known.then(|| TargetMaskData {
            tokens: TensorData::new(tokens, shape),
            weights: TensorData::new(weights, shape),
        })
    }

    /// Copies the mask to a device.
    pub(super) fn on(&self, device: &Device) -> TargetMask {
        TargetMask {
            tokens: Tensor::from_data(self.tokens.clone(), device),
            weights: Tensor::from_data(self.weights.clone(), device),
        }
    }
}

impl Grounding {
    pub(super) fn new(config: &TransformerConfig, device: &Device) -> Self {
        let head = Grounding {
            out: Linear::new(config.hidden_size, 1, Bias::Yes, Encoding::F32, device),
            epsilon: config.norm_eps,
        };
        initialised(head, |_, shape| match shape.len() {
            2 => Initial::xavier(shape),
            _ => Initial::Unchanged,
        })
    }

    /// Returns the cross-entropy of each sample, `[b]`, for the output's tokens `[b, n, d]`, times the time `t`: near the image (0) the
    /// tokens show the edited object, near the noise (1) only the prompt refers to it.
    pub(super) fn losses(
        &self,
        tokens: Tensor<3>,
        target_mask: &TargetMask,
        t: Tensor<1>,
    ) -> Tensor<1> {
        let logits = self.out.forward(norm(tokens, self.epsilon));
        let logits = logits.squeeze_dim::<2>(2);
        let positive = log_sigmoid(logits.clone()) * target_mask.tokens.clone();
        let negative = log_sigmoid(logits.neg()) * (target_mask.tokens.clone().neg() + 1.0);
        let entropy = (positive + negative).neg() * target_mask.weights.clone();
        entropy.sum_dim(1).squeeze_dim::<1>(1) * t
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
        tensor.to_data().iter::<f32>().collect()
    }

    #[test]
    fn targets_and_others_weigh_one_half_and_unknown_samples_nothing() {
        let device = Device::flex();
        let mut one = [false; 16];
        one[5] = true;
        let target_mask = TargetMaskData::new(&[&one, &[], &[true; 16]], [4, 4], 1).unwrap();
        let target_mask = target_mask.on(&device);
        let (tokens, weights) = (values(&target_mask.tokens), values(&target_mask.weights));
        assert_eq!(tokens[..16].iter().sum::<f32>(), 1.0);
        assert_eq!(tokens[5], 1.0);
        assert_eq!(weights[5], 0.5);
        assert!((weights[..16].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(weights[16..].iter().all(|weight| *weight == 0.0));
        assert!(TargetMaskData::new(&[&[], &[false; 16]], [4, 4], 1).is_none());
        // With tokens of 2 x 2 cells, cell (1, 1) is in the first of four.
        let target_mask = TargetMaskData::new(&[&one], [4, 4], 2).unwrap().on(&device);
        assert_eq!(values(&target_mask.tokens), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn predicting_the_target_token_has_the_lowest_loss() {
        let device = Device::flex();
        let config = TransformerConfig {
            hidden_size: 2,
            ..unireal::internals::config::Config::tiny().transformer
        };
        let mut grounding = Grounding::new(&config, &device);
        grounding.out.weight = unireal::internals::model::linear::Weight::Float(
            burn::module::Param::from_data(TensorData::from([[4f32, -4.0]]), &device),
        );
        let target_mask =
            TargetMaskData::new(&[&[true, false], &[false, true]], [1, 2], 1).unwrap();
        let target_mask = target_mask.on(&device);
        let tokens = Tensor::from_data([[[1f32, 0.0], [0.0, 1.0]]], &device).repeat_dim(0, 2);
        let losses = values(&grounding.losses(tokens, &target_mask, Tensor::ones([2], &device)));
        // Logits are 8 and -8: the loss is ln(1 + e^-8) if they are right, 8 more if they are wrong.
        assert!((losses[0] - 3.354e-4).abs() < 1e-5, "{losses:?}");
        assert!((losses[1] - 8.0003).abs() < 1e-3, "{losses:?}");
    }
}
