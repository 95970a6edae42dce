//! AdaLN modulation in a block: `shaders/modulate.wgsl` before attention and feed-forward, `shaders/gate.wgsl` after.

use burn::tensor::{Tensor, module::layer_norm};

use super::launch::{self, Shader, Threads};
use crate::cpu::Modulation;

/// Number of threads per token.
const ROW: usize = 32;

const MODULATE: Shader = Shader {
    name: "modulate",
    texts: &[include_str!("../../shaders/modulate.wgsl")],
    threads: Threads::Each([ROW, 1]),
};

const GATE: Shader = Shader {
    name: "gate",
    texts: &[include_str!("../../shaders/gate.wgsl")],
    threads: Threads::Each([64, 1]),
};

/// Returns the layer norm of `x [b, n, d]`, scaled by part `at + 1` and shifted by part `at`.
///
/// # Panics
/// When the shapes do not match.
pub fn modulated(x: Tensor<3>, by: &Modulation, at: usize, epsilon: f64) -> Tensor<3> {
    modulated_on_gpu(&x, by, at, epsilon)
        .or_else(|| crate::cpu::modulated(&x, by, at, epsilon))
        .unwrap_or_else(|| modulated_reference(x, by, at, epsilon))
}

/// [`modulated`] in plain tensor operations.
pub fn modulated_reference(x: Tensor<3>, by: &Modulation, at: usize, epsilon: f64) -> Tensor<3> {
    let shape = x.dims();
    let ones = Tensor::ones([shape[2]], &x.device());
    let (shift, scale) = (by.per_token(at, shape), by.per_token(at + 1, shape));
    layer_norm(x, ones, None, epsilon) * scale.add_scalar(1.0) + shift
}

/// Returns `x + a * gate`, where the gate is part `at`; `x` and `a` are `[b, n, d]`.
///
/// # Panics
/// When the shapes do not match.
pub fn gated(x: Tensor<3>, a: Tensor<3>, by: &Modulation, at: usize) -> Tensor<3> {
    gated_on_gpu(&x, &a, by, at)
        .or_else(|| crate::cpu::gated(&x, &a, by, at))
        .unwrap_or_else(|| gated_reference(x, a, by, at))
}

/// [`gated`] in plain tensor operations.
pub fn gated_reference(x: Tensor<3>, a: Tensor<3>, by: &Modulation, at: usize) -> Tensor<3> {
    let gate = by.per_token(at, x.dims());
    x + a * gate
}

fn modulated_on_gpu(x: &Tensor<3>, by: &Modulation, at: usize, epsilon: f64) -> Option<Tensor<3>> {
    let [b, n, d] = by.shape(x)?;
    let (clean, noise) = (launch::floats(&by.clean)?, launch::floats(&by.noise)?);
    let inputs = [&launch::floats(x)?, &clean, &noise];
    let epsilon = (epsilon as f32).to_bits() as usize;
    let sizes = [n, by.n_clean, d / 4, at, epsilon];
    // One workgroup per token: its threads span the grid's x.
    let grid = [ROW, b * n];
    let y = MODULATE.launch(grid, &inputs, &sizes, [b, n, d])?;
    Some(launch::tensor(y))
}

fn gated_on_gpu(x: &Tensor<3>, a: &Tensor<3>, by: &Modulation, at: usize) -> Option<Tensor<3>> {
    let [b, n, d] = by.shape(x)?;
    if a.dims() != [b, n, d] {
        return None;
    }
    let (clean, noise) = (launch::floats(&by.clean)?, launch::floats(&by.noise)?);
    let inputs = [&launch::floats(x)?, &launch::floats(a)?, &clean, &noise];
    let sizes = [n, by.n_clean, d / 4, at, b * n];
    let y = GATE.launch([d / 4, b * n], &inputs, &sizes, [b, n, d])?;
    Some(launch::tensor(y))
}
