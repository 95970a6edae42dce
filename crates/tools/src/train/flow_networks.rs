//! The networks that flow stages train, and their losses on a micro-batch.

use burn::module::Module;
use burn::tensor::Device;

use super::batch::MicroBatch;
use super::curve::ASIDE;
use super::flow::{grounded_losses, grounding_losses};
use super::grounding::Grounding;
use super::stage::Losses;
use unireal::internals::config::Config;
use unireal::internals::model::text::TextEncoder;
use unireal::internals::model::transformer::Transformer;
use unireal::internals::weights::quant::Encoding;

/// Text encoder, transformer and the head of the grounding loss, which flow stages train together.
#[derive(Module, Debug)]
pub(super) struct FlowNetworks {
    pub(super) text: TextEncoder,
    pub(super) transformer: Transformer,
    pub(super) grounding: Grounding,
}

impl FlowNetworks {
    /// Initialises new networks.
    pub(super) fn new(config: &Config, device: &Device) -> Self {
        FlowNetworks {
            text: TextEncoder::new(&config.text_encoder, Encoding::F32, device),
            transformer: Transformer::new(&config.transformer, Encoding::F32, device),
            grounding: Grounding::new(&config.transformer, device),
        }
    }

    /// Returns the flow loss plus `weight` times the grounding loss, or only the latter if the micro-batch is `grounding_only`.
    /// `patch` is the transformer's patch size.
    pub(super) fn losses(
        &self,
        batch: &MicroBatch,
        patch: usize,
        weight: f64,
        device: &Device,
    ) -> Losses {
        let tensors = batch.batch(&self.text, device);
        let (transformer, grounding) = (&self.transformer, &self.grounding);
        if batch.grounding_only
            && let Some(shown) = grounding_losses(transformer, grounding, patch, &tensors)
        {
            let name = |name: &String| format!("{ASIDE}{name}");
            return Losses {
                losses: shown.clone() * weight,
                shown,
                names: batch.names.iter().map(name).collect(),
            };
        }
        let (shown, grounded) = grounded_losses(transformer, grounding, patch, &tensors);
        Losses {
            losses: match grounded {
                Some(grounded) => shown.clone() + grounded * weight,
                None => shown.clone(),
            },
            shown,
            names: batch.names.clone(),
        }
    }
}
