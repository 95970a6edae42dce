//! Trains small encoders for the tabletop with the architecture of the published ones, so that their metrics are meaningful on its
//! images: a CLIP on captioned images (Radford et al., 2021), and a ViT with DINO's architecture without labels.
//!
//! Choice: the ViT uses SimCLR's objective (Chen et al., 2020) instead of DINO's: two crops, from two moments of a clip if there
//! are several, should be nearer to each other than to all other images. It needs neither a teacher nor a queue, and gives useful
//! features after minutes on a CPU. There is no colour augmentation, because colours distinguish the objects of the tabletop.

mod clip;
mod dino;
mod image_pool;

pub(super) use clip::ClipTask;
pub(super) use dino::DinoTask;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};

use super::initialise::Initial;
use crate::evaluate::backbone::config::Vision;

/// Number of micro-batches of held-out samples.
const HELD_OUT_BATCHES: usize = 4;

/// Number of samples in a micro-batch of held-out samples.
const HELD_OUT_BATCH_SIZE: usize = 32;

/// Copies the patches of `count` images to a device, `[count, patches, 3 * patch * patch]`.
fn patches_tensor(patches: Vec<f32>, count: usize, vision: &Vision, device: &Device) -> Tensor<3> {
    let (grid, patch) = (vision.image_size / vision.patch_size, vision.patch_size);
    let shape = [count, grid * grid, 3 * patch * patch];
    Tensor::from_data(TensorData::new(patches, shape), device)
}

/// Normalises rows to length 1.
fn l2_normalise(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).add_scalar(1e-12).sqrt();
    x / length
}

/// Returns for each row the cross-entropy of its target column, and 1 if another column has a higher logit, else 0.
///
/// # Shapes
/// `logits [n, m]`, one-hot `targets [n, m]`, to `[n]` twice.
fn cross_entropy(logits: Tensor<2>, targets: Tensor<2>) -> [Tensor<1>; 2] {
    let at_target = |x: Tensor<2>| (x * targets.clone()).sum_dim(1).squeeze_dim::<1>(1);
    let loss = at_target(log_softmax(logits.clone(), 1)).neg();
    let highest = logits.clone().max_dim(1).squeeze_dim::<1>(1);
    let error = highest.greater(at_target(logits)).float();
    [loss, error]
}

/// Returns a matrix `[rows, rows]` with a 1 in column `column(row)` of each row.
fn one_hot(rows: usize, column: impl Fn(usize) -> usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0f32; rows * rows];
    (0..rows).for_each(|row| values[row * rows + column(row)] = 1.0);
    Tensor::from_data(TensorData::new(values, [rows, rows]), device)
}

/// Returns the initial values of linear layers and of the token embedding.
fn initial_weights(name: &str, shape: &[usize]) -> Initial {
    let layer = name.strip_suffix(".weight").unwrap_or("");
    match shape.len() {
        2 if layer.ends_with("tokens") => Initial::Normal(0.02),
        2 if !layer.is_empty() => Initial::xavier(shape),
        _ => Initial::Unchanged,
    }
}
