//! The linear layer, see [`crate::gpu::linear_reference`]. The bias is added in place, and the weight's gradient is computed in the
//! weight's layout. A quantised matrix is dequantised beforehand in one pass.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps as _;
use burn::tensor::{Int, Shape, Tensor};
use half::f16;

#[cfg(target_arch = "x86_64")]
use super::buffer;
#[cfg(target_arch = "x86_64")]
use super::gemm::{self, Matrix};
use super::gemm::{Precision, precision};
use super::simd::simd_dispatch;
use super::{Operation, as_slice, from_vec, operand, result};
use crate::weights::quant::{BLOCK, Encoding};

/// A linear layer, with a bias (three operands) or without one (two).
#[derive(Debug)]
struct Linear;

/// Saved for the backward pass.
#[derive(Clone, Debug)]
struct State {
    /// `[rows, k]`, if the weight needs a gradient.
    input: Option<FlexTensor>,
    /// `[o, k]`, if the input needs a gradient.
    weight: Option<FlexTensor>,
    /// Shape of the input.
    shape: [usize; 3],
    precision: Precision,
}

/// Returns the gradients of input and weight.
fn gradients(state: &State, gradient: &FlexTensor) -> [Option<FlexTensor>; 2] {
    #[cfg(target_arch = "x86_64")]
    if state.precision == Precision::Bf16 {
        return bf16_gradients(state, gradient);
    }
    let [b, n, o] = gradient.layout().shape().dims();
    let gradient = gradient.reshape(Shape::from([b * n, o]));
    let into_input = state.weight.as_ref().map(|weight| {
        let product = Flex::float_matmul(gradient.clone(), weight.clone());
        product.reshape(Shape::from(state.shape))
    });
    let into_weight = state.input.as_ref().map(|input| {
        let transposed = gradient.transpose(0, 1);
        Flex::float_matmul(transposed, input.clone())
    });
    [into_input, into_weight]
}

#[cfg(target_arch = "x86_64")]
fn bf16_gradients(state: &State, gradient: &FlexTensor) -> [Option<FlexTensor>; 2] {
    let [b, n, o] = gradient.layout().shape().dims();
    let [.., k] = state.shape;
    let (m, gradient) = (b * n, as_slice(gradient));
    let into_input = state.weight.as_ref().map(|weight| {
        let weight = gemm::packed_weight(weight, [o, k], true);
        let mut values = buffer(m * k);
        gemm::rows_times(
            Matrix::Rows(gradient, o),
            m,
            &weight,
            &mut values,
            |_, _| (),
        );
        from_vec(values, state.shape)
    });
    let into_weight = state.input.as_ref().map(|input| {
        let mut values = buffer(o * k);
        let operands = [(gradient, o), (as_slice(input), k)];
        let [left, right] = operands.map(|(values, stride)| Matrix::Columns(values, stride));
        gemm::long_product(left, right, [o, k, m], &mut values);
        from_vec(values, [o, k])
    });
    [into_input, into_weight]
}

/// Returns `x w^T + bias`, `[rows, o]`.
#[cfg(target_arch = "x86_64")]
fn bf16_forward(
    rows: &FlexTensor,
    weight: &FlexTensor,
    [m, o, k]: [usize; 3],
    bias: Option<&[f32]>,
) -> FlexTensor {
    let weight = gemm::packed_weight(weight, [o, k], false);
    let mut values = buffer(m * o);
    let rows = Matrix::Rows(as_slice(rows), k);
    gemm::rows_times(rows, m, &weight, &mut values, |_, panel| {
        if let Some(bias) = bias {
            add_rows(panel, bias);
        }
    });
    from_vec(values, [m, o])
}

impl Operation<2> for Linear {
    type State = State;

    fn backward(state: &State, gradient: &FlexTensor) -> [Option<FlexTensor>; 2] {
        gradients(state, gradient)
    }
}

impl Operation<3> for Linear {
    type State = State;

    fn backward(state: &State, gradient: &FlexTensor) -> [Option<FlexTensor>; 3] {
        let [_, _, o] = gradient.layout().shape().dims();
        let mut sums = vec![0f32; o];
        add_columns(as_slice(gradient), &mut sums);
        let [into_input, into_weight] = gradients(state, gradient);
        [into_input, into_weight, Some(from_vec(sums, [o]))]
    }
}

/// [`crate::gpu::linear`] without an activation. Returns `None` when the shapes do not match or a tensor is not f32 on the CPU.
pub(crate) fn linear(
    x: &Tensor<3>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<3>> {
    let [b, n, k] = x.dims();
    let [o, inner] = weight.dims();
    // The reference implementation reports mismatches.
    if inner != k || bias.is_some_and(|bias| bias.dims() != [o]) || [b, n, k, o].contains(&0) {
        return None;
    }
    let (input, matrix) = (operand(x)?, operand(weight)?);
    let offset = match bias {
        Some(bias) => Some(operand(bias)?),
        None => None,
    };
    let rows = input.values.reshape(Shape::from([b * n, k]));
    let y = product(
        &rows,
        &matrix.values,
        [b * n, o, k],
        offset.as_ref().map(|offset| offset.as_slice()),
    );
    let y = y.reshape(Shape::from([b, n, o]));
    let state = State {
        input: matrix.wants_gradient().then_some(rows),
        weight: input.wants_gradient().then(|| matrix.values.clone()),
        shape: [b, n, k],
        precision: precision(),
    };
    Some(match offset {
        Some(offset) => result::<Linear, 3, 3>([input, matrix, offset], state, y),
        None => result::<Linear, 2, 3>([input, matrix], state, y),
    })
}

/// Returns `x w^T + bias`, `[rows, o]`, in this thread's precision.
fn product(
    rows: &FlexTensor,
    weight: &FlexTensor,
    size: [usize; 3],
    bias: Option<&[f32]>,
) -> FlexTensor {
    #[cfg(target_arch = "x86_64")]
    if precision() == Precision::Bf16 {
        return bf16_forward(rows, weight, size, bias);
    }
    let _ = size;
    let mut y = Flex::float_matmul(rows.clone(), weight.transpose(0, 1));
    if let Some(bias) = bias {
        add_rows(y.storage_mut::<f32>(), bias);
    }
    y
}

/// [`crate::gpu::dequantize`] on the CPU. Returns `None` on another device, when the shapes do not match, or when `encoding` is not
/// quantised.
pub(crate) fn dequantize(
    packed: &Tensor<2, Int>,
    scales: &Tensor<2, Int>,
    encoding: Encoding,
) -> Option<Tensor<2>> {
    let [o, columns] = packed.dims();
    let k = columns * encoding.values_per_word();
    let integers = |tensor: &Tensor<2, Int>| {
        let primitive = tensor.clone().try_into_primitive::<Flex>().ok()?;
        let contiguous = primitive.to_contiguous();
        contiguous.as_slice::<i32>().is_some().then_some(contiguous)
    };
    let (packed, scales) = (integers(packed)?, integers(scales)?);
    let (packed, scales) = (packed.as_slice::<i32>()?, scales.as_slice::<i32>()?);
    if scales.len() * 2 * BLOCK != o * k {
        return None;
    }
    let pairs = scales.iter().map(|word| word.cast_unsigned());
    let scales: Vec<f32> = pairs
        .flat_map(|pair| [pair as u16, (pair >> 16) as u16])
        .map(|bits| f16::from_bits(bits).to_f32())
        .collect();
    let mut values = vec![0f32; o * k];
    match encoding {
        Encoding::Q8 => from_q8(packed, &scales, &mut values),
        Encoding::Q4 => from_q4(packed, &scales, &mut values),
        Encoding::F32 | Encoding::F16 => return None,
    }
    Some(Tensor::from_primitive::<Flex>(from_vec(values, [o, k])))
}

simd_dispatch! {
    /// Adds `row` to every row.
    fn add_rows(rows: &mut [f32], row: &[f32]) {
        for y in rows.chunks_exact_mut(row.len()) {
            for (y, x) in y.iter_mut().zip(row) {
                *y += x;
            }
        }
    }

    /// Adds every row to `sums`.
    fn add_columns(rows: &[f32], sums: &mut [f32]) {
        for x in rows.chunks_exact(sums.len()) {
            for (y, x) in sums.iter_mut().zip(x) {
                *y += x;
            }
        }
    }

    /// Dequantises words of four signed bytes; each block of [`BLOCK`] values has a scale.
    fn from_q8(packed: &[i32], scales: &[f32], values: &mut [f32]) {
        let blocks = packed.chunks_exact(BLOCK / 4).zip(values.chunks_exact_mut(BLOCK));
        for ((integers, values), scale) in blocks.zip(scales) {
            for (word, values) in integers.iter().zip(values.chunks_exact_mut(4)) {
                for (i, value) in values.iter_mut().enumerate() {
                    *value = (word << (24 - 8 * i) >> 24) as f32 * scale;
                }
            }
        }
    }

    /// Dequantises words of eight 4-bit integers, stored with an offset of 8.
    fn from_q4(packed: &[i32], scales: &[f32], values: &mut [f32]) {
        let blocks = packed.chunks_exact(BLOCK / 8).zip(values.chunks_exact_mut(BLOCK));
        for ((integers, values), scale) in blocks.zip(scales) {
            for (word, values) in integers.iter().zip(values.chunks_exact_mut(8)) {
                for (i, value) in values.iter_mut().enumerate() {
                    *value = ((word >> (4 * i) & 15) - 8) as f32 * scale;
                }
            }
        }
    }
}
