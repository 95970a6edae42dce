//! Memory requirements of a pack, known before any weight is fetched.

use serde::Serialize;

use super::load::Plan;
use super::manifest::Manifest;
use super::quant::Encoding;

/// Memory requirements on the device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// All weights, approximately: quantised ones as stored, others as f32.
    pub weights: u64,
    /// Peak of the activations, estimated from the shapes: one image of the model's native size, with one input image and guidance.
    pub activations: u64,
    /// The largest matrix, which must fit into one GPU buffer.
    pub largest: u64,
}

/// Number of text tokens assumed for the estimate of activations.
const TEXT: u64 = 64;
/// Branches of classifier-free guidance that go through the network together.
const BRANCHES: u64 = 2;
/// Bytes of an f32.
const FLOAT: u64 = 4;

impl Plan {
    /// Returns the memory requirements of the pack.
    pub fn needs(&self) -> Needs {
        // f16 values become f32 on the device. The autoencoder's convolutions are never quantised.
        let f16_values = |manifest: &Manifest| match manifest.encoding {
            Encoding::F32 => false,
            Encoding::F16 => true,
            Encoding::Q8 | Encoding::Q4 => manifest.component == "vae",
        };
        let on_device = |manifest: &Manifest| {
            if f16_values(manifest) {
                2 * manifest.bytes()
            } else {
                manifest.bytes()
            }
        };
        let (text, network, vae) = (
            &self.config.text_encoder,
            &self.config.transformer,
            &self.config.vae,
        );
        let d = network.hidden_size as u64;
        let encodings = self.encodings();
        let matrix = |values: u64, encoding| match encoding {
            Encoding::F32 | Encoding::F16 => FLOAT * values,
            Encoding::Q8 => values,
            Encoding::Q4 => values / 2,
        };
        let widest = vae.block_out_channels.iter().copied().max().unwrap_or(0) as u64;
        let largest = [
            // The modulation that all blocks share.
            matrix(6 * d * d, encodings.transformer),
            matrix((text.d_ff * text.d_model) as u64, encodings.text_encoder),
            // Embedding tables are never quantised.
            matrix((text.vocab_size * text.d_model) as u64, Encoding::F32),
            matrix(9 * widest * widest, encodings.vae),
        ];
        let side = self.config.index.sample_size as u64;
        let across = side / self.config.grid() as u64;
        let tokens = BRANCHES * (TEXT + 2 * across * across);
        // Each token, with its queries, keys and values or with its feed-forward hidden layer.
        let steps = FLOAT * tokens * (2 * d + (3 * d).max(network.mlp_dim() as u64));
        // The decoder's last level: input and output of a convolution, and the residual.
        let channels = vae.block_out_channels.iter().take(2).max();
        let images = 3 * FLOAT * side * side * channels.copied().unwrap_or(0) as u64;
        Needs {
            weights: self.manifests.iter().map(on_device).sum(),
            activations: steps.max(images),
            largest: largest.into_iter().max().unwrap_or(0),
        }
    }
}
