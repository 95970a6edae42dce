//! Norms over the last axis: the RMS norm `x / rms(x) * weight`, see [`crate::model::text::RmsNorm`], and the layer norm of published
//! backbones, `(x - mean) / deviation * weight + bias`.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::simd::{dot, moments, simd_dispatch, sum};
use super::{Operand, Operation, as_slice, buffer, from_vec, operand, result};

#[derive(Debug)]
struct RmsNorm<const D: usize>;

impl<const D: usize> Operation<2> for RmsNorm<D> {
    /// Input, weight, epsilon.
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(
        (x, weight, epsilon): &Self::State,
        gradient: &FlexTensor,
    ) -> [Option<FlexTensor>; 2] {
        let width = as_slice(weight).len();
        let mut into_x = buffer(as_slice(x).len());
        let mut into_weight = vec![0f32; width];
        backward(
            as_slice(x),
            as_slice(weight),
            *epsilon,
            as_slice(gradient),
            &mut into_x,
            &mut into_weight,
        );
        let shape: [usize; D] = x.layout().shape().dims();
        [
            Some(from_vec(into_x, shape)),
            Some(from_vec(into_weight, [width])),
        ]
    }
}

/// Computes the RMS norm with the weight `[d]`. Returns `None` when the shapes do not match or a tensor is not f32 on the CPU.
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
    let mut values = buffer(input.as_slice().len());
    forward(input.as_slice(), row.as_slice(), epsilon, &mut values);
    let state = (input.values.clone(), row.values.clone(), epsilon);
    let values = from_vec(values, x.dims());
    Some(result::<RmsNorm<D>, 2, D>([input, row], state, values))
}

#[derive(Debug)]
struct LayerNorm;

impl Operation<3> for LayerNorm {
    /// Input, weight, epsilon.
    type State = (FlexTensor, FlexTensor, f32);

    fn backward(
        (x, weight, epsilon): &Self::State,
        gradient: &FlexTensor,
    ) -> [Option<FlexTensor>; 3] {
        let width = as_slice(weight).len();
        let mut into_x = buffer(as_slice(x).len());
        let [mut into_weight, mut into_bias] = [0; 2].map(|_| vec![0f32; width]);
        layer_backward(
            as_slice(x),
            as_slice(weight),
            *epsilon,
            as_slice(gradient),
            &mut into_x,
            &mut into_weight,
            &mut into_bias,
        );
        let shape: [usize; 3] = x.layout().shape().dims();
        [
            Some(from_vec(into_x, shape)),
            Some(from_vec(into_weight, [width])),
            Some(from_vec(into_bias, [width])),
        ]
    }
}

/// Computes the layer norm with weight and bias `[d]`. Returns `None` when the shapes do not match or a tensor is not f32 on the CPU.
pub fn layer_norm(
    x: &Tensor<3>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<3>> {
    if [weight.dims(), bias.dims()] != [[x.dims()[2]]; 2] {
        return None;
    }
    let operands = [operand(x)?, operand(weight)?, operand(bias)?];
    let [input, row, offset] = operands.each_ref().map(Operand::as_slice);
    let epsilon = epsilon as f32;
    let mut values = buffer(input.len());
    layer_forward(input, row, offset, epsilon, &mut values);
    let [input, row, _] = operands.each_ref().map(|operand| operand.values.clone());
    let values = from_vec(values, x.dims());
    Some(result::<LayerNorm, 3, 3>(
        operands,
        (input, row, epsilon),
        values,
    ))
}

simd_dispatch! {
    fn layer_forward(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) {
        let width = weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, inverse) = moments(x, epsilon);
            for ((x, y), (weight, bias)) in x.iter().zip(y.iter_mut()).zip(weight.iter().zip(bias)) {
                *y = (x - mean) * inverse * weight + bias;
            }
        }
    }

    fn layer_backward(
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        gradient: &[f32],
        into_x: &mut [f32],
        into_weight: &mut [f32],
        into_bias: &mut [f32],
    ) {
        let d = weight.len();
        let mut normed = vec![0f32; d];
        let rows = x.chunks_exact(d).zip(gradient.chunks_exact(d));
        for ((x, gradient), into_x) in rows.zip(into_x.chunks_exact_mut(d)) {
            let (mean, inverse) = moments(x, epsilon);
            // Known lengths let the compiler drop the bounds checks in the loop.
            let (x, gradient, weight) = (&x[..d], &gradient[..d], &weight[..d]);
            let (into_x, normed) = (&mut into_x[..d], &mut normed[..d]);
            let (into_weight, into_bias) = (&mut into_weight[..d], &mut into_bias[..d]);
            for i in 0..d {
                normed[i] = (x[i] - mean) * inverse;
                into_x[i] = gradient[i] * weight[i];
                into_weight[i] += gradient[i] * normed[i];
                into_bias[i] += gradient[i];
            }
            let (level, along) = (sum(into_x) / d as f32, dot(into_x, normed) / d as f32);
            for i in 0..d {
                into_x[i] = inverse * (into_x[i] - level - normed[i] * along);
            }
        }
    }

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
