//! The networks that flow stages train, and their losses on a micro-batch.

use burn::module::Module;
use burn::tensor::Device;

use super::batch::MicroBatch;
use super::curve::GROUNDING_PREFIX;
use super::flow::{grounded_losses, grounding_losses};
use super::grounding::Grounding;
use super::initialise;
use super::task::Losses;
use unireal::internals::config::Config;
use unireal::internals::model::text::TextEncoder;
use unireal::internals::model::transformer::Transformer;

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
            text: initialise::text_encoder(&config.text_encoder, device),
            transformer: initialise::transformer(&config.transformer, device),
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
            && let Some(logged) = grounding_losses(transformer, grounding, patch, &tensors)
        {
            let name = |name: &String| format!("{GROUNDING_PREFIX}{name}");
            return Losses {
                losses: logged.clone() * weight,
                logged,
                names: batch.names.iter().map(name).collect(),
            };
        }
        let (logged, grounded) = grounded_losses(transformer, grounding, patch, &tensors);
        Losses {
            losses: match grounded {
                Some(grounded) => logged.clone() + grounded * weight,
                None => logged.clone(),
            },
            logged,
            names: batch.names.clone(),
        }
    }
}
