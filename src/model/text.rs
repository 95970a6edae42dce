//! The T5 encoder: v1.0 (relu) and v1.1 (gated GELU), as transformers' `T5EncoderModel` computes it.
//! <https://github.com/huggingface/transformers/blob/main/src/transformers/models/t5/modeling_t5.py>

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::linear::{Bias, Linear, full, zeros};
use crate::config::{FeedForward as Kind, TextConfig};
use crate::gpu;
use crate::weights::quant::Encoding;

/// Maps this module's parameter paths to transformers' names.
pub const NAMES: &[(&str, &str)] = &[
    ("embedding", "shared"),
    (
        "relative_bias",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    ),
    ("final_norm", "encoder.final_layer_norm"),
    ("blocks.", "encoder.block."),
    ("attention_norm", "layer.0.layer_norm"),
    ("attention.", "layer.0.SelfAttention."),
    ("feed_forward_norm", "layer.1.layer_norm"),
    ("feed_forward.", "layer.1.DenseReluDense."),
];

/// Added to the scores of masked keys: far below any score, but finite.
pub const MASKED: f32 = -1e9;

/// The T5 text encoder: token ids to states.
#[derive(Module, Debug)]
pub struct TextEncoder {
    embedding: Table,
    relative_bias: Table,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
    heads: usize,
    max_distance: usize,
}

/// An embedding table.
#[derive(Module, Debug)]
pub struct Table {
    /// `[rows, width]`.
    pub weight: Param<Tensor<2>>,
}

impl Table {
    /// Creates a table with lazy zeros.
    pub fn new(rows: usize, width: usize, device: &Device) -> Self {
        Table {
            weight: zeros([rows, width], device),
        }
    }
}

/// RMS norm over the last axis: `x / rms(x) * weight`.
#[derive(Module, Debug)]
pub struct RmsNorm {
    pub(super) weight: Param<Tensor<1>>,
    pub(super) epsilon: f64,
}

impl RmsNorm {
    pub(crate) fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        RmsNorm {
            weight: full([width], 1.0, device),
            epsilon,
        }
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if let Some(y) = crate::cpu::rms_norm(&x, &self.weight.val(), self.epsilon) {
            return y;
        }
        let variance = x.clone().square().mean_dim(D - 1);
        x * variance.add_scalar(self.epsilon).sqrt().recip() * self.weight.val().unsqueeze()
    }
}

#[derive(Module, Debug)]
struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

#[derive(Module, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
}

#[derive(Module, Debug)]
struct FeedForward {
    wi: Option<Linear>,
    wi_0: Option<Linear>,
    wi_1: Option<Linear>,
    wo: Linear,
}

impl TextEncoder {
    /// Creates an encoder of this shape with lazy parameters.
    pub fn new(config: &TextConfig, encoding: Encoding, device: &Device) -> Self {
        let (d, inner) = (config.d_model, config.num_heads * config.d_kv);
        let linear = |i, o| Linear::new(i, o, Bias::No, encoding, device);
        let norm = || RmsNorm::new(d, config.layer_norm_epsilon, device);
        let gated = config.feed_forward_proj == Kind::GatedGelu;
        let into = || linear(d, config.d_ff);
        let blocks = (0..config.num_layers)
            .map(|_| Block {
                attention_norm: norm(),
                attention: Attention {
                    q: linear(d, inner),
                    k: linear(d, inner),
                    v: linear(d, inner),
                    o: linear(inner, d),
                },
                feed_forward_norm: norm(),
                feed_forward: FeedForward {
                    wi: (!gated).then(into),
                    wi_0: gated.then(into),
                    wi_1: gated.then(into),
                    wo: linear(config.d_ff, d),
                },
            })
            .collect();
        TextEncoder {
            embedding: Table::new(config.vocab_size, d, device),
            relative_bias: Table::new(
                config.relative_attention_num_buckets,
                config.num_heads,
                device,
            ),
            blocks,
            final_norm: norm(),
            heads: config.num_heads,
            max_distance: config.relative_attention_max_distance,
        }
    }

    /// # Shapes
    /// `ids` `[b, n]` to states `[b, n, d]`. `mask` `[b, n]` is 1 for tokens and 0 for padding, which no token attends to.
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Option<Tensor<2>>) -> Tensor<3> {
        let [b, n] = ids.dims();
        let mut x = embed(self.embedding.weight.val(), ids); // [b, n, d]
        let mut bias = self.position_bias(n, &x.device()); // [1, h, n, n]
        if let Some(mask) = mask {
            let masked = mask.neg().add_scalar(1.0).mul_scalar(MASKED); // 0 for tokens, MASKED for padding
            bias = bias + masked.reshape([b, 1, 1, n]);
        }
        for block in &self.blocks {
            let a = block.attention_norm.forward(x.clone());
            x = x + block.attention.forward(a, bias.clone(), self.heads);
            let f = block.feed_forward_norm.forward(x.clone());
            x = x + block.feed_forward.forward(f);
        }
        self.final_norm.forward(x)
    }

    fn position_bias(&self, n: usize, device: &Device) -> Tensor<4> {
        let weight = self.relative_bias.weight.val();
        let buckets = weight.dims()[0];
        let offsets: Vec<i32> = (0..n * n)
            .map(|i| bucket((i % n) as i64 - (i / n) as i64, buckets, self.max_distance) as i32)
            .collect();
        let offsets = Tensor::<1, Int>::from_data(TensorData::new(offsets, [n * n]), device);
        weight
            .select(0, offsets)
            .reshape([1, n, n, self.heads]) // [1, q, k, h]
            .permute([0, 3, 1, 2])
    }
}

/// Returns the bucket of a key's position relative to its query. Each direction has half of the buckets: the nearer half of those
/// is exact, the rest is logarithmic up to `max_distance`.
fn bucket(offset: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let side = if offset > 0 { half } else { 0 };
    let distance = offset.unsigned_abs() as usize;
    let exact = half / 2;
    if distance < exact {
        return side + distance;
    }
    let ratio = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    let far = exact + (ratio * (half - exact) as f32) as usize;
    side + far.min(half - 1)
}

/// Looks up the rows of `table` `[rows, d]` at `ids` `[b, n]`; returns `[b, n, d]`.
pub fn embed(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    let [b, n] = ids.dims();
    let [_, d] = table.dims();
    table.select(0, ids.reshape([b * n])).reshape([b, n, d])
}

impl Attention {
    /// Undoes the scaling in `gpu::attention`, since T5 does not scale its scores. The position bias is added to the scores.
    fn forward(&self, x: Tensor<3>, bias: Tensor<4>, heads: usize) -> Tensor<3> {
        let [b, n, _] = x.dims();
        let split = |y: Tensor<3>| {
            let width = y.dims()[2] / heads;
            y.reshape([b, n, heads, width]).swap_dims(1, 2) // [b, h, n, width]
        };
        let q = split(self.q.forward(x.clone()));
        let k = split(self.k.forward(x.clone()));
        let v = split(self.v.forward(x));
        let width = q.dims()[3];
        let unscaled = q.mul_scalar((width as f64).sqrt());
        let y = gpu::attention(unscaled, k, v, Some(bias)).swap_dims(1, 2); // [b, n, h, width]
        self.o.forward(y.reshape([b, n, width * heads]))
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = match (&self.wi, &self.wi_0, &self.wi_1) {
            (Some(wi), _, _) => relu(wi.forward(x)),
            (_, Some(gate), Some(value)) => gate.forward_gelu(x.clone()) * value.forward(x),
            _ => unreachable!("the constructor makes wi, or wi_0 and wi_1"),
        };
        self.wo.forward(hidden)
    }
}
