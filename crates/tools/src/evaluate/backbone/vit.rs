//! The transformer that all backbones share: pre-norm blocks with full or causal attention.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::{gelu, sigmoid};
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Tensor};

use super::config::{Activation, Tower, Vision};
use unireal::internals::cpu::{self, GeluApproximation};
use unireal::internals::gpu;
use unireal::internals::model::linear::{Bias, Linear};
use unireal::internals::weights::quant::Encoding;

/// `(x - mean) / deviation * weight + bias` over the last axis.
#[derive(Module, Debug)]
pub(super) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    pub(super) fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        LayerNorm {
            weight: Initializer::Ones.init([width], device),
            bias: Initializer::Zeros.init([width], device),
            epsilon,
        }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        cpu::layer_norm(&x, &weight, &bias, self.epsilon)
            .unwrap_or_else(|| layer_norm(x, weight, Some(bias), self.epsilon))
    }
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    out: Linear,
}

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
}

/// One block; DINOv2 scales the outputs of attention and feed-forward before adding them.
#[derive(Module, Debug)]
pub(super) struct Block {
    norm1: LayerNorm,
    attention: Attention,
    scale1: Option<Param<Tensor<1>>>,
    norm2: LayerNorm,
    mlp: Mlp,
    scale2: Option<Param<Tensor<1>>>,
    heads: usize,
    #[module(skip)]
    activation: Activation,
}

/// Creates the blocks of a tower.
pub(super) fn blocks(shape: &Tower, scaled: bool, device: &Device) -> Vec<Block> {
    let d = shape.hidden_size;
    let linear = |i, o| Linear::new(i, o, Bias::Yes, Encoding::F32, device);
    let norm = || LayerNorm::new(d, shape.layer_norm_eps, device);
    let scale = || scaled.then(|| Initializer::Ones.init([d], device));
    (0..shape.num_hidden_layers)
        .map(|_| Block {
            norm1: norm(),
            attention: Attention {
                qkv: linear(d, 3 * d),
                out: linear(d, d),
            },
            scale1: scale(),
            norm2: norm(),
            mlp: Mlp {
                first: linear(d, shape.intermediate_size),
                second: linear(shape.intermediate_size, d),
            },
            scale2: scale(),
            heads: shape.num_attention_heads,
            activation: shape.hidden_act,
        })
        .collect()
}

impl Block {
    /// Computes the block.
    ///
    /// # Shapes
    /// `x [b, n, d]`, `mask [1, n, n]`.
    pub(super) fn forward(&self, x: Tensor<3>, mask: Option<&Tensor<3>>) -> Tensor<3> {
        let a = self.attended(x.clone(), mask);
        self.rest(x, a)
    }

    /// Computes only the first token's state, the only one that the last block needs.
    ///
    /// # Shapes
    /// `x [b, n, d]` to `[b, 1, d]`.
    fn first(&self, x: Tensor<3>) -> Tensor<3> {
        let a = self.attended(x.clone(), None);
        self.rest(x.narrow(1, 0, 1), a.narrow(1, 0, 1))
    }

    /// Returns the concatenated outputs of the heads, before the output projection.
    fn attended(&self, x: Tensor<3>, mask: Option<&Tensor<3>>) -> Tensor<3> {
        let qkv = self.attention.qkv.forward(self.norm1.forward(x));
        cpu::plain_attention(&qkv, self.heads, mask).unwrap_or_else(|| {
            let [b, n, triple] = qkv.dims();
            let d = triple / 3;
            let [q, k, v] = [0, 1, 2].map(|i| {
                let x = qkv.clone().narrow(2, i * d, d);
                x.reshape([b, n, self.heads, d / self.heads])
                    .swap_dims(1, 2) // [b, h, n, d / h]
            });
            let mask = mask.map(|mask| mask.clone().unsqueeze_dim(1));
            let y = gpu::attention(q, k, v, mask);
            y.swap_dims(1, 2).reshape([b, n, d])
        })
    }

    fn rest(&self, x: Tensor<3>, attended: Tensor<3>) -> Tensor<3> {
        let x = x + scaled(self.attention.out.forward(attended), &self.scale1);
        let hidden = self.mlp.first.forward(self.norm2.forward(x.clone()));
        let m = self.mlp.second.forward(self.activation.apply(hidden));
        x + scaled(m, &self.scale2)
    }
}

fn scaled(x: Tensor<3>, scale: &Option<Param<Tensor<1>>>) -> Tensor<3> {
    match scale {
        Some(scale) => x * scale.val().unsqueeze(),
        None => x,
    }
}

impl Activation {
    fn apply(self, x: Tensor<3>) -> Tensor<3> {
        let approximation = match self {
            Activation::QuickGelu => GeluApproximation::Quick,
            Activation::Gelu => GeluApproximation::Exact,
        };
        if let Some(y) = cpu::gelu(&x, approximation) {
            return y;
        }
        match self {
            Activation::QuickGelu => x.clone() * sigmoid(x * 1.702),
            Activation::Gelu => gelu(x),
        }
    }
}

/// A vision transformer that returns the class token's state.
#[derive(Module, Debug)]
pub struct VisionTower {
    class: Param<Tensor<1>>,
    patch: Linear,
    positions: Param<Tensor<2>>,
    pre_norm: Option<LayerNorm>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

/// Architectural differences between the towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// A norm before the blocks; patch projection without a bias.
    Clip,
    /// No norm before the blocks; patch projection with a bias.
    Dino,
    /// As DINO, with layer scale.
    Dinov2,
}

impl VisionTower {
    /// Creates a tower of this shape with lazy random parameters, for images of `side` pixels.
    pub(super) fn new(shape: &Vision, side: usize, family: Family, device: &Device) -> Self {
        let d = shape.tower.hidden_size;
        let norm = || LayerNorm::new(d, shape.tower.layer_norm_eps, device);
        let small = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let tokens = (side / shape.patch_size).pow(2) + 1;
        let bias = match family {
            Family::Clip => Bias::No,
            Family::Dino | Family::Dinov2 => Bias::Yes,
        };
        let inputs = 3 * shape.patch_size.pow(2);
        VisionTower {
            class: small.init([d], device),
            patch: Linear::new(inputs, d, bias, Encoding::F32, device),
            positions: small.init([tokens, d], device),
            pre_norm: (family == Family::Clip).then(norm),
            blocks: blocks(&shape.tower, family == Family::Dinov2, device),
            norm: norm(),
        }
    }

    /// Creates a DINO tower for images of the shape's own size.
    pub(crate) fn small(shape: &Vision, device: &Device) -> Self {
        Self::new(shape, shape.image_size, Family::Dino, device)
    }

    /// Returns the class token's state after the final norm.
    ///
    /// # Shapes
    /// Patches `[b, n, 3 p^2]` to `[b, 1, d]`.
    pub fn forward(&self, patches: Tensor<3>) -> Tensor<3> {
        let [b, _, _] = patches.dims();
        let patches = self.patch.forward(patches);
        let d = patches.dims()[2];
        let class = self.class.val().reshape([1, 1, d]).expand([b, 1, d]);
        let mut x = Tensor::cat(vec![class, patches], 1) + self.positions.val().unsqueeze();
        if let Some(norm) = &self.pre_norm {
            x = norm.forward(x);
        }
        if let Some((last, blocks)) = self.blocks.split_last() {
            for block in blocks {
                x = block.forward(x, None);
            }
            x = last.first(x);
        }
        self.norm.forward(x.narrow(1, 0, 1))
    }
}
