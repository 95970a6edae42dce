//! CLIP (Radford et al., 2021) as in openai's code and transformers' `CLIPModel`: an image and a text tower with a joint
//! embedding space.
//! <https://github.com/openai/CLIP/blob/main/clip/model.py>

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{ClipShape, Text};
use super::vit::{Block, Family, LayerNorm, VisionTower, blocks};
use unireal::internals::model::linear::{Bias, Linear};
use unireal::internals::model::text::{MASKED, Table, embed};
use unireal::internals::weights::quant::Encoding;

/// Maps images and captions to embeddings in a joint space.
#[derive(Module, Debug)]
pub struct Clip {
    vision: VisionTower,
    visual_projection: Linear,
    text: TextTower,
    text_projection: Linear,
    /// The logarithm of the factor by which training scales cosine similarities, `[1]`.
    pub logit_scale: Param<Tensor<1>>,
}

/// The text transformer, with causal attention.
#[derive(Module, Debug)]
struct TextTower {
    tokens: Table,
    positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl TextTower {
    fn new(shape: &Text, device: &Device) -> Self {
        let d = shape.tower.hidden_size;
        let small = Initializer::Normal {
            mean: 0.0,
            std: 0.01,
        };
        TextTower {
            tokens: Table::new(shape.vocab_size, d, device),
            positions: small.init([shape.max_position_embeddings, d], device),
            blocks: blocks(&shape.tower, false, device),
            norm: LayerNorm::new(d, shape.tower.layer_norm_eps, device),
        }
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, n] = ids.dims();
        let device = ids.device();
        let causal: Vec<f32> = (0..n * n)
            .map(|i| if i % n > i / n { MASKED } else { 0.0 })
            .collect();
        let mask = Tensor::<3>::from_data(TensorData::new(causal, [1, n, n]), &device);
        let positions = self.positions.val().narrow(0, 0, n);
        let mut x = embed(self.tokens.weight.val(), ids) + positions.unsqueeze();
        for block in &self.blocks {
            x = block.forward(x, Some(&mask));
        }
        self.norm.forward(x)
    }
}

impl Clip {
    /// Creates a CLIP of this shape with lazy random parameters.
    pub fn new(shape: &ClipShape, device: &Device) -> Self {
        let (vision, text) = (&shape.vision_config, &shape.text_config);
        let project =
            |width| Linear::new(width, shape.projection_dim, Bias::No, Encoding::F32, device);
        Clip {
            vision: VisionTower::new(vision, vision.image_size, Family::Clip, device),
            visual_projection: project(vision.tower.hidden_size),
            text: TextTower::new(text, device),
            text_projection: project(text.tower.hidden_size),
            logit_scale: Initializer::Constant {
                value: (1.0f64 / 0.07).ln(),
            }
            .init([1], device),
        }
    }

    /// Returns the image embeddings.
    ///
    /// # Shapes
    /// Patches `[b, n, 3 p^2]` to `[b, d]`.
    pub fn images(&self, patches: Tensor<3>) -> Tensor<2> {
        let state = self.vision.forward(patches);
        self.visual_projection.forward(state).squeeze_dim::<2>(1)
    }

    /// Returns the projected state at each text's end token; tokens after the end have no influence.
    ///
    /// # Shapes
    /// Ids `[b, n]`, one entry of `ends` per text, to `[b, d]`.
    pub fn texts(&self, ids: Tensor<2, Int>, ends: &[usize]) -> Tensor<2> {
        let [b, n] = ids.dims();
        let device = ids.device();
        let x = self.text.forward(ids);
        let d = x.dims()[2];
        let rows: Vec<i32> = ends
            .iter()
            .enumerate()
            .map(|(i, end)| (i * n + end) as i32)
            .collect();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [b]), &device);
        let pooled = x.reshape([b * n, d]).select(0, rows);
        self.text_projection
            .forward(pooled.reshape([b, 1, d]))
            .squeeze_dim::<2>(1)
    }
}
