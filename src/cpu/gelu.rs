//! GELU in its tanh form, as a layer of [`crate::gpu::linear`] has it.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::wide::{exp, wide};
use super::{Operation, made, numbers, operand, result};

#[derive(Debug)]
struct Gelu;

impl Operation<1> for Gelu {
    /// The input.
    type State = FlexTensor;

    fn backward(x: &FlexTensor, gradient: &FlexTensor) -> [Option<FlexTensor>; 1] {
        let mut result = vec![0f32; numbers(x).len()];
        backward(numbers(x), numbers(gradient), &mut result);
        let shape: [usize; 3] = x.layout().shape().dims();
        [Some(made(result, shape))]
    }
}

/// `x sigmoid(2 u)` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`; `None` on another device.
pub(crate) fn gelu(x: &Tensor<3>) -> Option<Tensor<3>> {
    let input = operand(x)?;
    let mut values = vec![0f32; input.numbers().len()];
    forward(input.numbers(), &mut values);
    let state = input.values.clone();
    Some(result::<Gelu, 1, 3>([input], state, made(values, x.dims())))
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
