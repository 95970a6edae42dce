//! Images and text as one sequence (paper, section 3.1 and figure 2). Frames become tokens. An index embedding ties each image to
//! its IMGk or RESk token in the text, and a category embedding encodes the role of an input.
//!
//! Order: text, input frames, output frames. Only output frames change during sampling, so a [`Sequence`] holds the text and
//! input tokens, the positions of all tokens, and the size of each output frame.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::rope::Rope;
use super::text::MASKED;
use crate::config::{Attention, TransformerConfig};
use crate::error::{Error, Result};
use crate::request::Role;

/// The text encoder's output for a batch of prompts.
#[derive(Clone, Debug)]
pub struct TextStates {
    /// `[b, n, text_dim]`.
    pub states: Tensor<3>,
    /// The image reference of each token, `[b, n]`, see [`ImageRef::row`](crate::request::ImageRef::row).
    pub image_refs: Tensor<2, Int>,
    /// `[b, n]`, 1 for tokens and 0 for padding; `None` when nothing is padded.
    pub mask: Option<Tensor<2>>,
}

impl TextStates {
    /// Returns one prompt of a batch without its padding: its first `n` tokens.
    pub fn sample(&self, index: usize, n: usize) -> Self {
        TextStates {
            states: self.states.clone().narrow(0, index, 1).narrow(1, 0, n),
            image_refs: self.image_refs.clone().narrow(0, index, 1).narrow(1, 0, n),
            mask: None,
        }
    }
}

/// An encoded input image.
#[derive(Clone, Debug)]
pub struct InputFrame {
    /// `[b, c, y, x]`.
    pub latent: Tensor<4>,
    /// The role of the image.
    pub role: Role,
}

/// Height and width of a frame in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Grid {
    /// Returns the token grid of a latent, with patches of side `patch`.
    pub fn of(latent: &Tensor<4>, patch: usize) -> Self {
        let [_, _, y, x] = latent.dims();
        Grid {
            rows: y / patch,
            columns: x / patch,
        }
    }

    /// Returns the number of tokens.
    pub fn tokens(self) -> usize {
        self.rows * self.columns
    }

    fn positions(self, frame: f32) -> impl Iterator<Item = [f32; 3]> {
        (0..self.tokens())
            .map(move |i| [frame, (i / self.columns) as f32, (i % self.columns) as f32])
    }
}

/// The inputs of the transformer that are constant during sampling.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Text and input tokens that every step computes, `[b, n_clean, d]`; `None` when there are none.
    pub clean: Option<Tensor<3>>,
    /// The output frames, RES1 first.
    pub outputs: Vec<Grid>,
    /// Rotary tables of the clean tokens, then of the output tokens.
    pub rope: Rope,
    /// Mask `[1 or b, n, n]` that is added to the attention scores; `None` when nothing is masked.
    pub mask: Option<Tensor<3>>,
    /// KV cache of the other clean tokens: keys and values `[b, h, m, head_dim]` for each block; empty when there are none.
    pub kv_cache: Vec<[Tensor<4>; 2]>,
}

/// The geometry of a sequence: the number of text tokens and the size of each frame, without values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of text tokens.
    pub text: usize,
    /// Input frames, IMG1 first.
    pub inputs: Vec<Grid>,
    /// Output frames, RES1 first.
    pub outputs: Vec<Grid>,
}

impl Layout {
    fn input_tokens(&self) -> usize {
        self.inputs.iter().map(|grid| grid.tokens()).sum()
    }

    fn tokens(&self) -> usize {
        let outputs: usize = self.outputs.iter().map(|grid| grid.tokens()).sum();
        self.clean_tokens() + outputs
    }

    /// Returns the range of the tokens that no step changes.
    fn cacheable(&self, attention: Attention) -> Range<usize> {
        let [_, per_step] = self.split_cacheable(attention);
        per_step.clean_tokens()..self.clean_tokens()
    }

    /// Returns the layout of the tokens that no step changes, because they do not attend to noise, and of those that every step
    /// computes.
    pub fn split_cacheable(&self, attention: Attention) -> [Layout; 2] {
        let nothing = Layout {
            text: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let (mut cacheable, mut per_step) = (nothing, self.clone());
        if attention != Attention::Full {
            cacheable.inputs = std::mem::take(&mut per_step.inputs);
        }
        if attention == Attention::CleanApart {
            cacheable.text = std::mem::take(&mut per_step.text);
        }
        [cacheable, per_step]
    }

    /// Returns the number of tokens of text and input images.
    pub fn clean_tokens(&self) -> usize {
        self.text + self.input_tokens()
    }

    /// Returns the rotary tables. Choice: text is not rotated, since T5's states encode their order. Input k has frame position k
    /// and output k has -k, so a frame's position does not depend on the number of other frames.
    pub fn rope(&self, config: &TransformerConfig, device: &Device) -> Rope {
        let mut positions = vec![[0.0; 3]; self.text];
        for (k, grid) in self.inputs.iter().enumerate() {
            positions.extend(grid.positions(1.0 + k as f32));
        }
        for (k, grid) in self.outputs.iter().enumerate() {
            positions.extend(grid.positions(-1.0 - k as f32));
        }
        Rope::new(&positions, config.axes_dims, config.rope_theta, device)
    }

    /// Returns the mask for [`Attention`] and the text's padding, `[1 or b, n, n]`; `None` when nothing is masked.
    pub fn mask(
        &self,
        attention: Attention,
        text: &TextStates,
        device: &Device,
    ) -> Option<Tensor<3>> {
        let n = self.tokens();
        let padding = text.mask.clone().map(|mask| {
            let [b, n_text] = mask.dims();
            let text = mask
                .neg()
                .add_scalar(1.0)
                .mul_scalar(MASKED)
                .reshape([b, 1, n_text]);
            let images = Tensor::zeros([b, 1, n - n_text], device);
            Tensor::cat(vec![text, images], 2).expand([b, n, n])
        });
        let cacheable = self.cacheable(attention);
        let directions = (!cacheable.is_empty()).then(|| {
            let scores: Vec<f32> = (0..n * n)
                .map(|i| {
                    let (query, key) = (i / n, i % n);
                    let allowed = !cacheable.contains(&query) || cacheable.contains(&key);
                    if allowed { 0.0 } else { MASKED }
                })
                .collect();
            Tensor::from_data(TensorData::new(scores, [1, n, n]), device)
        });
        match (padding, directions) {
            (Some(padding), Some(directions)) => Some(padding + directions),
            (padding, directions) => padding.or(directions),
        }
    }
}

/// Checks that a model supports this number of input and output images.
///
/// # Errors
/// [`Error::Request`] for more images than the model supports.
pub fn check_frames(config: &TransformerConfig, inputs: usize, outputs: usize) -> Result<()> {
    for (what, count, most) in [
        ("input images", inputs, config.max_inputs),
        ("output images", outputs, config.max_outputs),
    ] {
        if count > most {
            return Err(Error::Request(format!(
                "{count} {what}, expected at most {most}, the places that this model has"
            )));
        }
    }
    Ok(())
}

/// Converts latents to patches: the cells of a `p` x `p` patch become one token's features, ordered (c, py, px).
///
/// # Shapes
/// `[b, c, y, x]` to `[b, (y / p) (x / p), c p p]`.
pub fn patchify(latent: Tensor<4>, p: usize) -> Tensor<3> {
    let [b, c, y, x] = latent.dims();
    latent
        .reshape([b, c, y / p, p, x / p, p])
        .permute([0, 2, 4, 1, 3, 5]) // [b, y, x, c, py, px]
        .reshape([b, (y / p) * (x / p), c * p * p])
}

/// The inverse of [`patchify`].
///
/// # Shapes
/// `[b, n, c p p]` to `[b, c, p rows, p columns]`.
pub fn unpatchify(tokens: Tensor<3>, grid: Grid, p: usize) -> Tensor<4> {
    let [b, _, features] = tokens.dims();
    let c = features / (p * p);
    tokens
        .reshape([b, grid.rows, grid.columns, c, p, p])
        .permute([0, 3, 1, 4, 2, 5]) // [b, c, y, py, x, px]
        .reshape([b, c, grid.rows * p, grid.columns * p])
}
