//! Batches of tokens.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::Config;
use crate::tokenizer::Tokens;

/// Tokens of several texts in CPU memory, padded to the longest, `[b, n]`.
#[derive(Debug)]
pub struct TokenData {
    /// Vocabulary ids.
    pub(crate) ids: TensorData,
    /// Rows of the transformer's table of image references.
    pub(crate) image_refs: TensorData,
    /// 1 for tokens and 0 for padding; `None` when nothing is padded.
    pub(crate) mask: Option<TensorData>,
}

impl TokenData {
    /// Pads the texts' tokens to the longest.
    pub fn new(texts: &[&Tokens], config: &Config) -> Self {
        let n = texts.iter().map(|t| t.ids.len()).max().unwrap_or(0);
        let b = texts.len();
        let (mut ids, mut refs, mut mask) =
            (vec![0i32; b * n], vec![0i32; b * n], vec![0f32; b * n]);
        for (i, text) in texts.iter().enumerate() {
            for (j, (id, image_ref)) in text.ids.iter().zip(&text.image_refs).enumerate() {
                ids[i * n + j] = *id as i32;
                refs[i * n + j] = image_ref.row(&config.transformer);
                mask[i * n + j] = 1.0;
            }
        }
        let padded = mask.contains(&0.0);
        TokenData {
            ids: TensorData::new(ids, [b, n]),
            image_refs: TensorData::new(refs, [b, n]),
            mask: padded.then(|| TensorData::new(mask, [b, n])),
        }
    }

    /// Copies ids, image references and padding mask to a device.
    pub fn on(&self, device: &Device) -> (Tensor<2, Int>, Tensor<2, Int>, Option<Tensor<2>>) {
        let ints = |data: &TensorData| Tensor::from_data(data.clone(), device);
        let mask = self.mask.as_ref();
        (
            ints(&self.ids),
            ints(&self.image_refs),
            mask.map(|mask| Tensor::from_data(mask.clone(), device)),
        )
    }
}

/// Returns ids, image references and padding mask of texts, padded to the longest; the mask is `None` when none is padded.
pub fn batch_tokens(
    texts: &[&Tokens],
    config: &Config,
    device: &Device,
) -> (Tensor<2, Int>, Tensor<2, Int>, Option<Tensor<2>>) {
    TokenData::new(texts, config).on(device)
}
