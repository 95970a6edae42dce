//! Convolution, and every GEMM with float weights: `shaders/conv2d.wgsl`.

use burn::tensor::{Shape, Tensor, module, ops::ConvOptions};
use burn_wgpu::CubeTensor;

use super::launch::{self, Shader, Threads};
use super::linear::{Activation, STORE};
use crate::cpu::output_sides;

/// Computes the cross-correlation with zero padding, as in every framework's `conv2d`.
///
/// # Shapes
/// `x [b, c, h, w]`, `weight [o, c, i, j]`, `bias [o]` to `[b, o, (h + top + bottom - i) / stride + 1, ...]`; `padding` is
/// top, left, bottom, right, in pixels.
///
/// # Panics
/// When the shapes do not match, or the kernel is larger than the padded input.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: [usize; 4],
) -> Tensor<4> {
    if let Some(y) = on_gpu(&x, &weight, bias.as_ref(), stride, padding) {
        return y;
    }
    if let Some(y) = crate::cpu::conv2d(&x, &weight, bias.as_ref(), stride, padding) {
        return y;
    }
    conv2d_reference(x, weight, bias, stride, padding)
}

/// [`conv2d`] in burn's operations.
pub fn conv2d_reference(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: [usize; 4],
) -> Tensor<4> {
    let [top, left, bottom, right] = padding;
    let (x, symmetric) = if top == bottom && left == right {
        (x, [top, left])
    } else {
        (x.pad((left, right, top, bottom), 0.0), [0, 0])
    };
    let options = ConvOptions::new([stride, stride], symmetric, [1, 1], 1);
    module::conv2d(x, weight, bias, options)
}

fn on_gpu(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: usize,
    padding: [usize; 4],
) -> Option<Tensor<4>> {
    let [top, left, ..] = padding;
    let [b, c, height, width] = x.dims();
    let [o, channels, rows, columns] = weight.dims();
    // The reference reports mismatched shapes.
    if channels != c || bias.is_some_and(|bias| bias.dims() != [o]) || stride == 0 {
        return None;
    }
    if [b, c, height, width, o, rows, columns].contains(&0) {
        return None;
    }
    let [v, u] = output_sides([height, width], [rows, columns], stride, padding)?;
    // Return early on other devices, before any tensor is copied to a new layout.
    x.clone().try_into_primitive::<burn_wgpu::Wgpu>().ok()?;
    let input = launch::floats(&channels_last(x))?;
    let kernel = launch::floats(&channels_last(weight))?;
    let offset = launch::optional(bias, &input)?;
    let product = Product {
        outputs: [b * v * u, o],
        vectors: c.div_ceil(4),
        biased: bias.is_some(),
        activation: Activation::None,
    };
    let geometry = ConvGeometry {
        input: [height, width],
        output: [v, u],
        kernel: [rows, columns],
        stride,
        start: [top, left],
    };
    let y = product.launch(geometry, [&input, &kernel, &offset], [b, v, u, o])?;
    Some(launch::tensor::<4>(y).permute([0, 3, 1, 2]))
}

/// A launch of `shaders/conv2d.wgsl`.
pub(super) struct Product {
    /// Pixels and channels, or rows and columns, of the result.
    pub(super) outputs: [usize; 2],
    /// Number of vectors of four channels summed at each kernel position.
    pub(super) vectors: usize,
    /// Whether there is a bias.
    pub(super) biased: bool,
    /// The activation of the result.
    pub(super) activation: Activation,
}

/// The window geometry of a convolution.
pub(super) struct ConvGeometry {
    /// Height and width of the input.
    input: [usize; 2],
    /// Height and width of the output.
    output: [usize; 2],
    /// Height and width of the kernel.
    kernel: [usize; 2],
    stride: usize,
    /// Zero padding above and to the left of the input.
    start: [usize; 2],
}

impl ConvGeometry {
    /// Returns the geometry of a 1x1 convolution over one row of `pixels` pixels, which is a GEMM.
    pub(super) fn one(pixels: usize) -> Self {
        ConvGeometry {
            input: [1, pixels],
            output: [1, pixels],
            kernel: [1, 1],
            stride: 1,
            start: [0, 0],
        }
    }
}

impl Product {
    /// Launches the shader on `inputs`: input, weights and bias.
    pub(super) fn launch(
        self,
        geometry: ConvGeometry,
        inputs: [&CubeTensor; 3],
        shape: impl Into<Shape>,
    ) -> Option<CubeTensor> {
        let [pixels, o] = self.outputs;
        let [[height, width], [v, u], [rows, columns]] =
            [geometry.input, geometry.output, geometry.kernel];
        let sizes = [
            pixels,
            o,
            self.vectors,
            usize::from(self.biased),
            self.activation.code(),
            height,
            width,
            v,
            u,
            rows,
            columns,
            geometry.stride,
            geometry.start[0],
            geometry.start[1],
        ];
        let shader = Shader {
            name: "conv2d",
            texts: &[include_str!("../../shaders/conv2d.wgsl"), STORE],
            threads: Threads::product(
                &inputs[0].device,
                [pixels, o],
                4 * self.vectors * rows * columns,
            ),
        };
        shader.launch(self.outputs, &inputs, &sizes, shape)
    }
}

/// Converts `[n, c, i, j]` to `[n, i, j, c]`, zero-padded to the next multiple of four channels.
fn channels_last(x: &Tensor<4>) -> Tensor<4> {
    let [n, c, i, j] = x.dims();
    let x = x.clone().permute([0, 2, 3, 1]);
    match c.next_multiple_of(4) - c {
        0 => x,
        missing => {
            let zeros = Tensor::zeros([n, i, j, missing], &x.device());
            Tensor::cat(vec![x, zeros], 3)
        }
    }
}
