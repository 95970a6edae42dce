//! Operations of training on the CPU, each as one pass over memory with a backward pass of its own.
//!
//! burn's CPU backend runs every elementwise operation as a pass of its own into new memory, and records a node for each;
//! between the matrix products of a block that made up more than half of a training step. Each operation here has the plain
//! form beside it in [`crate::model`] or [`crate::gpu`], which every other device runs and the tests compare with.

mod attention;
mod conv;
mod gelu;
mod group_norm;
mod linear;
mod modulate;
mod norm;
#[cfg(test)]
mod tests;
mod wide;

pub(crate) use attention::attention;
pub(crate) use conv::conv2d;
pub(crate) use gelu::gelu;
pub(crate) use group_norm::group_norm_silu;
pub(crate) use linear::linear;
pub(crate) use modulate::{gated, modulated};
pub(crate) use norm::rms_norm;

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor, TensorData};

/// The backend of training on the CPU.
type Tracked = Autodiff<Flex>;

/// A tensor of [`Tracked`].
type TrackedTensor = <Tracked as burn::backend::BackendTypes>::FloatTensorPrimitive;

/// The tensor on the CPU with gradients, if that is what it is: floats of 32 bits.
fn tracked<const D: usize>(tensor: &Tensor<D>) -> Option<TrackedTensor> {
    if !tensor.is_autodiff() || tensor.dtype() != DType::F32 {
        return None;
    }
    tensor.clone().try_into_primitive::<Tracked>().ok()
}

/// The same numbers, row by row.
fn dense(tensor: &FlexTensor) -> FlexTensor {
    match tensor.as_slice::<f32>().is_some() {
        true => tensor.clone(),
        false => tensor.to_contiguous(),
    }
}

/// The numbers of a [`dense`] tensor.
fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("dense floats of 32 bits")
}

/// A tensor of new numbers.
fn made<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Enters a result into the graph, with what its backward pass needs.
fn recorded<O: Backward<Flex, N>, const N: usize, const D: usize>(
    operation: O,
    nodes: [NodeGuard; N],
    state: O::State,
    result: FlexTensor,
) -> Tensor<D> {
    let prepared = operation.prepare::<NoCheckpointing>(nodes).compute_bound();
    let y = match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(state, result),
        OpsKind::UnTracked(prepared) => prepared.finish(result),
    };
    Tensor::from_primitive::<Tracked>(y)
}

/// Hands each operand that has a gradient its own.
fn register<S, const N: usize>(
    ops: Ops<S, N>,
    results: [Option<FlexTensor>; N],
    grads: &mut Gradients,
) {
    for (parent, result) in ops.parents.into_iter().zip(results) {
        if let (Some(parent), Some(result)) = (parent, result) {
            grads.register::<Flex>(parent.id, result);
        }
    }
}
