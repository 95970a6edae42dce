//! The flow-matching loss (paper, section 3.3; Lipman et al., 2023): the transformer learns the velocity from picture to
//! noise at a random time.

use burn::tensor::Tensor;

use super::grounding::{Grounding, TargetMask};
use unireal::internals::model::sequence::{Grid, InputFrame, TextStates};
use unireal::internals::model::transformer::Transformer;

/// One training example batch whose samples share their geometry.
#[derive(Debug)]
pub struct Batch {
    /// Encoded prompts.
    pub text: TextStates,
    /// Encoded input images.
    pub inputs: Vec<InputFrame>,
    /// Latents of the true outputs, `[b, c, y, x]` each.
    pub targets: Vec<Tensor<4>>,
    /// Standard normal noise, like `targets`.
    pub noise: Vec<Tensor<4>>,
    /// Times in 0..1, `[b]`.
    pub t: Tensor<1>,
    /// What each cell's error counts, `[b, 1, y, x]` with mean 1 for each output; empty counts all alike.
    pub weights: Vec<Tensor<4>>,
    /// Which tokens of the first output the prompts mean, where that is learnt and known.
    pub target_mask: Option<TargetMask>,
}

/// Mean squared error of the velocity, a tensor of one number.
pub fn flow_loss(transformer: &Transformer, patch: usize, batch: &Batch) -> Tensor<1> {
    flow_losses(transformer, patch, batch).mean()
}

/// Mean squared error of the velocity of each sample, `[b]`.
pub fn flow_losses(transformer: &Transformer, patch: usize, batch: &Batch) -> Tensor<1> {
    forward_with_hook(transformer, patch, batch, |_, _| ())
}

/// [`flow_losses`], and those of `grounding` where the batch knows what is meant, 0 for samples of which nothing is.
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
    let middle = transformer.depth() / 2;
    let mut seen = None;
    let losses = forward_with_hook(transformer, patch, batch, |blocks, tokens| {
        if blocks == middle {
            let [_, n, _] = tokens.dims();
            let first = Grid::of(&batch.targets[0], patch).tokens();
            seen = Some(tokens.clone().narrow(1, n - outputs, first));
        }
    });
    let grounded = seen.map(|tokens| grounding.losses(tokens, target_mask, batch.t.clone()));
    (losses, grounded)
}

/// Those of `grounding` on the tokens of the first input frame, where there is no output yet: what is asked is then told from words
/// and a clean picture alone, in a quarter of the work of [`grounded_losses`].
pub(super) fn grounding_losses(
    transformer: &Transformer,
    grounding: &Grounding,
    patch: usize,
    batch: &Batch,
) -> Option<Tensor<1>> {
    let (target_mask, canvas) = (batch.target_mask.as_ref()?, batch.inputs.first()?);
    let [_, words, _] = batch.text.states.dims();
    let tokens = Grid::of(&canvas.latent, patch).tokens();
    let states = transformer.clean_states(&batch.text, &batch.inputs, transformer.depth() / 2);
    let canvas = states.narrow(1, words, tokens);
    Some(grounding.losses(canvas, target_mask, batch.t.ones_like()))
}

fn forward_with_hook(
    transformer: &Transformer,
    patch: usize,
    batch: &Batch,
    after: impl FnMut(usize, &Tensor<3>),
) -> Tensor<1> {
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
    let velocities = transformer.forward_with_hook(&sequence, &noisy, batch.t.clone(), after);
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
    total.expect("a batch has at least one output") / outputs
}
