//! The product with a matrix of floats: `shaders/linear.wgsl`.

use burn::tensor::Tensor;

use super::launch::{self, Shader};

/// What one thread of the linear shaders makes: columns, rows.
pub(super) const TILE: [usize; 2] = [16, 8];
/// Threads of a workgroup of the linear shaders.
pub(super) const WORKGROUP: [usize; 2] = [4, 4];

const SHADER: Shader = Shader {
    name: "linear",
    source: include_str!("../../shaders/linear.wgsl"),
    tile: TILE,
    workgroup: WORKGROUP,
};

/// `y = x W^T + b`.
///
/// # Shapes
/// `x [b, n, k]`, `weight [o, k]`, `bias [o]` to `[b, n, o]`.
///
/// # Panics
/// When the shapes do not fit one another.
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    if let Some(y) = on_gpu(&x, &weight, bias.as_ref()) {
        return y;
    }
    if let Some(y) = crate::cpu::linear(&x, &weight, bias.as_ref()) {
        return y;
    }
    linear_reference(x, weight, bias)
}

/// [`linear`] in plain operations.
pub fn linear_reference(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [b, n, k] = x.dims();
    let [o, _] = weight.dims();
    let y = x.reshape([b * n, k]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape([b, n, o])
}

fn on_gpu(x: &Tensor<3>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<3>> {
    let [b, n, k] = x.dims();
    let [o, inner] = weight.dims();
    // A mismatch is the reference's to report, and so is what has no vectors of four.
    if inner != k || bias.is_some_and(|bias| bias.dims() != [o]) || !k.is_multiple_of(4) || k == 0 {
        return None;
    }
    if b * n * o == 0 {
        return None;
    }
    let input = launch::floats(x)?;
    let weight = launch::floats(weight)?;
    let offset = launch::optional(bias, &input)?;
    let sizes = [b * n, o, k / 4, usize::from(bias.is_some())];
    let y = SHADER.launch([o, b * n], &[&input, &weight, &offset], &sizes, [b, n, o])?;
    Some(launch::tensor(y))
}
