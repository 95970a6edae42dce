//! The linear layer, the only one in `model` that branches on quantisation.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor};

use crate::gpu::{self, Activation};
use crate::weights::quant::Encoding;

/// A linear layer `y = x W^T + b`, with `W` stored `[out, in]` as in PyTorch's checkpoints.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

/// A weight matrix on the device.
#[derive(Module, Debug)]
pub enum Weight {
    /// Floats.
    Float(Param<Tensor<2>>),
    /// Blocks of 32 small integers that share a scale, dequantised when multiplied.
    Quantized(QuantizedWeight),
}

/// The two tensors of a quantised matrix, see [`crate::weights::quant`].
#[derive(Module, Debug)]
pub struct QuantizedWeight {
    /// Packed integers, `[out, in / 4]` (q8) or `[out, in / 8]` (q4).
    pub packed: Param<Tensor<2, Int>>,
    /// Pairs of f16 scales, `[out, in / 64]`.
    pub scales: Param<Tensor<2, Int>>,
    #[module(skip)]
    encoding: Encoding,
}

impl Linear {
    /// Creates a layer with lazy zero parameters.
    pub fn new(
        input: usize,
        output: usize,
        bias: Bias,
        encoding: Encoding,
        device: &Device,
    ) -> Self {
        let weight = if encoding.quantizes(input) {
            Weight::Quantized(QuantizedWeight::new(input, output, encoding, device))
        } else {
            Weight::Float(zeros([output, input], device))
        };
        let bias = (bias == Bias::Yes).then(|| zeros([output], device));
        Linear { weight, bias }
    }

    /// # Shapes
    /// `[b, n, in]` to `[b, n, out]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.activated(x, Activation::None)
    }

    /// Applies the layer, then a GELU.
    ///
    /// # Shapes
    /// `[b, n, in]` to `[b, n, out]`.
    pub fn forward_gelu(&self, x: Tensor<3>) -> Tensor<3> {
        self.activated(x, Activation::Gelu)
    }

    fn activated(&self, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let bias = self.bias.as_ref().map(|bias| bias.val());
        match &self.weight {
            Weight::Float(weight) => gpu::linear(x, weight.val(), bias, activation),
            Weight::Quantized(weight) => gpu::quant_linear(
                x,
                weight.packed.val(),
                weight.scales.val(),
                weight.encoding,
                bias,
                activation,
            ),
        }
    }
}

impl QuantizedWeight {
    fn new(input: usize, output: usize, encoding: Encoding, device: &Device) -> Self {
        let integers = |columns: usize| {
            let shape = [output, columns];
            Param::uninitialized(
                ParamId::new(),
                move |device, _| Tensor::zeros(shape, device),
                device.clone(),
                false,
                shape.into(),
            )
        };
        QuantizedWeight {
            packed: integers(input / encoding.values_per_word()),
            scales: integers(input / 64),
            encoding,
        }
    }
}

/// Creates a lazy parameter of zeros, for a loader or a trainer to fill.
pub(super) fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    full(shape, 0.0, device)
}

/// Creates a lazy parameter that is `value` everywhere.
pub(super) fn full<const D: usize>(
    shape: [usize; D],
    value: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    let lazy =
        move |device: &Device, grad| Tensor::<D>::full(shape, value, device).set_require_grad(grad);
    Param::uninitialized(ParamId::new(), lazy, device.clone(), true, shape.into())
}

/// Whether a layer adds a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// With a bias.
    Yes,
    /// Without a bias.
    No,
}
