//! The networks. Nothing here knows of files, addresses or JavaScript; parameters are lazy until a loader or a trainer
//! fills them.

pub mod linear;
pub mod rope;
pub mod sequence;
pub mod text;
pub mod transformer;
pub mod vae;

use burn::tensor::Device;

use crate::config::Config;
use crate::weights::quant::Encoding;
use text::TextEncoder;
use transformer::Transformer;
use vae::Autoencoder;

/// How the linear layers of each network are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodings {
    /// Of the text encoder.
    pub text_encoder: Encoding,
    /// Of the transformer.
    pub transformer: Encoding,
    /// Of the autoencoder's attention; its convolutions are always floats.
    pub vae: Encoding,
}

impl Encodings {
    /// Those of them that stay quantised on the device.
    pub fn quantized(self) -> Vec<Encoding> {
        let used = [self.text_encoder, self.transformer, self.vae];
        let all = Encoding::QUANTIZED.into_iter();
        all.filter(|encoding| used.contains(encoding)).collect()
    }

    /// Floats everywhere, as training needs.
    pub const FLOAT: Encodings = Encodings {
        text_encoder: Encoding::F32,
        transformer: Encoding::F32,
        vae: Encoding::F32,
    };
}

/// The three networks.
#[derive(Debug)]
pub struct Model {
    /// Tokens to states.
    pub text: TextEncoder,
    /// Pictures to latents and back.
    pub vae: Autoencoder,
    /// Sequence and time to velocity.
    pub transformer: Transformer,
}

impl Model {
    /// Networks of this shape with lazy random parameters.
    pub fn new(config: &Config, encodings: Encodings, device: &Device) -> Self {
        Model {
            text: TextEncoder::new(&config.text_encoder, encodings.text_encoder, device),
            vae: Autoencoder::new(&config.vae, encodings.vae, device),
            transformer: Transformer::new(&config.transformer, encodings.transformer, device),
        }
    }
}
