//! Pictures of a pack, as every evaluation asks for them.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::location::Location;
use crate::open_device;
use unireal::Image;
use unireal::Pipeline;
use unireal::Request;
use unireal::internals::gpu::device::Choice;
use unireal::internals::weights::load::Plan;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

/// How a pack's pictures are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Sampling {
    /// Sampler steps; the pack's own number when left out
    #[arg(long)]
    pub steps: Option<usize>,
    /// Text guidance
    #[arg(long, default_value_t = 2.0)]
    pub guidance: f32,
    /// Image guidance
    #[arg(long, default_value_t = 1.0)]
    pub image_guidance: f32,
    /// Take every pixel from the model, also where the edit leaves the canvas alone
    #[arg(long)]
    pub no_keep: bool,
    /// auto, cpu, gpu or gpu-f16
    #[arg(long, default_value = "cpu")]
    #[serde(skip)]
    pub device: Choice,
}

impl Sampling {
    /// A pack that is ready, and a hash of its weights.
    ///
    /// # Errors
    /// As the loader's.
    pub(super) async fn open(&self, pack: &str) -> Result<(Pipeline, String)> {
        let source = Location::new(pack);
        let plan = Plan::read(&source).await?;
        let mut hash = Sha256::new();
        for shard in plan.shards() {
            hash.update(&shard.sha256);
        }
        let opened = open_device(self.device).await?;
        let pipeline = Pipeline::load(plan, &source, opened.device, &mut |_| {}).await?;
        Ok((pipeline, hex(&hash.finalize())))
    }

    /// The request's picture, sampled as asked for.
    ///
    /// # Errors
    /// As the pipeline's.
    pub(super) async fn picture(&self, pipeline: &Pipeline, mut request: Request) -> Result<Image> {
        request.steps = self.steps;
        request.guidance = self.guidance;
        request.image_guidance = self.image_guidance;
        request.composite = !self.no_keep;
        let go_on = async |_| ControlFlow::Continue(());
        let images = pipeline.generate(&request, go_on).await?;
        let first = images.into_iter().next();
        first.ok_or_else(|| Error::Internal("no picture came".into()))
    }
}
