//! Queries, keys and values from a block's qkv projection, with q/k norm and rotary embedding: `shaders/rotate.wgsl`. The
//! reference is in [`crate::model::transformer`].

use burn::tensor::Tensor;

use super::launch::{self, Shader, Threads};

const SHADER: Shader = Shader {
    name: "rotate",
    texts: &[include_str!("../../shaders/rotate.wgsl")],
    threads: Threads::Each([16, 1]),
};

/// Returns queries, keys and values, heads first. Queries and keys are normalised, with the weights `norms`, and rotated. Returns
/// `None` when the shader cannot run.
///
/// # Shapes
/// `qkv [b, n, 3 h d]`, `norms [d]`, `cos` and `sin [1, 1, n, d]` to three tensors `[b, h, n, d]`.
pub fn rotated(
    qkv: &Tensor<3>,
    heads: usize,
    norms: [&Tensor<1>; 2],
    [cos, sin]: [&Tensor<4>; 2],
    epsilon: f64,
) -> Option<[Tensor<4>; 3]> {
    let [b, n, triple] = qkv.dims();
    let d = triple / 3 / heads;
    let narrow = norms.iter().all(|norm| norm.dims() == [d]);
    let tables = cos.dims() == [1, 1, n, d] && sin.dims() == [1, 1, n, d];
    if !d.is_multiple_of(4)
        || triple != 3 * heads * d
        || !narrow
        || !tables
        || [b, n, d].contains(&0)
    {
        return None;
    }
    let qkv = launch::floats(qkv)?;
    let (cos, sin) = (launch::floats(cos)?, launch::floats(sin)?);
    let epsilon = (epsilon as f32).to_bits() as usize;
    let part = |number: usize, norm: &Tensor<1>, rotation: bool| {
        let weight = launch::floats(norm)?;
        let sizes = [
            n,
            heads,
            d / 4,
            number,
            epsilon,
            usize::from(rotation),
            b * heads,
        ];
        let inputs = [&qkv, &weight, &cos, &sin];
        let y = SHADER.launch([n, b * heads], &inputs, &sizes, [b, heads, n, d])?;
        Some(launch::tensor(y))
    };
    Some([
        part(0, norms[0], true)?,
        part(1, norms[1], true)?,
        part(2, norms[1], false)?,
    ])
}
