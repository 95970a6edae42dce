//! Images and text as one sequence (paper, section 3.1 and figure 2): frames become tokens; an index embedding ties
//! each image to its word in the text, a category embedding says what an input is for.
//!
//! Order: text, input frames, output frames. Only output frames change while sampling, so a [`Sequence`] holds the
//! tokens of everything before them, the positions of all, and where each output frame lies.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::rope::Rope;
use super::text::HIDDEN;
use crate::config::{Attention, Conditioning, TransformerConfig};
use crate::error::{Error, Result};
use crate::request::Role;

/// What the text encoder made of a batch of prompts.
#[derive(Clone, Debug)]
pub struct TextStates {
    /// `[b, n, text_dim]`.
    pub states: Tensor<3>,
    /// `[b, n]`, the word that each token is, see [`ImageRef::row`].
    pub image_refs: Tensor<2, Int>,
    /// `[b, n]`, 1 for tokens and 0 for padding; `None` when nothing is padded.
    pub mask: Option<Tensor<2>>,
}

impl TextStates {
    /// One prompt of a batch without its padding: its first `n` tokens.
    pub fn sample(&self, index: usize, n: usize) -> Self {
        TextStates {
            states: self.states.clone().narrow(0, index, 1).narrow(1, 0, n),
            image_refs: self.image_refs.clone().narrow(0, index, 1).narrow(1, 0, n),
            mask: None,
        }
    }
}

/// A token that names an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// Any other token.
    None,
    /// IMGk, k from 1.
    Input(usize),
    /// RESk, k from 1.
    Output(usize),
}

impl ImageRef {
    /// The row in the table (nothing, inputs, outputs) of index embeddings.
    pub fn row(self, config: &TransformerConfig) -> i32 {
        let row = match self {
            ImageRef::None => 0,
            ImageRef::Input(k) if k <= config.max_inputs => k,
            ImageRef::Output(k) if k <= config.max_outputs => config.max_inputs + k,
            ImageRef::Input(_) | ImageRef::Output(_) => 0,
        };
        row as i32
    }
}

/// An input image, encoded.
#[derive(Clone, Debug)]
pub struct InputFrame {
    /// `[b, c, y, x]`.
    pub latent: Tensor<4>,
    /// What it is for.
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
    /// The tokens of a latent.
    pub fn of(latent: &Tensor<4>, patch: usize) -> Self {
        let [_, _, y, x] = latent.dims();
        Grid {
            rows: y / patch,
            columns: x / patch,
        }
    }

    /// How many tokens.
    pub fn tokens(self) -> usize {
        self.rows * self.columns
    }

    fn positions(self, frame: f32) -> impl Iterator<Item = [f32; 3]> {
        (0..self.tokens())
            .map(move |i| [frame, (i / self.columns) as f32, (i % self.columns) as f32])
    }
}

/// Everything that stays while the output frames are denoised.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Text and input tokens that every step computes, `[b, n_clean, d]`; `None` when there are none.
    pub clean: Option<Tensor<3>>,
    /// The canvas's latent `[b, c, y, x]`, where it is channels of the output; see [`crate::config::Conditioning`].
    pub canvas: Option<Tensor<4>>,
    /// The output frames, RES1 first.
    pub outputs: Vec<Grid>,
    /// Positions of the clean tokens and of the outputs'.
    pub rope: Rope,
    /// Added to the attention scores, `[1 or b, n, n]`; `None` when everything may be seen.
    pub mask: Option<Tensor<3>>,
    /// Keys and values `[b, h, m, head_dim]` of further clean tokens, for each block, that were computed once; empty when there are
    /// none.
    pub kv_cache: Vec<[Tensor<4>; 2]>,
}

/// Where the tokens lie: the geometry of a sequence, without values.
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

    /// Which tokens see only one another.
    fn apart(&self, attention: Attention) -> Range<usize> {
        let [_, others] = self.split(attention);
        others.clean_tokens()..self.clean_tokens()
    }

    /// The layout of the tokens that see only one another, and that of the others.
    pub fn split(&self, attention: Attention) -> [Layout; 2] {
        let nothing = Layout {
            text: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let (mut apart, mut others) = (nothing, self.clone());
        if attention != Attention::Full {
            apart.inputs = std::mem::take(&mut others.inputs);
        }
        if attention == Attention::CleanApart {
            apart.text = std::mem::take(&mut others.text);
        }
        [apart, others]
    }

    /// How many tokens are text or of input images.
    pub fn clean_tokens(&self) -> usize {
        self.text + self.input_tokens()
    }

    /// Rotary positions. Choice: text stays unrotated, since T5's states know their order; input k stands at frame k
    /// and output k at frame -k, so that a frame's position does not depend on how many others there are.
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

    /// What [`Attention`] and the text's padding hide, as `[1 or b, n, n]`.
    pub fn mask(
        &self,
        attention: Attention,
        text: &TextStates,
        device: &Device,
    ) -> Option<Tensor<3>> {
        let n = self.tokens();
        let padding = text.mask.clone().map(|mask| {
            let [b, n_text] = mask.dims();
            let hidden = mask
                .sub_scalar(1.0)
                .mul_scalar(-HIDDEN)
                .reshape([b, 1, n_text]);
            let shown = Tensor::zeros([b, 1, n - n_text], device);
            Tensor::cat(vec![hidden, shown], 2).expand([b, n, n])
        });
        let apart = self.apart(attention);
        let apart = (!apart.is_empty()).then(|| {
            let hidden: Vec<f32> = (0..n * n)
                .map(|i| {
                    let (query, key) = (i / n, i % n);
                    let allowed = !apart.contains(&query) || apart.contains(&key);
                    if allowed { 0.0 } else { HIDDEN }
                })
                .collect();
            Tensor::from_data(TensorData::new(hidden, [1, n, n]), device)
        });
        match (padding, apart) {
            (Some(padding), Some(apart)) => Some(padding + apart),
            (padding, apart) => padding.or(apart),
        }
    }
}

/// Whether a network takes such inputs and makes so many outputs.
///
/// # Errors
/// [`Error::Request`] for more than it has places for, and where the canvas is channels and something else is asked for.
pub fn check_frames(config: &TransformerConfig, inputs: &[Role], outputs: usize) -> Result<()> {
    if config.conditioning == Conditioning::Frames {
        for (what, count, most) in [
            ("input pictures", inputs.len(), config.max_inputs),
            ("output pictures", outputs, config.max_outputs),
        ] {
            if count > most {
                return Err(Error::Request(format!(
                    "{count} {what}; this model has places for {most} at most"
                )));
            }
        }
        return Ok(());
    }
    if matches!(inputs, [] | [Role::Canvas]) && outputs == 1 {
        return Ok(());
    }
    let roles: Vec<_> = inputs.iter().map(|role| role.name()).collect();
    Err(Error::Request(format!(
        "this model sees its canvas as channels: it takes one canvas or nothing and makes one picture, not {outputs} from [{}]",
        roles.join(", ")
    )))
}

/// Latents to patches: cells of a `p` x `p` patch become one token's features, ordered (c, py, px).
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
