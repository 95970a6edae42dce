//! The networks, independent of files, URLs and JavaScript. Parameters are lazy until a loader or a trainer fills them.

pub mod linear;
pub mod rope;
pub mod sequence;
pub mod text;
pub mod tokens;
pub mod transformer;
pub mod vae;

use burn::tensor::Device;

use crate::config::Config;
use crate::weights::quant::Encoding;
use text::TextEncoder;
use transformer::Transformer;
use vae::Autoencoder;

/// The encodings of the linear layers of each network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodings {
    /// The text encoder's.
    pub text_encoder: Encoding,
    /// The transformer's.
    pub transformer: Encoding,
    /// That of the autoencoder's attention; its convolutions are always floats.
    pub vae: Encoding,
}

impl Encodings {
    /// Returns the encodings among these that stay quantised on the device.
    pub fn quantized(self) -> Vec<Encoding> {
        let used = [self.text_encoder, self.transformer, self.vae];
        let all = Encoding::QUANTIZED.into_iter();
        all.filter(|encoding| used.contains(encoding)).collect()
    }

    /// 32-bit floats everywhere, as training needs.
    pub const FLOAT: Encodings = Encodings {
        text_encoder: Encoding::F32,
        transformer: Encoding::F32,
        vae: Encoding::F32,
    };
}

/// The three networks.
#[derive(Debug)]
pub struct Model {
    /// Token ids to text states.
    pub text: TextEncoder,
    /// Images to latents and back.
    pub vae: Autoencoder,
    /// Sequence and time to velocity.
    pub transformer: Transformer,
}

impl Model {
    /// Creates the networks of `config` with lazy parameters.
    pub fn new(config: &Config, encodings: Encodings, device: &Device) -> Self {
        Model {
            text: TextEncoder::new(&config.text_encoder, encodings.text_encoder, device),
            vae: Autoencoder::new(&config.vae, encodings.vae, device),
            transformer: Transformer::new(&config.transformer, encodings.transformer, device),
        }
    }
}
