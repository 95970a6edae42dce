//! GELU in the tanh approximation of [`crate::gpu::linear`], and in the two variants of published backbones.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::simd::{exp, simd_dispatch};
use super::{Operation, as_slice, buffer, from_vec, operand, result};

/// A variant of GELU, `x` times the standard normal CDF of `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeluApproximation {
    /// The tanh approximation, `x sigmoid(2 u)` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`.
    Tanh,
    /// CLIP's QuickGELU, `x sigmoid(1.702 x)`.
    Quick,
    /// The erf variant, within 2e-7.
    Exact,
}

impl GeluApproximation {
    /// Returns `a` and `b` of `x sigmoid(x (a + b x^2))`.
    fn slopes(self) -> [f32; 2] {
        match self {
            GeluApproximation::Tanh => [1.595_769, 0.071_354_82],
            GeluApproximation::Quick => [1.702, 0.0],
            GeluApproximation::Exact => unreachable!("it has loops of its own"),
        }
    }
}

#[derive(Debug)]
struct Gelu;

impl Operation<1> for Gelu {
    /// Input and variant.
    type State = (FlexTensor, GeluApproximation);

    fn backward(
        (x, approximation): &Self::State,
        gradient: &FlexTensor,
    ) -> [Option<FlexTensor>; 1] {
        let mut result = buffer(as_slice(x).len());
        match approximation {
            GeluApproximation::Exact => {
                exact_backward(as_slice(x), as_slice(gradient), &mut result)
            }
            approximation => backward(
                as_slice(x),
                approximation.slopes(),
                as_slice(gradient),
                &mut result,
            ),
        }
        let shape: [usize; 3] = x.layout().shape().dims();
        [Some(from_vec(result, shape))]
    }
}

/// Applies GELU elementwise. Returns `None` unless `x` is f32 on the CPU.
pub fn gelu(x: &Tensor<3>, approximation: GeluApproximation) -> Option<Tensor<3>> {
    let input = operand(x)?;
    let mut values = buffer(input.as_slice().len());
    match approximation {
        GeluApproximation::Exact => exact_forward(input.as_slice(), &mut values),
        approximation => forward(input.as_slice(), approximation.slopes(), &mut values),
    }
    let state = (input.values.clone(), approximation);
    Some(result::<Gelu, 1, 3>(
        [input],
        state,
        from_vec(values, x.dims()),
    ))
}

/// Returns the standard normal CDF and density at `x`, with erf by formula 7.1.26 of Abramowitz and Stegun.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152_1;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_72;
    p = p * t + 0.254_829_6;
    let bell = exp(-z * z);
    let tail = 0.5 * p * t * bell;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (below, bell * 0.398_942_3)
}

simd_dispatch! {
    fn forward(x: &[f32], slopes: [f32; 2], y: &mut [f32]) {
        let [a, b] = slopes;
        for (x, y) in x.iter().zip(y) {
            let u = x * (a + b * x * x);
            *y = x / (1.0 + exp(-u));
        }
    }

    fn backward(x: &[f32], slopes: [f32; 2], gradient: &[f32], result: &mut [f32]) {
        let [a, b] = slopes;
        for ((x, gradient), result) in x.iter().zip(gradient).zip(result) {
            let u = x * (a + b * x * x);
            let gate = 1.0 / (1.0 + exp(-u));
            let slope = x * (a + 3.0 * b * x * x);
            *result = gradient * gate * (1.0 + slope * (1.0 - gate));
        }
    }

    fn exact_forward(x: &[f32], y: &mut [f32]) {
        for (x, y) in x.iter().zip(y) {
            *y = x * normal(*x).0;
        }
    }

    fn exact_backward(x: &[f32], gradient: &[f32], result: &mut [f32]) {
        for ((x, gradient), result) in x.iter().zip(gradient).zip(result) {
            let (below, density) = normal(*x);
            *result = gradient * (below + x * density);
        }
    }
}
