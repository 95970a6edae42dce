//! Builds micro-batches from drawn samples: tokens, latents, noise and times, prepared in CPU memory by any thread.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};

use super::data::{Entry, Geometry, Latents, SampleGroup};
use super::flow::Batch;
use super::grounding::TargetMaskData;
use super::settings::{PromptPart, Stage};
use crate::data::Kind;
use unireal::Result;
use unireal::internals::config::Config;
use unireal::internals::model::sequence::{InputFrame, TextStates};
use unireal::internals::model::text::TextEncoder;
use unireal::internals::model::tokens::TokenData;
use unireal::internals::request::ImageRef;
use unireal::internals::request::{self, Role};
use unireal::internals::tokenizer::{Tokenizer, Tokens};

/// A micro-batch in CPU memory: samples of one geometry.
pub(super) struct MicroBatch {
    /// The kind of each sample, for the curves.
    pub(super) names: Vec<String>,
    /// Whether only the grounding loss is computed.
    pub(super) grounding_only: bool,
    tokens: TokenData,
    /// Latents of the input frames, `[b, c, y, x]` each.
    inputs: Vec<(TensorData, Role)>,
    /// Latents of the outputs.
    targets: Vec<TensorData>,
    /// Noise for the outputs.
    noise: Vec<TensorData>,
    /// Times, `[b]`.
    times: TensorData,
    /// The loss weight of each cell of the outputs, `[b, 1, y, x]`; empty if all weights are equal.
    weights: Vec<TensorData>,
    target_mask: Option<TargetMaskData>,
}

/// One sample of a micro-batch.
struct Example {
    /// Its kind, for the curves.
    name: String,
    tokens: Tokens,
    /// Latents of its input frames, `[c, y, x]` each.
    inputs: Vec<Vec<f32>>,
    /// Latents of its outputs.
    targets: Vec<Vec<f32>>,
    /// Noise for its outputs.
    noise: Vec<Vec<f32>>,
    t: f32,
    /// The loss weight of each cell of an output; empty if all weights are equal.
    weights: Vec<f32>,
    /// The cells of an output that the prompt refers to; empty if they are unknown or the prompt is dropped.
    target_mask: Vec<bool>,
}

/// The conditions and losses that a micro-batch trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LossMode {
    /// The full request.
    Full,
    /// Neither prompt nor input images, as in the pipeline's unconditional branch.
    Unconditional,
    /// Only the grounding loss.
    GroundingOnly,
}

/// Builds micro-batches from samples.
pub(super) struct BatchBuilder<'a> {
    pub(super) config: &'a Config,
    pub(super) stage: &'a Stage,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) latents: &'a Latents,
}

impl BatchBuilder<'_> {
    /// Divides drawn samples into `count` micro-batches of equal size. Sorts them by text length first, to reduce padding.
    ///
    /// # Errors
    /// [`unireal::Error::Request`] for a text that is too long, [`unireal::Error::Format`] for a file of latents
    /// that cannot be read.
    pub(super) fn micro_batches(
        &self,
        group: SampleGroup,
        mode: LossMode,
        count: usize,
        rng: &mut impl Rng,
    ) -> Result<Vec<MicroBatch>> {
        let mut geometry = group.geometry;
        let unconditional = mode == LossMode::Unconditional;
        if unconditional {
            geometry.inputs.clear();
        }
        if self.stage.without.contains(&PromptPart::ImagePrompt) {
            geometry.inputs.iter_mut().for_each(|i| i.1 = Role::Asset);
        }
        let entries = group.entries.iter();
        let examples: Result<Vec<Example>> = entries
            .map(|entry| self.example(entry, unconditional, rng))
            .collect();
        let mut examples = examples?;
        examples.sort_by_key(|example| example.tokens.ids.len());
        let size = (examples.len() / count).max(1);
        let chunks = examples.chunks(size).take(count);
        Ok(chunks
            .map(|part| MicroBatch::new(self.config, self.stage, &geometry, mode, part))
            .collect())
    }

    /// Draws a paraphrase.
    fn prompt<'a>(&self, prompts: &'a [String], rng: &mut impl Rng) -> &'a str {
        let drawn = rng.random_range(0..prompts.len());
        if rng.random_bool(self.stage.shortest_prompt_prob) {
            prompts.iter().min_by_key(|prompt| prompt.len())
        } else {
            prompts.get(drawn)
        }
        .map_or("", String::as_str)
    }

    /// Reads the latents of a sample and draws its prompt, noise and time.
    fn example(&self, entry: &Entry, unconditional: bool, rng: &mut impl Rng) -> Result<Example> {
        let channels = self.config.vae.latent_channels;
        let drop_prompt = unconditional || rng.random_bool(self.stage.text_dropout);
        let prompt = self.prompt(&entry.prompts, rng);
        let context = if self.stage.without.contains(&PromptPart::ContextPrompt) {
            &[]
        } else {
            &entry.context[..]
        };
        let mut inputs = Vec::new();
        if !unconditional {
            for (latent, _) in &entry.inputs {
                let mut values = Vec::new();
                self.latents.read(*latent, channels, &mut values)?;
                inputs.push(values);
            }
        }
        let (mut targets, mut noise) = (Vec::new(), Vec::new());
        for latent in &entry.outputs {
            let mut values = Vec::new();
            self.latents.read(*latent, channels, &mut values)?;
            let normal = StandardNormal.sample_iter(&mut *rng);
            noise.push(normal.take(values.len()).collect());
            targets.push(values);
        }
        Ok(Example {
            name: name(entry.kind, &entry.variant),
            tokens: if drop_prompt {
                self.tokenizer.encode("")?
            } else {
                self.tokenizer.encode(&request::text(context, prompt))?
            },
            inputs,
            targets,
            noise,
            t: self.stage.time.draw(rng),
            weights: weights(&entry.changed, self.stage.edit_region_weight),
            target_mask: if drop_prompt {
                Vec::new()
            } else {
                entry.changed.clone()
            },
        })
    }
}

/// Returns `kind/variant`, or the kind alone if the variant is empty.
pub(super) fn name(kind: Kind, variant: &str) -> String {
    use clap::ValueEnum as _;
    let kind = kind.to_possible_value();
    let kind = kind.map_or_else(String::new, |value| value.get_name().to_owned());
    match variant {
        "" => kind,
        variant => format!("{kind}/{variant}"),
    }
}

/// Returns loss weights with mean 1; changed cells weigh `factor` times as much as others.
fn weights(changed: &[bool], factor: f32) -> Vec<f32> {
    let raw = changed.iter().map(|&on| if on { factor } else { 1.0 });
    let mean = raw.clone().sum::<f32>() / changed.len() as f32;
    raw.map(|weight| weight / mean).collect()
}

/// Returns the loss weights of an output's cells, `[b, 1, y, x]`; 1 for samples without weights.
fn cell_weights(examples: &[Example], sides: [u16; 2]) -> TensorData {
    let [y, x] = sides.map(usize::from);
    let mut values = Vec::with_capacity(examples.len() * y * x);
    for example in examples {
        if example.weights.len() == y * x {
            values.extend(&example.weights)
        } else {
            values.extend(std::iter::repeat_n(1.0, y * x))
        }
    }
    TensorData::new(values, [examples.len(), 1, y, x])
}

/// The size of a random micro-batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Number of samples.
    pub(super) samples: usize,
    /// Number of tokens in each prompt.
    pub(super) text: usize,
    /// Number of cells along each side of a frame.
    pub(super) cells: u16,
}

/// Returns a micro-batch of edits for benchmarks: random tokens and latents, one canvas, one output.
pub(super) fn random(
    config: &Config,
    stage: &Stage,
    size: Size,
    mode: LossMode,
    rng: &mut impl Rng,
) -> MicroBatch {
    let sides = [size.cells; 2];
    let cells = usize::from(size.cells).pow(2);
    let mut example = || {
        let mut normal = || -> Vec<f32> {
            let normal = StandardNormal.sample_iter(&mut *rng);
            normal.take(config.vae.latent_channels * cells).collect()
        };
        let (input, target, noise) = (normal(), normal(), normal());
        let changed: Vec<bool> = (0..cells).map(|i| i % 8 == 3).collect();
        let id = |_| rng.random_range(0..config.text_encoder.vocab_size as u32);
        Example {
            name: String::new(),
            tokens: Tokens {
                ids: (0..size.text).map(id).collect(),
                image_refs: vec![ImageRef::None; size.text],
            },
            inputs: vec![input],
            targets: vec![target],
            noise: vec![noise],
            t: stage.time.draw(rng),
            weights: weights(&changed, stage.edit_region_weight),
            target_mask: changed,
        }
    };
    let examples: Vec<Example> = (0..size.samples).map(|_| example()).collect();
    let geometry = Geometry {
        inputs: vec![(sides, Role::Canvas)],
        outputs: vec![sides],
    };
    MicroBatch::new(config, stage, &geometry, mode, &examples)
}

impl MicroBatch {
    /// Stacks examples of one geometry.
    fn new(
        config: &Config,
        stage: &Stage,
        geometry: &Geometry,
        mode: LossMode,
        examples: &[Example],
    ) -> Self {
        let b = examples.len();
        let channels = config.vae.latent_channels;
        let stack = |of: &dyn Fn(&Example) -> &[f32], sides: [u16; 2]| {
            let [y, x] = sides.map(usize::from);
            let mut values = Vec::with_capacity(b * channels * y * x);
            examples
                .iter()
                .for_each(|example| values.extend_from_slice(of(example)));
            TensorData::new(values, [b, channels, y, x])
        };
        let inputs = geometry.inputs.iter().enumerate();
        let outputs = || geometry.outputs.iter().enumerate();
        let has_weights = examples.iter().any(|example| !example.weights.is_empty());
        let weights = outputs().map(|(_, sides)| cell_weights(examples, *sides));
        let tokens: Vec<&Tokens> = examples.iter().map(|example| &example.tokens).collect();
        let times: Vec<f32> = examples.iter().map(|example| example.t).collect();
        let cells: Vec<&[bool]> = examples
            .iter()
            .map(|example| &example.target_mask[..])
            .collect();
        let patch = config.transformer.patch_size;
        let target_mask = || TargetMaskData::new(&cells, geometry.outputs[0], patch);
        MicroBatch {
            names: examples
                .iter()
                .map(|example| example.name.clone())
                .collect(),
            grounding_only: mode == LossMode::GroundingOnly,
            tokens: TokenData::new(&tokens, config),
            inputs: inputs
                .map(|(k, (sides, role))| (stack(&|e| &e.inputs[k], *sides), *role))
                .collect(),
            targets: outputs()
                .map(|(k, sides)| stack(&|e| &e.targets[k], *sides))
                .collect(),
            noise: outputs()
                .map(|(k, sides)| stack(&|e| &e.noise[k], *sides))
                .collect(),
            times: TensorData::new(times, [b]),
            weights: if has_weights {
                weights.collect()
            } else {
                Vec::new()
            },
            target_mask: (stage.grounding > 0.0).then(target_mask).flatten(),
        }
    }

    /// Copies the micro-batch to a device and encodes its prompts with `text`.
    pub(super) fn batch(&self, text: &TextEncoder, device: &Device) -> Batch {
        let tensor = |data: &TensorData| Tensor::<4>::from_data(data.clone(), device);
        let (ids, image_refs, mask) = self.tokens.on(device);
        let frame = |(latent, role): &(TensorData, Role)| InputFrame {
            latent: tensor(latent),
            role: *role,
        };
        Batch {
            text: TextStates {
                states: text.forward(ids, mask.clone()),
                image_refs,
                mask,
            },
            inputs: self.inputs.iter().map(frame).collect(),
            targets: self.targets.iter().map(tensor).collect(),
            noise: self.noise.iter().map(tensor).collect(),
            t: Tensor::from_data(self.times.clone(), device),
            weights: self.weights.iter().map(tensor).collect(),
            target_mask: self
                .target_mask
                .as_ref()
                .map(|target_mask| target_mask.on(device)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edited_cells_weigh_more_and_the_mean_is_1() {
        let weights = weights(&[true, false, false, true], 3.0);
        assert_eq!(weights, [1.5, 0.5, 0.5, 1.5]);
        assert!(super::weights(&[], 3.0).is_empty());
    }
}
