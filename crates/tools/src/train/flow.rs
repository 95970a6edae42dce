//! The flow-matching loss (paper, section 3.3; Lipman et al., 2023): the transformer learns the velocity from image to
//! noise at a random time.

use burn::tensor::Tensor;

use super::grounding::{Grounding, TargetMask};
use unireal::internals::model::sequence::{Grid, InputFrame, TextStates};
use unireal::internals::model::transformer::Transformer;

/// A batch of samples that share their geometry, on a device.
#[derive(Debug)]
pub struct Batch {
    /// Encoded prompts.
    pub text: TextStates,
    /// Encoded input images.
    pub inputs: Vec<InputFrame>,
    /// Latents of the ground truth outputs, `[b, c, y, x]` each.
    pub targets: Vec<Tensor<4>>,
    /// Standard normal noise, of the shapes of `targets`.
    pub noise: Vec<Tensor<4>>,
    /// Times in 0..1, `[b]`.
    pub t: Tensor<1>,
    /// Loss weight of each cell, `[b, 1, y, x]` with mean 1 for each output; empty if all weights are equal.
    pub weights: Vec<Tensor<4>>,
    /// The tokens of the first output that the prompts refer to, if they are known and the grounding loss is used.
    pub target_mask: Option<TargetMask>,
}

/// Returns the mean squared error of the velocity, a tensor of one element.
pub fn flow_loss(transformer: &Transformer, patch: usize, batch: &Batch) -> Tensor<1> {
    flow_losses(transformer, patch, batch).mean()
}

/// Returns the mean squared error of the velocity for each sample, `[b]`.
pub fn flow_losses(transformer: &Transformer, patch: usize, batch: &Batch) -> Tensor<1> {
    losses_with_states(transformer, patch, batch, 0).0
}

/// Returns [`flow_losses`] and, if the batch has a target mask, the grounding losses, `[b]`; 0 for samples without a known target.
pub(super) fn grounded_losses(
    transformer: &Transformer,
    grounding: &Grounding,
    patch: usize,
    batch: &Batch,
) -> (Tensor<1>, Option<Tensor<1>>) {
    let Some(target_mask) = &batch.target_mask else {
        return (flow_losses(transformer, patch, batch), None);
    };
    let outputs: usize = batch
        .targets
        .iter()
        .map(|x| Grid::of(x, patch).tokens())
        .sum();
    let (losses, tokens) = losses_with_states(transformer, patch, batch, transformer.depth() / 2);
    let [_, n, _] = tokens.dims();
    let first = Grid::of(&batch.targets[0], patch).tokens();
    let tokens = tokens.narrow(1, n - outputs, first);
    let grounded = grounding.losses(tokens, target_mask, batch.t.clone());
    (losses, Some(grounded))
}

/// Returns the grounding losses on the tokens of the first input frame, `[b]`: without an output, the head sees only the prompt and
/// clean images. This takes a quarter of the work of [`grounded_losses`]. `None` without a target mask or an input.
pub(super) fn grounding_losses(
    transformer: &Transformer,
    grounding: &Grounding,
    patch: usize,
    batch: &Batch,
) -> Option<Tensor<1>> {
    let (target_mask, canvas) = (batch.target_mask.as_ref()?, batch.inputs.first()?);
    let [_, n_text, _] = batch.text.states.dims();
    let tokens = Grid::of(&canvas.latent, patch).tokens();
    let sequence = transformer.sequence(&batch.text, &batch.inputs, &[]);
    let hidden = transformer.embed(&sequence, &[], batch.t.clone());
    let hidden = transformer.run_blocks(&sequence, 0..transformer.depth() / 2, hidden);
    let canvas = hidden.tokens.narrow(1, n_text, tokens);
    Some(grounding.losses(canvas, target_mask, batch.t.ones_like()))
}

/// Returns the losses `[b]` and the tokens `[b, n, d]` after the first `blocks` blocks.
fn losses_with_states(
    transformer: &Transformer,
    patch: usize,
    batch: &Batch,
    blocks: usize,
) -> (Tensor<1>, Tensor<3>) {
    let grids: Vec<Grid> = batch
        .targets
        .iter()
        .map(|target| Grid::of(target, patch))
        .collect();
    let sequence = transformer.sequence(&batch.text, &batch.inputs, &grids);
    let t = batch.t.clone().reshape([-1, 1, 1, 1]);
    let noisy: Vec<Tensor<4>> = batch
        .targets
        .iter()
        .zip(&batch.noise)
        .map(|(x0, eps)| x0.clone() + (eps.clone() - x0.clone()) * t.clone())
        .collect();
    let hidden = transformer.embed(&sequence, &noisy, batch.t.clone());
    let middle = transformer.run_blocks(&sequence, 0..blocks, hidden);
    let tokens = middle.tokens.clone();
    let hidden = transformer.run_blocks(&sequence, blocks..transformer.depth(), middle);
    let velocities = transformer.velocities(&sequence, hidden);
    let outputs = velocities.len() as f64;
    let losses = velocities.into_iter().enumerate().map(|(i, v)| {
        let error = (v - (batch.noise[i].clone() - batch.targets[i].clone())).square();
        let error = match batch.weights.get(i) {
            Some(weight) => error * weight.clone(),
            None => error,
        };
        error.flatten::<2>(1, 3).mean_dim(1).squeeze_dim::<1>(1)
    });
    let total = losses.reduce(|sum, loss| sum + loss);
    let total = total.expect("a batch has at least one output");
    (total / outputs, tokens)
}
