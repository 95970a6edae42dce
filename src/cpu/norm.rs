//! `x / rms(x) * weight` over the last axis, see [`crate::model::text::RmsNorm`].

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::wide::{dot, wide};
use super::{dense, made, numbers, recorded, register, tracked};

#[derive(Debug)]
struct RmsNorm<const D: usize>;

impl<const D: usize> Backward<Flex, 2> for RmsNorm<D> {
    /// Input, weight, epsilon.
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (x, weight, epsilon) = &ops.state;
        let gradient = dense(&grads.consume::<Flex>(&ops.node));
        let width = numbers(weight).len();
        let mut into_x = vec![0f32; numbers(x).len()];
        let mut into_weight = vec![0f32; width];
        backward(
            numbers(x),
            numbers(weight),
            *epsilon,
            numbers(&gradient),
            &mut into_x,
            &mut into_weight,
        );
        let shape: [usize; D] = x.layout().shape().dims();
        let results = [made(into_x, shape), made(into_weight, [width])];
        register(ops, results.map(Some), grads);
    }
}

/// The norm with the weight `[d]`; `None` where training on the CPU is not what runs.
pub(crate) fn rms_norm<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    if x.dims()[D - 1] != weight.dims()[0] {
        return None;
    }
    let (x, weight) = (tracked(x)?, tracked(weight)?);
    let (input, row) = (dense(x.primitive()), dense(weight.primitive()));
    let mut values = vec![0f32; numbers(&input).len()];
    forward(numbers(&input), numbers(&row), epsilon as f32, &mut values);
    let shape: [usize; D] = input.layout().shape().dims();
    let output = made(values, shape);
    let nodes = [x.node(), weight.node()];
    Some(recorded(
        RmsNorm::<D>,
        nodes,
        (input, row, epsilon as f32),
        output,
    ))
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
