//! Fused group norm and SiLU, as in every residual layer of the autoencoder.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::simd::{LANES, exp, moments, simd_dispatch, sum};
use super::{Operand, Operation, as_slice, buffer, from_vec, operand, result};

#[derive(Debug)]
struct GroupNormSilu;

/// Saved for the backward pass.
#[derive(Clone, Debug)]
struct State {
    /// `[b, c, y, x]`.
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    groups: usize,
    epsilon: f32,
}

impl Operation<3> for GroupNormSilu {
    type State = State;

    fn backward(state: &State, gradient: &FlexTensor) -> [Option<FlexTensor>; 3] {
        let State {
            x,
            gamma,
            beta,
            groups,
            epsilon,
        } = state;
        let shape: [usize; 4] = x.layout().shape().dims();
        let c = shape[1];
        let (gamma, beta) = (as_slice(gamma), as_slice(beta));
        let mut into_x = buffer(as_slice(x).len());
        let (mut into_gamma, mut into_beta) = (vec![0f32; c], vec![0f32; c]);
        let (channels, plane) = (c / groups, shape[2] * shape[3]);
        let all = as_slice(x).chunks_exact(channels * plane);
        let all = all.zip(as_slice(gradient).chunks_exact(channels * plane));
        let all = all.zip(into_x.chunks_exact_mut(channels * plane));
        for (k, ((x, gradient), into_x)) in all.enumerate() {
            let from = k % groups * channels;
            let own = from..from + channels;
            backward(
                x,
                &gamma[own.clone()],
                &beta[own.clone()],
                *epsilon,
                gradient,
                into_x,
                &mut into_gamma[own.clone()],
                &mut into_beta[own],
            );
        }
        [
            Some(from_vec(into_x, shape)),
            Some(from_vec(into_gamma, [c])),
            Some(from_vec(into_beta, [c])),
        ]
    }
}

/// Computes `silu(group_norm(x))` with one `gamma` and `beta` per channel. Returns `None` when the shapes do not match or a tensor
/// is not f32 on the CPU.
pub(crate) fn group_norm_silu(
    x: &Tensor<4>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Option<Tensor<4>> {
    let [b, c, height, width] = x.dims();
    if gamma.dims() != [c] || beta.dims() != [c] || groups == 0 || c % groups != 0 {
        return None;
    }
    let operands = [operand(x)?, operand(gamma)?, operand(beta)?];
    let [input, scales, offsets] = operands.each_ref().map(Operand::as_slice);
    let epsilon = epsilon as f32;
    let mut values = buffer(input.len());
    let (channels, plane) = (c / groups, height * width);
    let inputs = input.chunks_exact(channels * plane);
    let outputs = values.chunks_exact_mut(channels * plane);
    for (k, (x, y)) in inputs.zip(outputs).enumerate() {
        let from = k % groups * channels;
        let own = from..from + channels;
        forward(x, &scales[own.clone()], &offsets[own], epsilon, y);
    }
    let [x, gamma, beta] = operands.each_ref().map(|operand| operand.values.clone());
    let state = State {
        x,
        gamma,
        beta,
        groups,
        epsilon,
    };
    let values = from_vec(values, [b, c, height, width]);
    Some(result::<GroupNormSilu, 3, 4>(operands, state, values))
}

/// Returns the sum of `a[i] * (x[i] - mean)`.
#[inline(always)]
fn dot_from(a: &[f32], x: &[f32], mean: f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (a_chunks, x_chunks) = (a.chunks_exact(LANES), x.chunks_exact(LANES));
    let rest = std::iter::zip(a_chunks.remainder(), x_chunks.remainder());
    let rest: f32 = rest.map(|(a, x)| a * (x - mean)).sum();
    for (a, x) in a_chunks.zip(x_chunks) {
        for i in 0..LANES {
            sums[i] += a[i] * (x[i] - mean);
        }
    }
    sum(&sums) + rest
}

simd_dispatch! {
    fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, y: &mut [f32]) {
        let (mean, scale) = moments(x, epsilon);
        let plane = x.len() / gamma.len();
        let rows = x.chunks_exact(plane).zip(y.chunks_exact_mut(plane));
        for ((x, y), (gamma, beta)) in rows.zip(gamma.iter().zip(beta)) {
            let (a, b) = (gamma * scale, beta - gamma * scale * mean);
            for (x, y) in x.iter().zip(y) {
                let z = a * x + b;
                *y = z / (1.0 + exp(-z));
            }
        }
    }

    fn backward(
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        epsilon: f32,
        gradient: &[f32],
        into_x: &mut [f32],
        into_gamma: &mut [f32],
        into_beta: &mut [f32],
    ) {
        let (mean, scale) = moments(x, epsilon);
        let plane = x.len() / gamma.len();
        // Sums over the group: the gradient of the normalised values, and that gradient times the normalised values.
        let (mut plain, mut along) = (0f32, 0f32);
        for k in 0..gamma.len() {
            let own = k * plane..(k + 1) * plane;
            let (x, gradient, into_x) = (&x[own.clone()], &gradient[own.clone()], &mut into_x[own]);
            let (a, b) = (gamma[k] * scale, beta[k] - gamma[k] * scale * mean);
            for ((x, gradient), into_x) in x.iter().zip(gradient).zip(into_x.iter_mut()) {
                let z = a * x + b;
                let s = 1.0 / (1.0 + exp(-z));
                *into_x = gradient * s * (1.0 + z * (1.0 - s));
            }
            let total = sum(into_x);
            let product = dot_from(into_x, x, mean) * scale;
            into_beta[k] += total;
            into_gamma[k] += product;
            plain += gamma[k] * total;
            along += gamma[k] * product;
        }
        let (plain, along) = (plain / x.len() as f32, along / x.len() as f32);
        let rows = x.chunks_exact(plane).zip(into_x.chunks_exact_mut(plane));
        for ((x, into_x), gamma) in rows.zip(gamma) {
            for (x, into_x) in x.iter().zip(into_x) {
                *into_x = scale * (gamma * *into_x - plain - (x - mean) * scale * along);
            }
        }
    }
}
