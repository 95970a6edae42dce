//! Nearest-neighbour upsampling by two along both sides, as between the autoencoder's resolutions.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::{Operand, Operation, as_slice, buffer, from_vec, operand, result};

#[derive(Debug)]
struct Upsample;

impl Operation<1> for Upsample {
    /// The input's shape `[b, c, y, x]`.
    type State = [usize; 4];

    /// Sums the four gradients of each value.
    fn backward(&[b, c, h, w]: &Self::State, gradient: &FlexTensor) -> [Option<FlexTensor>; 1] {
        let mut into_x = buffer(b * c * h * w);
        let rows = into_x.chunks_exact_mut(w);
        for (row, pair) in rows.zip(as_slice(gradient).chunks_exact(4 * w)) {
            let (upper, lower) = pair.split_at(2 * w);
            let columns = upper.chunks_exact(2).zip(lower.chunks_exact(2));
            for (sum, (upper, lower)) in row.iter_mut().zip(columns) {
                *sum = upper[0] + upper[1] + lower[0] + lower[1];
            }
        }
        [Some(from_vec(into_x, [b, c, h, w]))]
    }
}

/// Repeats each value of `x` `[b, c, y, x]` in two rows and two columns. Returns `None` unless the tensor is f32 on the CPU and
/// has values.
pub(crate) fn upsample(x: &Tensor<4>) -> Option<Tensor<4>> {
    let [b, c, h, w] = x.dims();
    if b * c * h * w == 0 {
        return None;
    }
    let operands = [operand(x)?];
    let [input] = operands.each_ref().map(Operand::as_slice);
    let mut values = buffer(4 * input.len());
    let pairs = values.chunks_exact_mut(4 * w);
    for (row, pair) in input.chunks_exact(w).zip(pairs) {
        let (upper, lower) = pair.split_at_mut(2 * w);
        for (twice, value) in upper.chunks_exact_mut(2).zip(row) {
            twice.fill(*value);
        }
        lower.copy_from_slice(upper);
    }
    let values = from_vec(values, [b, c, 2 * h, 2 * w]);
    Some(result::<Upsample, 1, 4>(operands, [b, c, h, w], values))
}
