//! GELU in its tanh form, see [`crate::model::linear`].

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::wide::{exp, wide};
use super::{dense, made, numbers, recorded, register, tracked};

#[derive(Debug)]
struct Gelu;

impl Backward<Flex, 1> for Gelu {
    /// The input.
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(&grads.consume::<Flex>(&ops.node));
        let mut result = vec![0f32; numbers(&ops.state).len()];
        backward(numbers(&ops.state), numbers(&gradient), &mut result);
        let shape: [usize; 3] = ops.state.layout().shape().dims();
        register(ops, [Some(made(result, shape))], grads);
    }
}

/// `x sigmoid(2 u)` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`; `None` where training on the CPU is not what runs.
pub(crate) fn gelu(x: &Tensor<3>) -> Option<Tensor<3>> {
    let x = tracked(x)?;
    let input = dense(x.primitive());
    let shape: [usize; 3] = input.layout().shape().dims();
    let mut values = vec![0f32; numbers(&input).len()];
    forward(numbers(&input), &mut values);
    let output = made(values, shape);
    Some(recorded(Gelu, [x.node()], input, output))
}

/// `2 sqrt(2 / pi)` and the same times 0.044715.
const A: f32 = 1.595_769;
const B: f32 = 0.071_354_82;

wide! {
    fn forward(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            let u = x * (A + B * x * x);
            *y = x / (1.0 + exp(-u));
        }
    }

    fn backward(x: &[f32], gradient: &[f32], result: &mut [f32]) {
        for ((x, gradient), result) in x.iter().zip(gradient).zip(result) {
            let u = x * (A + B * x * x);
            let gate = 1.0 / (1.0 + exp(-u));
            let slope = x * (A + 3.0 * B * x * x);
            *result = gradient * gate * (1.0 + slope * (1.0 - gate));
        }
    }
}
