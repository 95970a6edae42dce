//! `x / rms(x) * weight` over the last axis, see [`crate::model::text::RmsNorm`].

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::wide::{dot, wide};
use super::{Operation, made, numbers, operand, result};

#[derive(Debug)]
struct RmsNorm<const D: usize>;

impl<const D: usize> Operation<2> for RmsNorm<D> {
    /// Input, weight, epsilon.
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(
        (x, weight, epsilon): &Self::State,
        gradient: &FlexTensor,
    ) -> [Option<FlexTensor>; 2] {
        let width = numbers(weight).len();
        let mut into_x = vec![0f32; numbers(x).len()];
        let mut into_weight = vec![0f32; width];
        backward(
            numbers(x),
            numbers(weight),
            *epsilon,
            numbers(gradient),
            &mut into_x,
            &mut into_weight,
        );
        let shape: [usize; D] = x.layout().shape().dims();
        [Some(made(into_x, shape)), Some(made(into_weight, [width]))]
    }
}

/// The norm with the weight `[d]`; `None` on another device.
pub(crate) fn rms_norm<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    if x.dims()[D - 1] != weight.dims()[0] {
        return None;
    }
    let (input, row) = (operand(x)?, operand(weight)?);
    let epsilon = epsilon as f32;
    let mut values = vec![0f32; input.numbers().len()];
    forward(input.numbers(), row.numbers(), epsilon, &mut values);
    let state = (input.values.clone(), row.values.clone(), epsilon);
    let values = made(values, x.dims());
    Some(result::<RmsNorm<D>, 2, D>([input, row], state, values))
}

wide! {
    fn forward(x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
        let width = weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let scale = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            for ((x, weight), y) in x.iter().zip(weight).zip(y) {
                *y = x * scale * weight;
            }
        }
    }

    fn backward(
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        gradient: &[f32],
        into_x: &mut [f32],
        into_weight: &mut [f32],
    ) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for ((x, gradient), into_x) in rows.zip(into_x.chunks_exact_mut(width)) {
            let scale = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            for (((x, gradient), into_x), (weight, into_weight)) in
                x.iter().zip(gradient).zip(into_x.iter_mut()).zip(weight.iter().zip(into_weight.iter_mut()))
            {
                *into_x = gradient * weight;
                *into_weight += gradient * x * scale;
            }
            let along = dot(into_x, x) * scale * scale / width as f32;
            for (into_x, x) in into_x.iter_mut().zip(x) {
                *into_x = scale * (*into_x - along * x);
            }
        }
    }
}
