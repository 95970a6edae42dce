//! What surrounds attention and feed-forward in a block: `shaders/modulate.wgsl` before, `shaders/gate.wgsl` after.

use burn::tensor::{Tensor, module::layer_norm};

use super::launch::{self, Shader};

const MODULATE: Shader = Shader {
    name: "modulate",
    source: include_str!("../../shaders/modulate.wgsl"),
    tile: [1, 1],
    workgroup: [32, 1],
};

const GATE: Shader = Shader {
    name: "gate",
    source: include_str!("../../shaders/gate.wgsl"),
    tile: [1, 1],
    workgroup: [64, 1],
};

/// The layer norm of `x`, scaled and shifted: the first `n_clean` tokens by the parts `at` (shift) and `at + 1` (scale) of
/// `clean`, the others by those of `noise`.
///
/// # Shapes
/// `x [b, n, d]`, `clean [1, 1, 6 d]`, `noise [b, 1, 6 d]` to `[b, n, d]`.
///
/// # Panics
/// When the shapes do not fit one another.
pub fn modulated(
    x: Tensor<3>,
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    n_clean: usize,
    at: usize,
    epsilon: f64,
) -> Tensor<3> {
    modulated_on_gpu(&x, clean, noise, n_clean, at, epsilon)
        .or_else(|| crate::cpu::modulated(&x, clean, noise, n_clean, at, epsilon))
        .unwrap_or_else(|| modulated_reference(x, clean, noise, n_clean, at, epsilon))
}

/// [`modulated`] in plain operations.
pub fn modulated_reference(
    x: Tensor<3>,
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    n_clean: usize,
    at: usize,
    epsilon: f64,
) -> Tensor<3> {
    let [b, n, d] = x.dims();
    let part = |at| per_token(clean, noise, at, [b, n, n_clean, d]);
    let ones = Tensor::ones([d], &x.device());
    layer_norm(x, ones, None, epsilon) * part(at + 1).add_scalar(1.0) + part(at)
}

/// `x + a` times the gate, the part `at` of `clean` for the first `n_clean` tokens and of `noise` for the others.
///
/// # Shapes
/// `x` and `a [b, n, d]`, `clean [1, 1, 6 d]`, `noise [b, 1, 6 d]` to `[b, n, d]`.
///
/// # Panics
/// When the shapes do not fit one another.
pub fn gated(
    x: Tensor<3>,
    a: Tensor<3>,
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    n_clean: usize,
    at: usize,
) -> Tensor<3> {
    gated_on_gpu(&x, &a, clean, noise, n_clean, at)
        .or_else(|| crate::cpu::gated(&x, &a, clean, noise, n_clean, at))
        .unwrap_or_else(|| gated_reference(x, a, clean, noise, n_clean, at))
}

/// [`gated`] in plain operations.
pub fn gated_reference(
    x: Tensor<3>,
    a: Tensor<3>,
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    n_clean: usize,
    at: usize,
) -> Tensor<3> {
    let [b, n, d] = x.dims();
    x + a * per_token(clean, noise, at, [b, n, n_clean, d])
}

/// One of the six parts, spread over the tokens: `[b, n, d]`.
fn per_token(
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    part: usize,
    [b, n, n_clean, d]: [usize; 4],
) -> Tensor<3> {
    let of = |modulation: &Tensor<3>| modulation.clone().narrow(2, part * d, d);
    let rows = vec![
        of(clean).expand([b, n_clean, d]),
        of(noise).expand([b, n - n_clean, d]),
    ];
    Tensor::cat(rows, 1)
}

fn modulated_on_gpu(
    x: &Tensor<3>,
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    n_clean: usize,
    at: usize,
    epsilon: f64,
) -> Option<Tensor<3>> {
    let [b, n, d] = fitting(x, clean, noise)?;
    let inputs = [x, clean, noise].map(launch::floats);
    let [Some(x), Some(clean), Some(noise)] = &inputs else {
        return None;
    };
    let epsilon = (epsilon as f32).to_bits() as usize;
    let sizes = [n, n_clean, d / 4, at, epsilon];
    // A workgroup is a token: its lanes are the grid's x.
    let grid = [MODULATE.workgroup[0], b * n];
    let y = MODULATE.launch(grid, &[x, clean, noise], &sizes, [b, n, d])?;
    Some(launch::tensor(y))
}

fn gated_on_gpu(
    x: &Tensor<3>,
    a: &Tensor<3>,
    clean: &Tensor<3>,
    noise: &Tensor<3>,
    n_clean: usize,
    at: usize,
) -> Option<Tensor<3>> {
    let [b, n, d] = fitting(x, clean, noise)?;
    if a.dims() != [b, n, d] {
        return None;
    }
    let inputs = [x, a, clean, noise].map(launch::floats);
    let [Some(x), Some(a), Some(clean), Some(noise)] = &inputs else {
        return None;
    };
    let sizes = [n, n_clean, d / 4, at, b * n];
    let y = GATE.launch([d / 4, b * n], &[x, a, clean, noise], &sizes, [b, n, d])?;
    Some(launch::tensor(y))
}

/// The shape of `x`, when the others fit it and rows are whole vectors of four.
fn fitting(x: &Tensor<3>, clean: &Tensor<3>, noise: &Tensor<3>) -> Option<[usize; 3]> {
    let [b, n, d] = x.dims();
    let fits = clean.dims() == [1, 1, 6 * d] && noise.dims() == [b, 1, 6 * d];
    (fits && d.is_multiple_of(4) && b * n * d > 0).then_some([b, n, d])
}
