//! AdaLN modulation in a block: `shaders/modulate.wgsl` before attention and feed-forward, a gated sum after.

use burn::tensor::{Tensor, module::layer_norm};

use super::launch::{self, Shader, Threads};
use crate::cpu::{Branch, Modulation};

/// Number of threads per token.
const ROW: usize = 32;

const MODULATE: Shader = Shader {
    name: "modulate",
    texts: &[include_str!("../../shaders/modulate.wgsl")],
    threads: Threads::Each([ROW, 1]),
};

/// Returns the layer norm of `x [b, n, d]`, scaled and shifted for a branch.
///
/// # Panics
/// When the shapes do not match.
pub fn modulated(x: Tensor<3>, by: &Modulation, branch: Branch, epsilon: f64) -> Tensor<3> {
    modulated_on_gpu(&x, by, branch, epsilon)
        .or_else(|| crate::cpu::modulated(&x, by, branch, epsilon))
        .unwrap_or_else(|| modulated_reference(x, by, branch, epsilon))
}

/// [`modulated`] in plain tensor operations.
pub fn modulated_reference(
    x: Tensor<3>,
    by: &Modulation,
    branch: Branch,
    epsilon: f64,
) -> Tensor<3> {
    let shape = x.dims();
    let ones = Tensor::ones([shape[2]], &x.device());
    let (shift, scale) = (
        by.per_token(branch.shift(), shape),
        by.per_token(branch.shift() + 1, shape),
    );
    layer_norm(x, ones, None, epsilon) * scale.add_scalar(1.0) + shift
}

/// Returns `x + a * gate` with the gate of a branch; `x` and `a` are `[b, n, d]`.
///
/// # Panics
/// When the shapes do not match.
pub fn gated(x: Tensor<3>, a: Tensor<3>, by: &Modulation, branch: Branch) -> Tensor<3> {
    crate::cpu::gated(&x, &a, by, branch).unwrap_or_else(|| gated_reference(x, a, by, branch))
}

/// [`gated`] in plain tensor operations. On WebGPU a fused shader gained nothing.
pub fn gated_reference(x: Tensor<3>, a: Tensor<3>, by: &Modulation, branch: Branch) -> Tensor<3> {
    let gate = by.per_token(branch.gate(), x.dims());
    x + a * gate
}

fn modulated_on_gpu(
    x: &Tensor<3>,
    by: &Modulation,
    branch: Branch,
    epsilon: f64,
) -> Option<Tensor<3>> {
    let [b, n, d] = by.shape(x)?;
    let (clean, noise) = (launch::floats(&by.clean)?, launch::floats(&by.noise)?);
    let inputs = [&launch::floats(x)?, &clean, &noise];
    let epsilon = (epsilon as f32).to_bits() as usize;
    let sizes = [n, by.n_clean, d / 4, branch.shift(), epsilon];
    // One workgroup per token: its threads span the grid's x.
    let grid = [ROW, b * n];
    let y = MODULATE.launch(grid, &inputs, &sizes, [b, n, d])?;
    Some(launch::tensor(y))
}
