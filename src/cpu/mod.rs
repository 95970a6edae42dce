//! Fused CPU operations with their own backward passes.
//!
//! burn's CPU backend runs every elementwise operation as a separate pass into new memory and records an autodiff node for each.
//! Between the matrix products of a block, this took more than half of a step, in training and in sampling. Each operation here
//! has a reference implementation in [`crate::model`] or [`crate::gpu`], which every other device runs and the tests compare with.
// Only training, which is native, uses the backward passes.
#![cfg_attr(target_arch = "wasm32", allow(dead_code))]

mod attention;
#[cfg(not(target_arch = "wasm32"))]
mod buffers;
mod conv;
mod gelu;
pub mod gemm;
mod group_norm;
mod linear;
mod modulate;
mod norm;
mod simd;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
mod upsample;

pub(crate) use attention::attention;
pub use attention::plain_attention;
pub(crate) use conv::{conv2d, output_sides};
pub use gelu::{GeluApproximation, gelu};
pub(crate) use group_norm::group_norm_silu;
pub(crate) use linear::{dequantize, linear};
pub use modulate::{Branch, Modulation};
pub(crate) use modulate::{gated, modulated};
pub use norm::layer_norm;
pub(crate) use norm::rms_norm;
pub(crate) use upsample::upsample;

use std::fmt::Debug;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};

/// An operation on `N` tensors of 32-bit floats.
trait Operation<const N: usize>: Debug + Send + 'static {
    /// Saved by the forward pass for the backward pass.
    type State: Clone + Debug + Send + 'static;

    /// Computes the operands' gradients from the contiguous gradient of the result; `None` for an operand that needs none.
    fn backward(state: &Self::State, gradient: &FlexTensor) -> [Option<FlexTensor>; N];
}

/// A tensor of 32-bit floats on the CPU.
struct Operand {
    /// Contiguous.
    values: FlexTensor,
    #[cfg(not(target_arch = "wasm32"))]
    tracked: Option<graph::Tracked>,
}

impl Operand {
    fn as_slice(&self) -> &[f32] {
        as_slice(&self.values)
    }

    /// Whether the tensor is part of an autodiff graph and needs a gradient.
    fn wants_gradient(&self) -> bool {
        #[cfg(not(target_arch = "wasm32"))]
        return self.tracked.as_ref().is_some_and(|t| t.is_tracked());
        #[cfg(target_arch = "wasm32")]
        false
    }
}

/// Returns the tensor as an operand; `None` unless it is f32 on the CPU.
fn operand<const D: usize>(tensor: &Tensor<D>) -> Option<Operand> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    #[cfg(not(target_arch = "wasm32"))]
    if tensor.is_autodiff() {
        return graph::operand(tensor);
    }
    let values = tensor.clone().try_into_primitive::<Flex>().ok()?;
    Some(Operand {
        values: contiguous(&values),
        #[cfg(not(target_arch = "wasm32"))]
        tracked: None,
    })
}

/// Returns the result of an operation as a tensor, recorded in the autodiff graph if an operand is part of one.
fn result<O: Operation<N>, const N: usize, const D: usize>(
    operands: [Operand; N],
    state: O::State,
    values: FlexTensor,
) -> Tensor<D> {
    #[cfg(not(target_arch = "wasm32"))]
    if operands.iter().any(|operand| operand.tracked.is_some()) {
        return graph::recorded::<O, N, D>(operands, state, values);
    }
    let _ = (operands, state);
    Tensor::from_primitive::<Flex>(values)
}

/// Returns the tensor in contiguous layout.
fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() {
        tensor.clone()
    } else {
        tensor.to_contiguous()
    }
}

/// Returns the values of a [`contiguous`] tensor.
fn as_slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("dense floats of 32 bits")
}

#[cfg(not(target_arch = "wasm32"))]
use buffers::{buffer, tensor as from_vec, zeros};

/// Returns a new tensor of the values.
#[cfg(target_arch = "wasm32")]
fn from_vec<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(burn::tensor::TensorData::new(values, shape))
}

/// Returns `n` zeros.
#[cfg(target_arch = "wasm32")]
fn zeros(n: usize) -> Vec<f32> {
    vec![0.0; n]
}

/// Returns `n` values for a result that overwrites all of them.
#[cfg(target_arch = "wasm32")]
fn buffer(n: usize) -> Vec<f32> {
    zeros(n)
}

/// Access to burn's autodiff graph.
#[cfg(not(target_arch = "wasm32"))]
mod graph {
    use std::marker::PhantomData;

    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
    use burn::backend::flex::FlexTensor;
    use burn::backend::{Autodiff, AutodiffBackend, BackendTypes, Flex};
    use burn::tensor::Tensor;

    use super::{Operand, Operation, contiguous};

    type Training = Autodiff<Flex>;

    /// A tensor in an autodiff graph.
    pub(super) type Tracked = <Training as BackendTypes>::FloatTensorPrimitive;

    #[derive(Debug)]
    struct Recorded<O>(PhantomData<O>);

    impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Recorded<O> {
        type State = O::State;

        fn backward(self, ops: Ops<O::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
            let gradient = contiguous(&grads.consume::<Flex>(&ops.node));
            let results = O::backward(&ops.state, &gradient);
            for (parent, result) in ops.parents.into_iter().zip(results) {
                if let (Some(parent), Some(result)) = (parent, result) {
                    grads.register::<Flex>(parent.id, result);
                }
            }
        }
    }

    pub(super) fn operand<const D: usize>(tensor: &Tensor<D>) -> Option<Operand> {
        let tracked = tensor.clone().try_into_primitive::<Training>().ok()?;
        Some(Operand {
            values: contiguous(tracked.primitive()),
            tracked: Some(tracked),
        })
    }

    /// Records a result in the graph, with the state saved for its backward pass.
    pub(super) fn recorded<O: Operation<N>, const N: usize, const D: usize>(
        operands: [Operand; N],
        state: O::State,
        values: FlexTensor,
    ) -> Tensor<D> {
        let constant = Training::from_inner;
        let tracked =
            operands.map(|operand| operand.tracked.unwrap_or_else(|| constant(operand.values)));
        let nodes = tracked.each_ref().map(|tensor| tensor.node());
        let operation = Recorded::<O>(PhantomData);
        let prepared = operation.prepare::<NoCheckpointing>(nodes).compute_bound();
        let y = match prepared.stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, values),
            OpsKind::UnTracked(prepared) => prepared.finish(values),
        };
        Tensor::from_primitive::<Training>(y)
    }
}
