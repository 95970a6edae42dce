//! The product with a matrix and its bias, see [`crate::gpu::linear_reference`]: the bias is added in place, and the
//! matrix's gradient comes row by row as the matrix lies.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps as _;
use burn::tensor::{Shape, Tensor};

use super::wide::wide;
use super::{dense, made, numbers, recorded, register, tracked};

#[derive(Debug)]
struct Linear;

/// Input `[rows, k]`, weight `[o, k]`, both as far as a gradient needs them.
type Operands = (Option<FlexTensor>, Option<FlexTensor>);

impl Linear {
    fn gradients(
        (input, weight): &Operands,
        gradient: &FlexTensor,
        shape: [usize; 3],
    ) -> (Option<FlexTensor>, Option<FlexTensor>) {
        let into_input = weight.as_ref().map(|weight| {
            let result = Flex::float_matmul(gradient.clone(), weight.clone());
            result.reshape(Shape::from(shape))
        });
        let into_weight = input.as_ref().map(|input| {
            let turned = gradient.transpose(0, 1);
            Flex::float_matmul(turned, input.clone())
        });
        (into_input, into_weight)
    }
}

macro_rules! backward {
    ($count:literal, $bias:expr) => {
        impl Backward<Flex, $count> for Linear {
            type State = (Operands, [usize; 3]);

            fn backward(
                self,
                ops: Ops<Self::State, $count>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let (operands, shape) = &ops.state;
                let gradient = dense(&grads.consume::<Flex>(&ops.node));
                let [b, n, o] = gradient.layout().shape().dims();
                let gradient = gradient.reshape(Shape::from([b * n, o]));
                let (into_input, into_weight) = Linear::gradients(operands, &gradient, *shape);
                let results = [into_input, into_weight, $bias(&gradient, o)];
                let mut results = results.into_iter();
                let own = std::array::from_fn(|_| results.next().flatten());
                register(ops, own, grads);
            }
        }
    };
}
backward!(2, |_: &FlexTensor, _: usize| None);
backward!(3, |gradient: &FlexTensor, o: usize| {
    let mut sums = vec![0f32; o];
    add_columns(numbers(gradient), &mut sums);
    Some(made(sums, [o]))
});

/// As [`crate::gpu::linear`]; `None` where training on the CPU is not what runs.
pub(crate) fn linear(
    x: &Tensor<3>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<3>> {
    let [b, n, k] = x.dims();
    let [o, inner] = weight.dims();
    // A mismatch is the plain form's to report.
    if inner != k || bias.is_some_and(|bias| bias.dims() != [o]) {
        return None;
    }
    // Inputs may be constants; the weight decides.
    let weight = tracked(weight)?;
    let x = tracked(&x.clone().autodiff())?;
    let bias = match bias {
        Some(bias) => Some(tracked(bias)?),
        None => None,
    };
    let rows = dense(x.primitive()).reshape(Shape::from([b * n, k]));
    let matrix = dense(weight.primitive());
    let mut y = Flex::float_matmul(rows.clone(), matrix.transpose(0, 1));
    if let Some(bias) = &bias {
        let bias = dense(bias.primitive());
        add_rows(y.storage_mut::<f32>(), numbers(&bias));
    }
    let y = y.reshape(Shape::from([b, n, o]));
    let state = (
        (
            weight.is_tracked().then_some(rows),
            x.is_tracked().then_some(matrix),
        ),
        [b, n, k],
    );
    Some(match bias {
        Some(bias) => recorded(Linear, [x.node(), weight.node(), bias.node()], state, y),
        None => recorded(Linear, [x.node(), weight.node()], state, y),
    })
}

wide! {
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
}
