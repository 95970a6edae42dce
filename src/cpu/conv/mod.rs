//! 2D convolution by im2col and GEMM, image by image; see [`crate::gpu::conv2d_reference`]. burn computes the gradients as further
//! convolutions, the weight's with a kernel as large as the image; as GEMMs they take a fraction of that time.

#[cfg(target_arch = "x86_64")]
mod bf16;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps as _;
use burn::tensor::{Shape, Tensor};

use super::gemm::{Precision, precision};
use super::simd::{simd_dispatch, sum};
use super::{Operation, as_slice, buffer, contiguous, from_vec, operand, result, zeros};

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
struct ConvGeometry {
    /// Channels, rows and columns of the input.
    input: [usize; 3],
    /// Rows and columns of the kernel.
    kernel: [usize; 2],
    /// Channels, rows and columns of the output.
    output: [usize; 3],
    stride: usize,
    /// Padding: rows above, columns on the left.
    padding_before: [usize; 2],
    /// For a band of the output, the index of its first row.
    first_row: usize,
}

impl ConvGeometry {
    /// Rows and columns of the im2col matrix.
    fn patches(&self) -> [usize; 2] {
        let [c, ..] = self.input;
        let [i, j] = self.kernel;
        let [_, v, u] = self.output;
        [c * i * j, v * u]
    }

    /// Splits the convolution into bands of output rows, so that the im2col matrix of a band takes at most `bytes`, or is one row's.
    fn bands(self, bytes: usize) -> impl Iterator<Item = ConvGeometry> {
        let [o, v, u] = self.output;
        let [patch, _] = self.patches();
        let rows = (bytes / (patch * u * size_of::<f32>()).max(1)).clamp(1, v.max(1));
        (0..v).step_by(rows).map(move |first_row| ConvGeometry {
            output: [o, rows.min(v - first_row), u],
            first_row,
            ..self
        })
    }

    /// Calls `visit(patch, input, count)` for every run of an im2col matrix that comes from a row of the input: `patch` and `input` are
    /// the indices of its first element in each, and `count` is its length; elements are `stride` apart in the input.
    #[inline(always)]
    fn runs(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [c, h, w] = self.input;
        let [rows, columns] = self.kernel;
        let [_, v, u] = self.output;
        let [top, left] = self.padding_before;
        let s = self.stride;
        // For a column of the kernel, the output columns from..to that read the input rather than padding.
        let seen = |j: usize| {
            let from = left.saturating_sub(j).div_ceil(s);
            let to = (w + left).saturating_sub(j).div_ceil(s).min(u);
            (from, to)
        };
        for channel in 0..c {
            for i in 0..rows {
                for j in 0..columns {
                    let (from, to) = seen(j);
                    let patch = ((channel * rows + i) * columns + j) * v * u;
                    for y in 0..v {
                        let row = (self.first_row + y) * s + i;
                        if from < to && (top..h + top).contains(&row) {
                            let input = (channel * h + row - top) * w + from * s + j - left;
                            visit(patch + y * u + from, input, to - from);
                        }
                    }
                }
            }
        }
    }
}

simd_dispatch! {
    /// im2col: fills the matrix of patches of one image, which must be zero.
    fn gather(x: &[f32], geometry: &ConvGeometry, patches: &mut [f32]) {
        let stride = geometry.stride;
        geometry.runs(|patch, input, count| {
            let into = &mut patches[patch..patch + count];
            match stride {
                1 => into.copy_from_slice(&x[input..input + count]),
                _ => for (y, x) in into.iter_mut().zip(x[input..].iter().step_by(stride)) {
                    *y = *x;
                },
            }
        });
    }

    /// col2im: adds the matrix of patches to the image positions that they come from.
    fn scatter(patches: &[f32], geometry: &ConvGeometry, x: &mut [f32]) {
        let stride = geometry.stride;
        geometry.runs(|patch, input, count| {
            let from = &patches[patch..patch + count];
            match stride {
                1 => for (x, y) in x[input..input + count].iter_mut().zip(from) {
                    *x += y;
                },
                _ => for (x, y) in x[input..].iter_mut().step_by(stride).zip(from) {
                    *x += y;
                },
            }
        });
    }

    fn add(y: &mut [f32], x: &[f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }

    fn add_offset(y: &mut [f32], x: &[f32], offset: f32) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x + offset;
        }
    }

    fn add_offset_in_place(y: &mut [f32], offset: f32) {
        for y in y {
            *y += offset;
        }
    }

    fn row_sum(x: &[f32]) -> f32 {
        sum(x)
    }
}

/// Maximum bytes of an im2col matrix in the forward pass: that of a whole large image exceeds the address space of wasm.
const BAND: usize = 64 << 20;

/// Returns the im2col matrix of one image.
fn patches(x: &[f32], geometry: &ConvGeometry) -> FlexTensor {
    let [rows, columns] = geometry.patches();
    let mut values = vec![0f32; rows * columns];
    gather(x, geometry, &mut values);
    from_vec(values, [rows, columns])
}

#[derive(Debug)]
struct Conv;

/// Saved for the backward pass.
#[derive(Clone, Debug)]
struct State {
    /// `[b, c, h, w]`.
    x: FlexTensor,
    /// `[o, c i j]`.
    weight: FlexTensor,
    /// Whether the input needs a gradient.
    into_x: bool,
    geometry: ConvGeometry,
    precision: Precision,
}

impl Operation<3> for Conv {
    type State = State;

    fn backward(state: &State, gradient: &FlexTensor) -> [Option<FlexTensor>; 3] {
        let State {
            x,
            weight,
            into_x: wanted,
            geometry,
            precision,
        } = state;
        let [o, v, u] = geometry.output;
        let [c, h, w] = geometry.input;
        let [rows, columns] = geometry.kernel;
        let batch = as_slice(x).len() / (c * h * w);
        let mut into_x = zeros(if *wanted { as_slice(x).len() } else { 0 });
        let mut into_weight = zeros(o * c * rows * columns);
        let mut into_bias = vec![0f32; o];
        #[cfg(target_arch = "x86_64")]
        if *precision == Precision::Bf16 {
            for row in as_slice(gradient).chunks_exact(v * u).enumerate() {
                into_bias[row.0 % o] += row_sum(row.1);
            }
            let operands = [as_slice(x), as_slice(weight), as_slice(gradient)];
            bf16::backward(operands, *geometry, &mut into_x, &mut into_weight);
            return [
                wanted.then(|| from_vec(into_x, [batch, c, h, w])),
                Some(from_vec(into_weight, [o, c, rows, columns])),
                Some(from_vec(into_bias, [o])),
            ];
        }
        let _ = precision;
        let transposed = weight.transpose(0, 1);
        let samples = as_slice(x).chunks_exact(c * h * w);
        for (k, (x, gradient)) in samples
            .zip(as_slice(gradient).chunks_exact(o * v * u))
            .enumerate()
        {
            for (sum, row) in into_bias.iter_mut().zip(gradient.chunks_exact(v * u)) {
                *sum += row_sum(row);
            }
            let gradient = from_vec(gradient.to_vec(), [o, v * u]);
            let seen = patches(x, geometry).transpose(0, 1);
            let product = Flex::float_matmul(gradient.clone(), seen);
            add(&mut into_weight, as_slice(&contiguous(&product)));
            if *wanted {
                let product = contiguous(&Flex::float_matmul(transposed.clone(), gradient));
                let into = &mut into_x[k * c * h * w..(k + 1) * c * h * w];
                scatter(as_slice(&product), geometry, into);
            }
        }
        [
            wanted.then(|| from_vec(into_x, [batch, c, h, w])),
            Some(from_vec(into_weight, [o, c, rows, columns])),
            Some(from_vec(into_bias, [o])),
        ]
    }
}

/// Returns rows and columns of the result; `None` when the kernel is larger than the padded input.
pub(crate) fn output_sides(
    [height, width]: [usize; 2],
    [rows, columns]: [usize; 2],
    stride: usize,
    [top, left, bottom, right]: [usize; 4],
) -> Option<[usize; 2]> {
    let out = |extent: usize, kernel: usize| Some(extent.checked_sub(kernel)? / stride + 1);
    Some([
        out(height + top + bottom, rows)?,
        out(width + left + right, columns)?,
    ])
}

/// [`crate::gpu::conv2d`] on the CPU. Returns `None` without a bias, when the shapes do not match, or unless the tensors are f32 on
/// the CPU.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: usize,
    padding: [usize; 4],
) -> Option<Tensor<4>> {
    let bias = bias?;
    let [b, c, h, w] = x.dims();
    let [o, channels, rows, columns] = weight.dims();
    // The reference implementation reports mismatches.
    if channels != c || bias.dims() != [o] || stride == 0 || [b, c, o, rows, columns].contains(&0) {
        return None;
    }
    let [v, u] = output_sides([h, w], [rows, columns], stride, padding)?;
    let geometry = ConvGeometry {
        input: [c, h, w],
        kernel: [rows, columns],
        output: [o, v, u],
        stride,
        padding_before: [padding[0], padding[1]],
        first_row: 0,
    };
    let operands = [operand(x)?, operand(weight)?, operand(bias)?];
    let [input, kernel, offsets] = operands.each_ref();
    let matrix = kernel.values.reshape(Shape::from([o, c * rows * columns]));
    let mut values = buffer(b * o * v * u);
    match precision() {
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 => {
            let operands = [input.as_slice(), as_slice(&matrix), offsets.as_slice()];
            bf16::forward(operands, geometry, &mut values)
        }
        _ => forward_f32(
            input.as_slice(),
            &matrix,
            offsets.as_slice(),
            geometry,
            &mut values,
        ),
    }
    let state = State {
        into_x: input.wants_gradient(),
        x: input.values.clone(),
        weight: matrix,
        geometry,
        precision: precision(),
    };
    let values = from_vec(values, [b, o, v, u]);
    Some(result::<Conv, 3, 4>(operands, state, values))
}

/// Writes the f32 convolution with bias to `y`, multiplying the weight `[o, c kh kw]` by the im2col matrix of one band at a time.
fn forward_f32(
    x: &[f32],
    matrix: &FlexTensor,
    bias: &[f32],
    geometry: ConvGeometry,
    y: &mut [f32],
) {
    let [c, h, w] = geometry.input;
    let [o, v, u] = geometry.output;
    let images = x.chunks_exact(c * h * w);
    for (x, y) in images.zip(y.chunks_exact_mut(o * v * u)) {
        for band in geometry.bands(BAND) {
            let product = contiguous(&Flex::float_matmul(matrix.clone(), patches(x, &band)));
            let count = band.output[1] * u;
            let rows = as_slice(&product).chunks_exact(count);
            for ((y, x), offset) in y.chunks_exact_mut(v * u).zip(rows).zip(bias) {
                add_offset(&mut y[band.first_row * u..][..count], x, *offset);
            }
        }
    }
}
