//! The diffusion transformer: full attention over one sequence, with timestep modulation on noise tokens only.
//!
//! Fixed by the paper (section 3.1): index and category embeddings, timestep embedding on noise tokens only, one sequence, full
//! attention. Choice: AdaLN-zero modulation per token (noise tokens by the timestep, all others by one learnt row), from one
//! projection that all blocks share plus an offset per block, which saves a third of the parameters at equal width. Queries and
//! keys are normalised. The feed-forward layer is a GELU MLP of four times the width.

#[cfg(test)]
mod tests;

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor, TensorData, module::layer_norm};

use super::linear::{Bias, Linear, zeros};
use super::rope::Rope;
use super::sequence::{Grid, InputFrame, Layout, Sequence, TextStates, patchify, unpatchify};
use super::text::{RmsNorm, Table, embed};
use crate::config::{TIMESTEPS, TransformerConfig};
use crate::gpu::{self, Branch, Modulation};
use crate::request::Role;
use crate::weights::quant::Encoding;

/// Maps this module's parameter paths to the checkpoint's names.
pub const NAMES: &[(&str, &str)] = &[
    ("clean_embedding", "clean"),
    ("time_in.first", "time_in.0"),
    ("time_in.second", "time_in.2"),
    ("mlp.first", "mlp.0"),
    ("mlp.second", "mlp.2"),
];

/// The diffusion transformer: sequence and time to velocity.
#[derive(Module, Debug)]
pub struct Transformer {
    text_in: Linear,
    patch_in: Linear,
    input_index: Table,
    output_index: Table,
    category: Table,
    time_in: Pair,
    clean_embedding: Table,
    modulation: Linear,
    blocks: Vec<Block>,
    final_modulation: Linear,
    patch_out: Linear,
    #[module(skip)]
    config: TransformerConfig,
}

/// The state between two blocks.
#[derive(Clone, Debug)]
pub struct BlockState {
    /// `[b, n, d]`: text and input images unless they are in the KV cache, then the outputs.
    pub tokens: Tensor<3>,
    modulation: Modulation,
    /// The timestep embedding, `[b, 1, d]`.
    time: Tensor<3>,
}

/// Two linear layers with an activation between them.
#[derive(Module, Debug)]
struct Pair {
    first: Linear,
    second: Linear,
}

/// The inputs of a block's attention besides its tokens.
#[derive(Clone, Copy)]
struct Context<'a> {
    rope: &'a Rope,
    mask: Option<&'a Tensor<3>>,
    kv_cache: Option<&'a [Tensor<4>; 2]>,
}

impl<'a> Context<'a> {
    /// No mask and no KV cache.
    fn unmasked(rope: &'a Rope) -> Self {
        Context {
            rope,
            mask: None,
            kv_cache: None,
        }
    }
}

#[derive(Module, Debug)]
struct Block {
    modulation_offset: Param<Tensor<1>>,
    attention: Attention,
    mlp: Pair,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    out: Linear,
}

impl Transformer {
    /// Creates a transformer of this shape with lazy parameters.
    pub fn new(config: &TransformerConfig, encoding: Encoding, device: &Device) -> Self {
        let d = config.hidden_size;
        let linear = |i, o| Linear::new(i, o, Bias::Yes, encoding, device);
        let table = |rows| Table::new(rows, d, device);
        let norm = || RmsNorm::new(config.head_dim(), config.norm_eps, device);
        let blocks = (0..config.num_layers)
            .map(|_| Block {
                modulation_offset: zeros([6 * d], device),
                attention: Attention {
                    qkv: linear(d, 3 * d),
                    query_norm: norm(),
                    key_norm: norm(),
                    out: linear(d, d),
                },
                mlp: Pair {
                    first: linear(d, config.mlp_dim()),
                    second: linear(config.mlp_dim(), d),
                },
            })
            .collect();
        Transformer {
            text_in: linear(config.text_dim, d),
            patch_in: linear(config.patch_dim(), d),
            input_index: table(config.max_inputs),
            output_index: table(config.max_outputs),
            category: table(Role::ALL.len()),
            time_in: Pair {
                first: linear(config.frequency_dim, d),
                second: linear(d, d),
            },
            clean_embedding: table(1),
            modulation: linear(d, 6 * d),
            blocks,
            final_modulation: linear(d, 2 * d),
            patch_out: linear(d, config.patch_dim()),
            config: config.clone(),
        }
    }

    /// Returns the sequence of text, input images and outputs, without a KV cache.
    ///
    /// # Shapes
    /// All latents are `[b, c, y, x]`, with sides that are multiples of the patch size; `outputs` are in tokens.
    pub fn sequence(&self, text: &TextStates, inputs: &[InputFrame], outputs: &[Grid]) -> Sequence {
        let device = text.states.device();
        let layout = self.layout(text, inputs, outputs);
        Sequence {
            clean: Some(self.clean_tokens(text, inputs)),
            rope: layout.rope(&self.config, &device),
            mask: layout.mask(self.config.attention, text, &device),
            outputs: layout.outputs,
            kv_cache: Vec::new(),
        }
    }

    /// Returns a sequence for many steps. The tokens that do not attend to noise (see [`TransformerConfig::attention`]) pass
    /// through all blocks once, here, and each step reads their keys and values from the KV cache. The velocities equal those of
    /// [`Transformer::sequence`].
    pub fn prepare(&self, text: &TextStates, inputs: &[InputFrame], outputs: &[Grid]) -> Sequence {
        let [cacheable, per_step] = self
            .layout(text, inputs, outputs)
            .split_cacheable(self.config.attention);
        let n_cached = cacheable.clean_tokens();
        // Padding differs between samples. It occurs only in training, which makes one step.
        if n_cached == 0 || text.mask.is_some() {
            return self.sequence(text, inputs, outputs);
        }
        let device = text.states.device();
        let clean = self.clean_tokens(text, inputs);
        let n_per_step = per_step.clean_tokens();
        // The tokens that every step computes come first: the text with `Attention::InputsApart`, none with `CleanApart`.
        let cached = clean.clone().narrow(1, n_per_step, n_cached);
        Sequence {
            clean: (n_per_step > 0).then(|| clean.narrow(1, 0, n_per_step)),
            rope: per_step.rope(&self.config, &device),
            mask: None,
            kv_cache: self.keys_and_values(cached, &cacheable.rope(&self.config, &device)),
            outputs: per_step.outputs,
        }
    }

    /// Returns the KV cache of tokens that attend only to each other: keys and values for each block.
    fn keys_and_values(&self, tokens: Tensor<3>, rope: &Rope) -> Vec<[Tensor<4>; 2]> {
        let modulation = self.modulation_without_noise(&tokens);
        let (heads, eps) = (self.config.num_attention_heads, self.config.norm_eps);
        let mut x = tokens;
        let mut cached = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            let a = gpu::modulated(
                x.clone(),
                &block.offset(&modulation),
                Branch::Attention,
                eps,
            );
            let [_, k, v] = block
                .attention
                .heads(block.attention.qkv.forward(a), rope, heads);
            cached.push([k, v]);
            if i + 1 < self.blocks.len() {
                x = block.forward(x, &modulation, Context::unmasked(rope), heads, eps);
            }
        }
        cached
    }

    /// Returns the number of blocks.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    fn layout(&self, text: &TextStates, inputs: &[InputFrame], outputs: &[Grid]) -> Layout {
        let patch = self.config.patch_size;
        Layout {
            text: text.states.dims()[1],
            inputs: inputs
                .iter()
                .map(|input| Grid::of(&input.latent, patch))
                .collect(),
            outputs: outputs.to_vec(),
        }
    }

    fn clean_tokens(&self, text: &TextStates, inputs: &[InputFrame]) -> Tensor<3> {
        let mut tokens = vec![self.text_tokens(text)];
        for (k, input) in inputs.iter().enumerate() {
            let category = Role::ALL
                .iter()
                .position(|role| *role == input.role)
                .expect("Role::ALL holds every role");
            let marks = row(&self.input_index, k) + row(&self.category, category);
            tokens.push(self.patches(input.latent.clone()) + marks);
        }
        Tensor::cat(tokens, 1)
    }

    /// Returns the modulation of all tokens except noise tokens, `[1, 1, 6 d]`.
    fn clean_modulation(&self) -> Tensor<3> {
        self.modulation
            .forward(silu(self.clean_embedding.weight.val().unsqueeze()))
    }

    /// Returns the modulation for `tokens` `[b, n, d]` without noise tokens.
    fn modulation_without_noise(&self, tokens: &Tensor<3>) -> Modulation {
        let [b, n, d] = tokens.dims();
        let clean = self.clean_modulation();
        Modulation {
            noise: clean.clone().expand([b, 1, 6 * d]),
            clean,
            n_clean: n,
        }
    }

    /// Returns the velocity of every output frame at time `t`.
    ///
    /// # Shapes
    /// `noisy`: one `[b, c, y, x]` for each output of the sequence; `t`: `[b]` in 0..1; the result has the shapes of `noisy`.
    pub fn forward(
        &self,
        sequence: &Sequence,
        noisy: &[Tensor<4>],
        t: Tensor<1>,
    ) -> Vec<Tensor<4>> {
        let hidden = self.embed(sequence, noisy, t);
        let hidden = self.run_blocks(sequence, 0..self.depth(), hidden);
        self.velocities(sequence, hidden)
    }

    /// Returns the state before the first block; `noisy` and `t` as in [`Transformer::forward`].
    pub fn embed(&self, sequence: &Sequence, noisy: &[Tensor<4>], t: Tensor<1>) -> BlockState {
        let time = self.time_embedding(t); // [b, 1, d]
        let n_clean = sequence.clean.as_ref().map_or(0, |clean| clean.dims()[1]);
        let modulation = Modulation {
            clean: self.clean_modulation(),
            noise: self.modulation.forward(time.clone()),
            n_clean,
        };
        let mut tokens: Vec<_> = sequence.clean.iter().cloned().collect();
        for (k, latent) in noisy.iter().enumerate() {
            tokens.push(self.patches(latent.clone()) + row(&self.output_index, k));
        }
        BlockState {
            tokens: Tensor::cat(tokens, 1),
            modulation,
            time,
        }
    }

    /// Runs some of the blocks, in order.
    pub fn run_blocks(
        &self,
        sequence: &Sequence,
        blocks: Range<usize>,
        hidden: BlockState,
    ) -> BlockState {
        let (heads, eps) = (self.config.num_attention_heads, self.config.norm_eps);
        let BlockState {
            mut tokens,
            modulation,
            time,
        } = hidden;
        for i in blocks {
            let context = Context {
                rope: &sequence.rope,
                mask: sequence.mask.as_ref(),
                kv_cache: sequence.kv_cache.get(i),
            };
            tokens = self.blocks[i].forward(tokens, &modulation, context, heads, eps);
        }
        BlockState {
            tokens,
            modulation,
            time,
        }
    }

    /// Returns the velocities from the state after the last block.
    pub fn velocities(&self, sequence: &Sequence, hidden: BlockState) -> Vec<Tensor<4>> {
        let [_, n, _] = hidden.tokens.dims();
        let n_clean = hidden.modulation.n_clean;
        let noise = hidden.tokens.narrow(1, n_clean, n - n_clean);
        let [shift, scale] = chunks(self.final_modulation.forward(hidden.time));
        let x = norm(noise, self.config.norm_eps) * scale.add_scalar(1.0) + shift;
        let tokens = self.patch_out.forward(x);
        let mut start = 0;
        let outputs = sequence.outputs.iter().map(|grid| {
            let span = tokens.clone().narrow(1, start, grid.tokens());
            start += grid.tokens();
            unpatchify(span, *grid, self.config.patch_size)
        });
        outputs.collect()
    }

    fn text_tokens(&self, text: &TextStates) -> Tensor<3> {
        let d = self.config.hidden_size;
        let table = Tensor::cat(
            vec![
                Tensor::zeros([1, d], &text.states.device()),
                self.input_index.weight.val(),
                self.output_index.weight.val(),
            ],
            0,
        );
        self.text_in.forward(text.states.clone()) + embed(table, text.image_refs.clone())
    }

    fn patches(&self, latent: Tensor<4>) -> Tensor<3> {
        self.patch_in
            .forward(patchify(latent, self.config.patch_size))
    }

    /// Returns the SiLU of the timestep embedding, which every modulation reads: `[b]` to `[b, 1, d]`.
    fn time_embedding(&self, t: Tensor<1>) -> Tensor<3> {
        let half = self.config.frequency_dim / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|j| TIMESTEPS as f32 * 10000f64.powf(-(j as f64) / half as f64) as f32)
            .collect();
        let frequencies =
            Tensor::<3>::from_data(TensorData::new(frequencies, [1, 1, half]), &t.device());
        let angles = t.reshape([-1, 1, 1]) * frequencies;
        let features = Tensor::cat(vec![angles.clone().cos(), angles.sin()], 2);
        let hidden = silu(self.time_in.first.forward(features));
        silu(self.time_in.second.forward(hidden))
    }
}

impl Block {
    fn forward(
        &self,
        x: Tensor<3>,
        modulation: &Modulation,
        context: Context<'_>,
        heads: usize,
        eps: f64,
    ) -> Tensor<3> {
        let modulation = self.offset(modulation);
        let a = gpu::modulated(x.clone(), &modulation, Branch::Attention, eps);
        let a = self.attention.forward(a, context, heads);
        let x = gpu::gated(x, a, &modulation, Branch::Attention);
        let m = gpu::modulated(x.clone(), &modulation, Branch::Mlp, eps);
        let m = self.mlp.second.forward(self.mlp.first.forward_gelu(m));
        gpu::gated(x, m, &modulation, Branch::Mlp)
    }

    /// Returns the shared modulation plus this block's offset.
    fn offset(&self, shared: &Modulation) -> Modulation {
        let offset: Tensor<3> = self.modulation_offset.val().unsqueeze();
        Modulation {
            clean: shared.clean.clone() + offset.clone(),
            noise: shared.noise.clone() + offset,
            n_clean: shared.n_clean,
        }
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, context: Context<'_>, heads: usize) -> Tensor<3> {
        let [b, n, d] = x.dims();
        let qkv = self.qkv.forward(x);
        let norms = [self.query_norm.weight.val(), self.key_norm.weight.val()];
        let rotation = context.rope.tables();
        let (norms, eps) = (norms.each_ref(), self.query_norm.epsilon);
        if let Some(y) = crate::cpu::attention(
            &qkv,
            heads,
            norms,
            rotation,
            context.mask,
            context.kv_cache,
            eps,
        ) {
            return self.out.forward(y);
        }
        let [q, k, v] = self.heads(qkv, context.rope, heads);
        let [k, v] = match context.kv_cache {
            Some([keys, values]) => [(keys, k), (values, v)]
                .map(|(cached, own)| Tensor::cat(vec![cached.clone(), own], 2)),
            None => [k, v],
        };
        let mask = context.mask.map(|mask| mask.clone().unsqueeze_dim(1));
        let y = gpu::attention(q, k, v, mask);
        let y = y.swap_dims(1, 2).reshape([b, n, d]);
        self.out.forward(y)
    }

    /// Returns queries, keys and values `[b, h, n, head_dim]`; queries and keys are normalised and rotated.
    fn heads(&self, qkv: Tensor<3>, rope: &Rope, heads: usize) -> [Tensor<4>; 3] {
        let norms = [self.query_norm.weight.val(), self.key_norm.weight.val()];
        let (norms, eps) = (norms.each_ref(), self.query_norm.epsilon);
        gpu::rotated(&qkv, heads, norms, rope.tables(), eps)
            .unwrap_or_else(|| self.plain_heads(qkv, rope, heads))
    }

    /// [`Self::heads`] in plain tensor operations.
    fn plain_heads(&self, qkv: Tensor<3>, rope: &Rope, heads: usize) -> [Tensor<4>; 3] {
        let [b, n, triple] = qkv.dims();
        let qkv = qkv
            .reshape([b, n, 3, heads, triple / 3 / heads])
            .permute([2, 0, 3, 1, 4]); // [3, b, h, n, head_dim]
        let part = |i| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
        [
            rope.rotate(self.query_norm.forward(part(0))),
            rope.rotate(self.key_norm.forward(part(1))),
            part(2),
        ]
    }
}

/// Normalises each token to mean 0 and variance 1 (layer norm without parameters).
pub fn norm(x: Tensor<3>, eps: f64) -> Tensor<3> {
    let ones = Tensor::ones([x.dims()[2]], &x.device());
    layer_norm(x, ones, None, eps)
}

fn row(table: &Table, index: usize) -> Tensor<3> {
    table.weight.val().narrow(0, index, 1).unsqueeze()
}

fn chunks<const N: usize>(x: Tensor<3>) -> [Tensor<3>; N] {
    let d = x.dims()[2] / N;
    std::array::from_fn(|i| x.clone().narrow(2, i * d, d))
}
