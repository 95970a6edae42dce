//! What surrounds attention and feed-forward in a block: `shaders/modulate.wgsl` before, `shaders/gate.wgsl` after.

use burn::tensor::{Tensor, module::layer_norm};

use super::launch::{self, Shader, Threads};

/// Threads that share a token.
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

/// Shifts, scales and gates of a block for the two kinds of token: the first `n_clean` tokens of a sequence, and the others.
/// Each has six parts of `d` numbers.
#[derive(Clone, Debug)]
pub struct Modulation {
    /// `[1, 1, 6 d]`, of text and input tokens.
    pub clean: Tensor<3>,
    /// `[b, 1, 6 d]`, of noise tokens.
    pub noise: Tensor<3>,
    /// How many tokens are clean.
    pub n_clean: usize,
}

impl Modulation {
    /// Whether it is one for `b` samples of tokens of width `d`.
    pub(crate) fn fits(&self, b: usize, d: usize) -> bool {
        self.clean.dims() == [1, 1, 6 * d] && self.noise.dims() == [b, 1, 6 * d]
    }

    /// One of the six parts, spread over the tokens: `[b, n, d]`.
    fn per_token(&self, part: usize, [b, n, d]: [usize; 3]) -> Tensor<3> {
        let rows = [(&self.clean, self.n_clean), (&self.noise, n - self.n_clean)]
            .into_iter()
            .filter(|&(_, tokens)| tokens > 0)
            .map(|(of, tokens)| of.clone().narrow(2, part * d, d).expand([b, tokens, d]));
        Tensor::cat(rows.collect(), 1)
    }

    /// The shape of `x`, when a shader can modulate it: rows are whole vectors of four.
    fn shape(&self, x: &Tensor<3>) -> Option<[usize; 3]> {
        let [b, n, d] = x.dims();
        (self.fits(b, d) && d.is_multiple_of(4) && b * n * d > 0).then_some([b, n, d])
    }
}

/// The layer norm of `x [b, n, d]`, scaled and shifted by the parts `at` (shift) and `at + 1` (scale).
///
/// # Panics
/// When the shapes do not fit one another.
pub fn modulated(x: Tensor<3>, by: &Modulation, at: usize, epsilon: f64) -> Tensor<3> {
    modulated_on_gpu(&x, by, at, epsilon)
        .or_else(|| crate::cpu::modulated(&x, by, at, epsilon))
        .unwrap_or_else(|| modulated_reference(x, by, at, epsilon))
}

/// [`modulated`] in plain operations.
pub fn modulated_reference(x: Tensor<3>, by: &Modulation, at: usize, epsilon: f64) -> Tensor<3> {
    let shape = x.dims();
    let ones = Tensor::ones([shape[2]], &x.device());
    let (shift, scale) = (by.per_token(at, shape), by.per_token(at + 1, shape));
    layer_norm(x, ones, None, epsilon) * scale.add_scalar(1.0) + shift
}

/// `x + a` times the gate, the part `at`; both `[b, n, d]`.
///
/// # Panics
/// When the shapes do not fit one another.
pub fn gated(x: Tensor<3>, a: Tensor<3>, by: &Modulation, at: usize) -> Tensor<3> {
    gated_on_gpu(&x, &a, by, at)
        .or_else(|| crate::cpu::gated(&x, &a, by, at))
        .unwrap_or_else(|| gated_reference(x, a, by, at))
}

/// [`gated`] in plain operations.
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
    // A workgroup is a token: its lanes are the grid's x.
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
