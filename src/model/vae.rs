//! The autoencoder: diffusers' `AutoencoderKL`, with tiled encoding and decoding for large images and small devices.
//! <https://github.com/huggingface/diffusers/blob/main/src/diffusers/models/autoencoders/autoencoder_kl.py>

mod tiling;

use burn::module::{Module, Param};
use burn::nn::{GroupNorm, GroupNormConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

pub use tiling::Tiling;

use super::linear::{Bias, Linear, zeros};
use crate::config::VaeConfig;
use crate::gpu;
use crate::weights::quant::Encoding;

/// Maps this module's parameter paths to diffusers' names.
pub const NAMES: &[(&str, &str)] = &[
    ("gamma", "weight"),
    ("beta", "bias"),
    ("downsample.", "downsamplers.0.conv."),
    ("upsample.", "upsamplers.0.conv."),
    ("attention.to_out.", "attention.to_out.0."),
    ("attention.", "attentions.0."),
];

/// The autoencoder: images to latents and back.
#[derive(Module, Debug)]
pub struct Autoencoder {
    encoder: Encoder,
    quant_conv: Option<Conv>,
    post_quant_conv: Option<Conv>,
    decoder: Decoder,
    scale: f64,
    shift: f64,
}

/// A convolution with padding in the order top, left, bottom, right.
#[derive(Module, Debug)]
struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    stride: usize,
    #[module(skip)]
    padding: [usize; 4],
}

#[derive(Module, Debug)]
struct Resnet {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    conv_shortcut: Option<Conv>,
}

#[derive(Module, Debug)]
struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

#[derive(Module, Debug)]
struct Middle {
    resnets: Vec<Resnet>,
    attention: Option<Attention>,
}

/// Residual layers at one resolution, then a step to the next resolution.
#[derive(Module, Debug)]
struct Stage {
    resnets: Vec<Resnet>,
    downsample: Option<Conv>,
    upsample: Option<Conv>,
}

#[derive(Module, Debug)]
struct Encoder {
    conv_in: Conv,
    down_blocks: Vec<Stage>,
    mid_block: Middle,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv,
    mid_block: Middle,
    up_blocks: Vec<Stage>,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
}

/// Creates layers with one configuration on one device.
struct Builder<'a> {
    config: &'a VaeConfig,
    encoding: Encoding,
    device: &'a Device,
}

impl Builder<'_> {
    fn conv(
        &self,
        input: usize,
        output: usize,
        kernel: usize,
        stride: usize,
        padding: [usize; 4],
    ) -> Conv {
        Conv {
            weight: zeros([output, input, kernel, kernel], self.device),
            bias: zeros([output], self.device),
            stride,
            padding,
        }
    }

    fn conv3(&self, input: usize, output: usize) -> Conv {
        self.conv(input, output, 3, 1, [1; 4])
    }

    fn norm(&self, channels: usize) -> GroupNorm {
        GroupNormConfig::new(self.config.norm_num_groups, channels)
            .with_epsilon(1e-6)
            .init(self.device)
    }

    fn resnet(&self, input: usize, output: usize) -> Resnet {
        Resnet {
            norm1: self.norm(input),
            conv1: self.conv3(input, output),
            norm2: self.norm(output),
            conv2: self.conv3(output, output),
            conv_shortcut: (input != output).then(|| self.conv(input, output, 1, 1, [0; 4])),
        }
    }

    fn resnets(&self, input: usize, output: usize, count: usize) -> Vec<Resnet> {
        (0..count)
            .map(|i| self.resnet(if i == 0 { input } else { output }, output))
            .collect()
    }

    fn middle(&self, channels: usize) -> Middle {
        let linear = || Linear::new(channels, channels, Bias::Yes, self.encoding, self.device);
        Middle {
            resnets: self.resnets(channels, channels, 2),
            attention: self.config.mid_block_add_attention.then(|| Attention {
                group_norm: self.norm(channels),
                to_q: linear(),
                to_k: linear(),
                to_v: linear(),
                to_out: linear(),
            }),
        }
    }

    fn encoder(&self) -> Encoder {
        let c = self.config;
        let widths = &c.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let down_blocks = (0..widths.len())
            .map(|i| Stage {
                resnets: self.resnets(widths[i.saturating_sub(1)], widths[i], c.layers_per_block),
                downsample: (i + 1 < widths.len())
                    .then(|| self.conv(widths[i], widths[i], 3, 2, [0, 0, 1, 1])),
                upsample: None,
            })
            .collect();
        Encoder {
            conv_in: self.conv3(c.in_channels, first),
            down_blocks,
            mid_block: self.middle(last),
            conv_norm_out: self.norm(last),
            conv_out: self.conv3(last, 2 * c.latent_channels),
        }
    }

    fn decoder(&self) -> Decoder {
        let c = self.config;
        let widths: Vec<usize> = c.block_out_channels.iter().rev().copied().collect();
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let up_blocks = (0..widths.len())
            .map(|i| Stage {
                resnets: self.resnets(
                    widths[i.saturating_sub(1)],
                    widths[i],
                    c.layers_per_block + 1,
                ),
                downsample: None,
                upsample: (i + 1 < widths.len()).then(|| self.conv3(widths[i], widths[i])),
            })
            .collect();
        Decoder {
            conv_in: self.conv3(c.latent_channels, first),
            mid_block: self.middle(first),
            up_blocks,
            conv_norm_out: self.norm(last),
            conv_out: self.conv3(last, c.out_channels),
        }
    }
}

impl Autoencoder {
    /// Creates an autoencoder of this shape with lazy parameters.
    pub fn new(config: &VaeConfig, encoding: Encoding, device: &Device) -> Self {
        let build = Builder {
            config,
            encoding,
            device,
        };
        let (c, moments) = (config.latent_channels, 2 * config.latent_channels);
        let pointwise = |channels| build.conv(channels, channels, 1, 1, [0; 4]);
        Autoencoder {
            encoder: build.encoder(),
            quant_conv: config.use_quant_conv.then(|| pointwise(moments)),
            post_quant_conv: config.use_post_quant_conv.then(|| pointwise(c)),
            decoder: build.decoder(),
            scale: config.scaling_factor,
            shift: config.shift_factor.unwrap_or(0.0),
        }
    }

    /// Returns mean and log variance of the latent's distribution.
    ///
    /// # Shapes
    /// `[b, 3, y, x]` in -1..1, sides a multiple of the stride, to `[b, 2 c, y / stride, x / stride]`.
    pub fn moments(&self, images: Tensor<4>) -> Tensor<4> {
        let h = self.encoder.forward(images);
        match &self.quant_conv {
            Some(conv) => conv.forward(h),
            None => h,
        }
    }

    /// Encodes images to the latents that the transformer reads: the mean, shifted and scaled.
    ///
    /// # Shapes
    /// `[b, 3, y, x]` to `[b, c, y / stride, x / stride]`.
    pub fn encode(&self, images: Tensor<4>, tiling: Option<Tiling>) -> Tensor<4> {
        let moments = match tiling {
            Some(tiling) => tiling.encode(images, self.stride(), |tile| self.moments(tile)),
            None => self.moments(images),
        };
        let channels = moments.dims()[1] / 2;
        let mean = moments.narrow(1, 0, channels);
        mean.sub_scalar(self.shift).mul_scalar(self.scale)
    }

    /// Decodes the transformer's latents to images.
    ///
    /// # Shapes
    /// `[b, c, y, x]` to `[b, 3, stride y, stride x]`, roughly in -1..1.
    pub fn decode(&self, latents: Tensor<4>, tiling: Option<Tiling>) -> Tensor<4> {
        let z = latents.div_scalar(self.scale).add_scalar(self.shift);
        match tiling {
            Some(tiling) => tiling.decode(z, self.stride(), |tile| self.decode_latent(tile)),
            None => self.decode_latent(z),
        }
    }

    /// Decodes latents as the encoder outputs them, neither shifted nor scaled, to images.
    ///
    /// # Shapes
    /// As [`Autoencoder::decode`].
    pub fn decode_latent(&self, z: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(match &self.post_quant_conv {
            Some(conv) => conv.forward(z),
            None => z,
        })
    }

    fn stride(&self) -> usize {
        1 << (self.encoder.down_blocks.len() - 1)
    }
}

impl Conv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        gpu::conv2d(x, weight, Some(bias), self.stride, self.padding)
    }
}

fn norm_silu(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    if let (Some(gamma), Some(beta)) = (&norm.gamma, &norm.beta)
        && let Some(y) = crate::cpu::group_norm_silu(
            &x,
            &gamma.val(),
            &beta.val(),
            norm.num_groups,
            norm.epsilon,
        )
    {
        return y;
    }
    silu(norm.forward(x))
}

impl Resnet {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv1.forward(norm_silu(&self.norm1, x.clone()));
        let h = self.conv2.forward(norm_silu(&self.norm2, h));
        match &self.conv_shortcut {
            Some(conv) => conv.forward(x) + h,
            None => x + h,
        }
    }
}

impl Attention {
    /// Applies single-head self-attention over all positions.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, height, width] = x.dims();
        let tokens = self
            .group_norm
            .forward(x.clone().reshape([b, c, height * width]))
            .swap_dims(1, 2); // [b, n, c]
        let q = self.to_q.forward(tokens.clone()).unsqueeze_dim(1);
        let k = self.to_k.forward(tokens.clone()).unsqueeze_dim(1);
        let v = self.to_v.forward(tokens).unsqueeze_dim(1);
        let y: Tensor<3> = gpu::attention(q, k, v, None).squeeze_dim(1);
        let y = self.to_out.forward(y).swap_dims(1, 2);
        x + y.reshape([b, c, height, width])
    }
}

impl Middle {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets[0].forward(x);
        let x = match &self.attention {
            Some(attention) => attention.forward(x),
            None => x,
        };
        self.resnets[1].forward(x)
    }
}

impl Stage {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = x;
        for resnet in &self.resnets {
            x = resnet.forward(x);
        }
        if let Some(conv) = &self.downsample {
            x = conv.forward(x);
        }
        if let Some(conv) = &self.upsample {
            x = conv.forward(upsample(x));
        }
        x
    }
}

/// Upsamples by two along both sides (nearest neighbour).
fn upsample(x: Tensor<4>) -> Tensor<4> {
    if let Some(y) = crate::cpu::upsample(&x) {
        return y;
    }
    let [b, c, h, w] = x.dims();
    x.reshape([b * c, h, 1, w, 1])
        .expand([b * c, h, 2, w, 2])
        .reshape([b, c, 2 * h, 2 * w])
}

impl Encoder {
    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut h = self.conv_in.forward(images);
        for stage in &self.down_blocks {
            h = stage.forward(h);
        }
        let h = self.mid_block.forward(h);
        self.conv_out.forward(norm_silu(&self.conv_norm_out, h))
    }
}

impl Decoder {
    fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let mut h = self.mid_block.forward(self.conv_in.forward(z));
        for stage in &self.up_blocks {
            h = stage.forward(h);
        }
        self.conv_out.forward(norm_silu(&self.conv_norm_out, h))
    }
}
