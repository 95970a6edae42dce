//! The interface of a stage to the training loop: its networks, its micro-batches, and the files that it writes.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::evaluate::requests::Milestone;
use unireal::{Image, Result};

/// Losses of a micro-batch.
pub(super) struct Losses {
    /// The losses that are minimised, `[b]`.
    pub(super) losses: Tensor<1>,
    /// The losses that the curves show, `[b]`.
    pub(super) logged: Tensor<1>,
    /// The kind of each sample.
    pub(super) names: Vec<String>,
}

/// The interface of a stage to the training loop.
pub(super) trait Task: Sync {
    /// The networks that the task trains.
    type Module: Module + Sync;
    /// A micro-batch, prepared in CPU memory.
    type MicroBatch: Send + Sync + 'static;
    /// Returns the device, with autodiff enabled.
    fn device(&self) -> &Device;
    /// Initialises new networks.
    fn fresh(&self) -> Self::Module;
    /// Reads the networks that the run's folder holds as a pack; `None` if it holds none.
    fn published(&self, run: &Path) -> Result<Option<Self::Module>>;
    /// Draws one group of a batch as `count` micro-batches of equal size. Called by the thread that prepares batches.
    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Self::MicroBatch>>;
    /// Computes the losses of a micro-batch on a device.
    fn losses(
        &self,
        module: &Self::Module,
        batch: &Self::MicroBatch,
        on: &Device,
    ) -> Result<Losses>;
    /// Returns micro-batches of held-out samples, the same each time; empty if no samples are held out.
    fn held_out(&self) -> Result<Vec<Self::MicroBatch>>;
    /// Returns an image of the averaged networks' results for fixed samples; `None` if there is none.
    fn preview(&self, averaged: &Self::Module) -> Result<Option<Image>>;
    /// Returns a contact sheet and scores of the averaged networks; `None` for networks without milestones.
    ///
    /// # Errors
    /// Errors of the networks.
    fn milestone(&self, _averaged: &Self::Module) -> Result<Option<Milestone>> {
        Ok(None)
    }
    /// Writes the averaged networks to the run's folder as a pack.
    fn publish(&self, averaged: &Self::Module, run: &Path) -> Result<()>;
}
