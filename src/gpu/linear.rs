//! GEMM with a float matrix: a 1x1 convolution.

use burn::tensor::{Tensor, activation::sigmoid};

use super::conv2d::{ConvGeometry, Product};
use super::launch;

/// WGSL with which the GEMM shaders store their results.
pub(super) const STORE: &str = include_str!("../../shaders/store.wgsl");

/// The activation function applied to a layer's results before they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The identity.
    None,
    /// GELU, tanh approximation.
    Gelu,
}

impl Activation {
    /// Returns the activation's number in the shaders.
    pub(super) fn code(self) -> usize {
        match self {
            Activation::None => 0,
            Activation::Gelu => 1,
        }
    }

    /// Applies the activation in separate operations.
    pub(super) fn apply(self, y: Tensor<3>) -> Tensor<3> {
        match self {
            Activation::None => y,
            Activation::Gelu => gelu(y),
        }
    }
}

/// GELU, tanh approximation: `x / 2 (1 + tanh(u))` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, computed as `x sigmoid(2 u)`. This
/// has one exponential, while tanh and a power cost a fifth of a training step on the CPU.
fn gelu(x: Tensor<3>) -> Tensor<3> {
    if let Some(y) = crate::cpu::gelu(&x, crate::cpu::GeluApproximation::Tanh) {
        return y;
    }
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let u = x.clone() * (x.clone() * x.clone() * (2.0 * root * 0.044715) + 2.0 * root);
    x * sigmoid(u)
}

/// Computes `y = activation(x W^T + b)`.
///
/// # Shapes
/// `x [b, n, k]`, `weight [o, k]`, `bias [o]` to `[b, n, o]`.
///
/// # Panics
/// When the shapes do not match.
pub fn linear(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<3> {
    if let Some(y) = on_gpu(&x, &weight, bias.as_ref(), activation) {
        return y;
    }
    let y = match crate::cpu::linear(&x, &weight, bias.as_ref()) {
        Some(y) => y,
        None => linear_reference(x, weight, bias),
    };
    activation.apply(y)
}

/// [`linear`] in plain tensor operations, without an activation.
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

fn on_gpu(
    x: &Tensor<3>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    activation: Activation,
) -> Option<Tensor<3>> {
    let [b, n, k] = x.dims();
    let [o, inner] = weight.dims();
    // The reference reports mismatched shapes and handles widths that are not a multiple of 4.
    if inner != k || bias.is_some_and(|bias| bias.dims() != [o]) || !k.is_multiple_of(4) {
        return None;
    }
    if [b, n, k, o].contains(&0) {
        return None;
    }
    let input = launch::floats(x)?;
    let weight = launch::floats(weight)?;
    let offset = launch::optional(bias, &input)?;
    let product = Product {
        outputs: [b * n, o],
        vectors: k / 4,
        biased: bias.is_some(),
        activation,
    };
    let y = product.launch(
        ConvGeometry::one(b * n),
        [&input, &weight, &offset],
        [b, n, o],
    )?;
    Some(launch::tensor(y))
}
