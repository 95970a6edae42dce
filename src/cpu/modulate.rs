//! The adaptive layer norm (adaLN) before attention and feed-forward in a block, and the gated residual sum after them.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::simd::{dot, moments, simd_dispatch, sum};
use super::{Operand, Operation, as_slice, buffer, from_vec, operand, result, zeros};

/// Shapes, and the part of the modulation to use.
#[derive(Clone, Copy, Debug)]
struct Plan {
    b: usize,
    n: usize,
    d: usize,
    n_clean: usize,
    /// Index among the six parts: of the shift, which the scale follows, or of the gate.
    at: usize,
    epsilon: f32,
}

impl Plan {
    /// Returns `None` when the modulation's shape does not match, which the reference implementation reports.
    fn new(x: &Tensor<3>, by: &Modulation, at: usize, epsilon: f64) -> Option<Self> {
        let [b, n, d] = x.dims();
        by.fits(b, d).then_some(Plan {
            b,
            n,
            d,
            n_clean: by.n_clean,
            at,
            epsilon: epsilon as f32,
        })
    }
}

/// A block's residual branch. Each has three of the modulation's six parts: shift, scale and gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// Attention: the first three parts.
    Attention,
    /// The feed-forward layer: the last three parts.
    Mlp,
}

impl Branch {
    /// Returns the index of the shift among the six parts; the scale follows it.
    pub(crate) fn shift(self) -> usize {
        match self {
            Branch::Attention => 0,
            Branch::Mlp => 3,
        }
    }

    /// Returns the index of the gate among the six parts.
    pub(crate) fn gate(self) -> usize {
        self.shift() + 2
    }
}

/// AdaLN shifts, scales and gates of a block for two kinds of token: the first `n_clean` tokens of a sequence, and the others.
/// Each has six parts of `d` values.
#[derive(Clone, Debug)]
pub struct Modulation {
    /// Of text and input tokens, `[1, 1, 6 d]`.
    pub clean: Tensor<3>,
    /// Of noise tokens, `[b, 1, 6 d]`.
    pub noise: Tensor<3>,
    /// Number of clean tokens.
    pub n_clean: usize,
}

impl Modulation {
    /// Returns whether the shapes match `b` samples of width `d`.
    pub(crate) fn fits(&self, b: usize, d: usize) -> bool {
        self.clean.dims() == [1, 1, 6 * d] && self.noise.dims() == [b, 1, 6 * d]
    }

    /// Returns one of the six parts, repeated for each token: `[b, n, d]`.
    pub(crate) fn per_token(&self, part: usize, [b, n, d]: [usize; 3]) -> Tensor<3> {
        let rows = [(&self.clean, self.n_clean), (&self.noise, n - self.n_clean)]
            .into_iter()
            .filter(|&(_, tokens)| tokens > 0)
            .map(|(of, tokens)| of.clone().narrow(2, part * d, d).expand([b, tokens, d]));
        Tensor::cat(rows.collect(), 1)
    }

    /// Returns the shape of `x` if a shader can modulate it: shapes match, none is empty, and `d` is a multiple of 4.
    pub(crate) fn shape(&self, x: &Tensor<3>) -> Option<[usize; 3]> {
        let [b, n, d] = x.dims();
        (self.fits(b, d) && d.is_multiple_of(4) && b * n * d > 0).then_some([b, n, d])
    }
}

#[derive(Debug)]
struct Modulated;

impl Operation<3> for Modulated {
    /// Input, modulation of clean tokens and of noise tokens.
    type State = (FlexTensor, FlexTensor, FlexTensor, Plan);

    fn backward(
        (x, clean, noise, plan): &Self::State,
        gradient: &FlexTensor,
    ) -> [Option<FlexTensor>; 3] {
        let Plan { b, n, d, .. } = *plan;
        let mut into_x = buffer(b * n * d);
        let mut into_clean = vec![0f32; 6 * d];
        let mut into_noise = zeros(6 * b * d);
        modulated_backward(
            as_slice(x),
            as_slice(clean),
            as_slice(noise),
            as_slice(gradient),
            &mut into_x,
            &mut into_clean,
            &mut into_noise,
            *plan,
        );
        [
            Some(from_vec(into_x, [b, n, d])),
            Some(from_vec(into_clean, [1, 1, 6 * d])),
            Some(from_vec(into_noise, [b, 1, 6 * d])),
        ]
    }
}

/// [`crate::gpu::modulated`] on the CPU. Returns `None` when the shapes do not match or a tensor is not f32 on the CPU.
pub(crate) fn modulated(
    x: &Tensor<3>,
    by: &Modulation,
    branch: Branch,
    epsilon: f64,
) -> Option<Tensor<3>> {
    let plan = Plan::new(x, by, branch.shift(), epsilon)?;
    let operands = [operand(x)?, operand(&by.clean)?, operand(&by.noise)?];
    let [input, rows, others] = operands.each_ref().map(Operand::as_slice);
    let mut values = buffer(input.len());
    modulated_forward(input, rows, others, &mut values, plan);
    let [input, rows, others] = operands.each_ref().map(|operand| operand.values.clone());
    let state = (input, rows, others, plan);
    let values = from_vec(values, x.dims());
    Some(result::<Modulated, 3, 3>(operands, state, values))
}

#[derive(Debug)]
struct Gated;

impl Operation<4> for Gated {
    /// The gated operand, modulation of clean tokens and of noise tokens.
    type State = (FlexTensor, FlexTensor, FlexTensor, Plan);

    fn backward(
        (a, clean, noise, plan): &Self::State,
        gradient: &FlexTensor,
    ) -> [Option<FlexTensor>; 4] {
        let Plan { b, n, d, .. } = *plan;
        let mut into_a = buffer(b * n * d);
        let mut into_clean = vec![0f32; 6 * d];
        let mut into_noise = zeros(6 * b * d);
        gated_backward(
            as_slice(a),
            as_slice(clean),
            as_slice(noise),
            as_slice(gradient),
            &mut into_a,
            &mut into_clean,
            &mut into_noise,
            *plan,
        );
        [
            Some(gradient.clone()),
            Some(from_vec(into_a, [b, n, d])),
            Some(from_vec(into_clean, [1, 1, 6 * d])),
            Some(from_vec(into_noise, [b, 1, 6 * d])),
        ]
    }
}

/// [`crate::gpu::gated`] on the CPU. Returns `None` when the shapes do not match or a tensor is not f32 on the CPU.
pub(crate) fn gated(
    x: &Tensor<3>,
    a: &Tensor<3>,
    by: &Modulation,
    branch: Branch,
) -> Option<Tensor<3>> {
    let plan = Plan::new(x, by, branch.gate(), 0.0)?;
    if a.dims() != x.dims() {
        return None;
    }
    let operands = [
        operand(x)?,
        operand(a)?,
        operand(&by.clean)?,
        operand(&by.noise)?,
    ];
    let [input, added, rows, others] = operands.each_ref().map(Operand::as_slice);
    let mut values = buffer(input.len());
    gated_forward(input, added, rows, others, &mut values, plan);
    let [_, added, rows, others] = operands.each_ref().map(|operand| operand.values.clone());
    let state = (added, rows, others, plan);
    let values = from_vec(values, x.dims());
    Some(result::<Gated, 4, 3>(operands, state, values))
}

/// Returns a token's modulation `[6 d]`, from `clean` or from its sample's row of `noise`.
#[inline(always)]
fn modulation<'a>(clean: &'a [f32], noise: &'a [f32], token: usize, plan: Plan) -> &'a [f32] {
    let (sample, place) = (token / plan.n, token % plan.n);
    if place < plan.n_clean {
        clean
    } else {
        &noise[6 * plan.d * sample..6 * plan.d * (sample + 1)]
    }
}

simd_dispatch! {
    fn modulated_forward(x: &[f32], clean: &[f32], noise: &[f32], y: &mut [f32], plan: Plan) {
        let d = plan.d;
        for (token, (x, y)) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).enumerate() {
            let row = &modulation(clean, noise, token, plan)[plan.at * d..(plan.at + 2) * d];
            let (shift, scale) = row.split_at(d);
            let (mean, inverse) = moments(x, plan.epsilon);
            for ((x, y), (shift, scale)) in x.iter().zip(y.iter_mut()).zip(shift.iter().zip(scale)) {
                *y = (x - mean) * inverse * (1.0 + scale) + shift;
            }
        }
    }

    fn modulated_backward(
        x: &[f32],
        clean: &[f32],
        noise: &[f32],
        gradient: &[f32],
        into_x: &mut [f32],
        into_clean: &mut [f32],
        into_noise: &mut [f32],
        plan: Plan,
    ) {
        let d = plan.d;
        let width = d as f32;
        let mut normed = vec![0f32; d];
        let rows = x.chunks_exact(d).zip(gradient.chunks_exact(d));
        for (token, ((x, gradient), into_x)) in rows.zip(into_x.chunks_exact_mut(d)).enumerate() {
            let scale = &modulation(clean, noise, token, plan)[(plan.at + 1) * d..(plan.at + 2) * d];
            let into = if token % plan.n < plan.n_clean {
                &mut into_clean[plan.at * d..(plan.at + 2) * d]
            } else {
                let start = (6 * (token / plan.n) + plan.at) * d;
                &mut into_noise[start..start + 2 * d]
            };
            let (into_shift, into_scale) = into.split_at_mut(d);
            let (mean, inverse) = moments(x, plan.epsilon);
            // Known lengths let the compiler drop the bounds checks in the loops.
            let (x, gradient, scale) = (&x[..d], &gradient[..d], &scale[..d]);
            let (into_x, normed) = (&mut into_x[..d], &mut normed[..d]);
            let (into_shift, into_scale) = (&mut into_shift[..d], &mut into_scale[..d]);
            for i in 0..d {
                normed[i] = (x[i] - mean) * inverse;
                into_x[i] = gradient[i] * (1.0 + scale[i]);
                into_shift[i] += gradient[i];
                into_scale[i] += gradient[i] * normed[i];
            }
            let (level, along) = (sum(into_x) / width, dot(into_x, normed) / width);
            for i in 0..d {
                into_x[i] = inverse * (into_x[i] - level - normed[i] * along);
            }
        }
    }

    fn gated_forward(x: &[f32], a: &[f32], clean: &[f32], noise: &[f32], y: &mut [f32], plan: Plan) {
        let d = plan.d;
        let rows = x.chunks_exact(d).zip(a.chunks_exact(d));
        for (token, ((x, a), y)) in rows.zip(y.chunks_exact_mut(d)).enumerate() {
            let gate = &modulation(clean, noise, token, plan)[plan.at * d..(plan.at + 1) * d];
            for ((x, a), (gate, y)) in x.iter().zip(a).zip(gate.iter().zip(y)) {
                *y = x + a * gate;
            }
        }
    }

    fn gated_backward(
        a: &[f32],
        clean: &[f32],
        noise: &[f32],
        gradient: &[f32],
        into_a: &mut [f32],
        into_clean: &mut [f32],
        into_noise: &mut [f32],
        plan: Plan,
    ) {
        let d = plan.d;
        let rows = a.chunks_exact(d).zip(gradient.chunks_exact(d));
        for (token, ((a, gradient), into_a)) in rows.zip(into_a.chunks_exact_mut(d)).enumerate() {
            let gate = &modulation(clean, noise, token, plan)[plan.at * d..(plan.at + 1) * d];
            let into = if token % plan.n < plan.n_clean {
                &mut into_clean[plan.at * d..(plan.at + 1) * d]
            } else {
                let start = (6 * (token / plan.n) + plan.at) * d;
                &mut into_noise[start..start + d]
            };
            let (a, gradient, gate) = (&a[..d], &gradient[..d], &gate[..d]);
            let (into_a, into) = (&mut into_a[..d], &mut into[..d]);
            for i in 0..d {
                into_a[i] = gradient[i] * gate[i];
                into[i] += gradient[i] * a[i];
            }
        }
    }
}
