//! AdamW (Loshchilov and Hutter, 2019) for one parameter: one in-place pass on the CPU, tensor operations on other devices.

use burn::tensor::Tensor;

use super::cpu_tensor::{flex, on_cpu, tensor, values, values_mut};
use super::optimizer::OptimizerConfig;

/// The coefficients of one step.
#[derive(Clone, Copy)]
pub(super) struct AdamW {
    /// Factor from the sum of gradients to their clipped mean.
    scale: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// `1 - learning_rate * weight_decay`.
    decay: f32,
    /// The learning rate with the bias correction of the first moment.
    learning_rate: f32,
    /// The bias correction of the second moment.
    correction: f32,
}

impl AdamW {
    /// Returns the coefficients of step `steps` (from 1); `scale` turns the sum of gradients into their clipped mean.
    pub(super) fn new(
        config: &OptimizerConfig,
        steps: i32,
        scale: f32,
        learning_rate: f64,
    ) -> Self {
        let learning_rate = learning_rate as f32;
        AdamW {
            scale,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            decay: 1.0 - learning_rate * config.weight_decay,
            learning_rate: learning_rate / (1.0 - config.beta1.powi(steps)),
            correction: (1.0 - config.beta2.powi(steps)).recip(),
        }
    }

    /// Returns the values, the first moment and the second moment after a step.
    pub(super) fn step(
        self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        if on_cpu(&values) {
            self.in_place(values, gradient, first, second)
        } else {
            self.on_device(values, gradient, first, second)
        }
    }

    fn in_place(
        self,
        parameter: Tensor<1>,
        gradient: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        let mut state = [parameter, first, second].map(flex);
        let gradient = flex(gradient);
        let [parameter, first, second] = &mut state;
        let values_and_gradients = values_mut(parameter).iter_mut().zip(values(&gradient));
        let moments = values_mut(first).iter_mut().zip(values_mut(second));
        for ((value, gradient), (first, second)) in values_and_gradients.zip(moments) {
            let g = gradient * self.scale;
            *first = self.beta1 * *first + (1.0 - self.beta1) * g;
            *second = self.beta2 * *second + (1.0 - self.beta2) * g * g;
            let denominator = (*second * self.correction).sqrt() + self.epsilon;
            *value = self.decay * *value - self.learning_rate * *first / denominator;
        }
        state.map(tensor)
    }

    fn on_device(
        self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        let g = gradient * self.scale;
        let first = first * self.beta1 + g.clone() * (1.0 - self.beta1);
        let second = second * self.beta2 + g.square() * (1.0 - self.beta2);
        let denominator = (second.clone() * self.correction).sqrt() + self.epsilon;
        let values = values * self.decay - first.clone() * self.learning_rate / denominator;
        [values, first, second]
    }
}
