//! Generates images with a pack, with the options that all evaluations share.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::location::Location;
use unireal::Image;
use unireal::Pipeline;
use unireal::Request;
use unireal::internals::gpu::device::Choice;
use unireal::internals::loader::open;
use unireal::internals::weights::load::Plan;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

/// Sampling options of a pack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Sampling {
    /// Number of sampler steps; default: the pack's own
    #[arg(long)]
    pub steps: Option<usize>,
    /// Text guidance scale; default: the pack's own
    #[arg(long)]
    pub guidance: Option<f32>,
    /// Image guidance scale
    #[arg(long, default_value_t = 1.0)]
    pub image_guidance: f32,
    /// Take every pixel from the model instead of compositing its changes onto the canvas
    #[arg(long, alias = "no-keep")]
    #[serde(alias = "no_keep")]
    pub no_composite: bool,
    /// auto, cpu, gpu or gpu-f16
    #[arg(long, default_value = "cpu")]
    #[serde(skip)]
    pub device: Choice,
}

impl Sampling {
    /// Loads a pack; returns the pipeline and a hash of its weights.
    ///
    /// # Errors
    /// Errors of the loader.
    pub(super) async fn open(&self, pack: &str) -> Result<(Pipeline, String)> {
        let source = Location::new(pack);
        let plan = Plan::read(&source).await?;
        let mut hash = Sha256::new();
        for shard in plan.shards() {
            hash.update(&shard.sha256);
        }
        let opened = open(self.device).await?;
        let pipeline = Pipeline::load(plan, &source, opened, &mut |_| {}).await?;
        Ok((pipeline, hex(&hash.finalize())))
    }

    /// Generates the image of a request with these options.
    ///
    /// # Errors
    /// Errors of the pipeline.
    pub(super) async fn image(&self, pipeline: &Pipeline, mut request: Request) -> Result<Image> {
        request.steps = self.steps;
        request.guidance = self.guidance;
        request.image_guidance = self.image_guidance;
        request.composite = !self.no_composite;
        let images = pipeline.generate(&request).await?;
        let first = images.into_iter().next();
        first.ok_or_else(|| Error::Internal("result: no image, expected one".into()))
    }
}
