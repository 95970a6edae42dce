//! Attention without a matrix of scores: `shaders/attention.wgsl`.

use burn::tensor::{Tensor, activation::softmax};

use super::launch::{self, Shader, Threads};

/// Computes `softmax(q k^T / sqrt(d) + mask) v` for each batch and head.
///
/// # Shapes
/// `q [b, h, n, d]`, `k` and `v [b, h, m, d]`, `mask [b or 1, h or 1, n, m]` to `[b, h, n, d]`. The mask is added to the scores:
/// 0 shows a key, a large negative number hides it.
///
/// # Panics
/// When the shapes do not match.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: Option<Tensor<4>>) -> Tensor<4> {
    match on_gpu(&q, &k, &v, mask.as_ref()) {
        Some(y) => y,
        None => attention_reference(q, k, v, mask),
    }
}

/// [`attention`] in plain tensor operations, which the CPU runs and training differentiates.
pub fn attention_reference(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4>>,
) -> Tensor<4> {
    let scale = 1.0 / (q.dims()[3] as f64).sqrt();
    let scores = q.mul_scalar(scale).matmul(k.swap_dims(2, 3));
    let scores = match mask {
        Some(mask) => scores + mask,
        None => scores,
    };
    softmax(scores, 3).matmul(v)
}

fn on_gpu(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: Option<&Tensor<4>>,
) -> Option<Tensor<4>> {
    let [b, h, n, d] = q.dims();
    let [_, _, m, _] = k.dims();
    // The reference reports mismatched shapes and handles widths that are not a multiple of 4.
    if k.dims() != [b, h, m, d] || v.dims() != [b, h, m, d] || !d.is_multiple_of(4) {
        return None;
    }
    // Check each size, since their product can overflow wasm's 32-bit `usize`.
    if [b, h, n, m, d].contains(&0) {
        return None;
    }
    let [batches, heads] = match mask.map(Tensor::dims) {
        None => [0, 1],
        Some([batches, heads, rows, columns]) => {
            let fits = (batches == 1 || batches == b) && (heads == 1 || heads == h);
            if !fits || [rows, columns] != [n, m] {
                return None;
            }
            [batches, heads]
        }
    };
    let (query, key, value) = (launch::floats(q)?, launch::floats(k)?, launch::floats(v)?);
    let mask = launch::optional(mask, &query)?;
    let sizes = [n, m, d / 4, h, batches, heads];
    let inputs = [&query, &key, &value, &mask];
    let shader = Shader {
        name: "attention",
        texts: &[include_str!("../../shaders/attention.wgsl")],
        threads: Threads::attention(&query.device, b * h, [n, m], d),
    };
    let y = shader.launch([n, b * h], &inputs, &sizes, [b, h, n, d])?;
    Some(launch::tensor(y))
}
