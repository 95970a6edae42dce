//! The linear layer, the only place in `model` that knows about quantised weights.

use burn::module::{Module, Param};
use burn::nn::Initializer;
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
    /// Creates a layer with lazy Xavier-uniform weights and, with [`Bias::Yes`], a zero bias.
    pub fn new(
        input: usize,
        output: usize,
        bias: Bias,
        encoding: Encoding,
        device: &Device,
    ) -> Self {
        Self::init(
            input,
            output,
            bias,
            Initializer::XavierUniform { gain: 1.0 },
            encoding,
            device,
        )
    }

    /// Creates a layer with zero weights, so that the residual it gates starts as the identity (AdaLN-zero).
    pub fn zeros(input: usize, output: usize, encoding: Encoding, device: &Device) -> Self {
        Self::init(
            input,
            output,
            Bias::Yes,
            Initializer::Zeros,
            encoding,
            device,
        )
    }

    /// Creates a layer without a bias, with normally distributed weights of standard deviation `std`.
    pub fn normal(
        input: usize,
        output: usize,
        std: f64,
        encoding: Encoding,
        device: &Device,
    ) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std };
        Self::init(input, output, Bias::No, normal, encoding, device)
    }

    fn init(
        input: usize,
        output: usize,
        bias: Bias,
        initializer: Initializer,
        encoding: Encoding,
        device: &Device,
    ) -> Self {
        let weight = if encoding.quantizes(input) {
            Weight::Quantized(QuantizedWeight::new(input, output, encoding, device))
        } else {
            Weight::Float(initializer.init_with([output, input], Some(input), Some(output), device))
        };
        let bias = match bias {
            Bias::Yes => Some(Initializer::Zeros.init([output], device)),
            Bias::No => None,
        };
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
                burn::module::ParamId::new(),
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

/// Whether a layer adds a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// With a bias.
    Yes,
    /// Without a bias.
    No,
}
