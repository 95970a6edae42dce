//! From drawn samples to the numbers of a batch, on the host: words, latents, noise and times.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};

use super::data::{Drawn, Geometry, Latents};
use super::flow::Batch;
use super::grounding::Meant;
use super::settings::{PromptPart, Stage};
use crate::config::Config;
use crate::error::Result;
use crate::model::sequence::{InputFrame, TextStates};
use crate::model::text::TextEncoder;
use crate::pipeline::batch_tokens;
use crate::request::{self, Role};
use crate::tokenizer::{Tokenizer, Tokens};
use crate::tools::data::Kind;

/// Samples of one geometry, ready to become tensors in any thread.
pub(super) struct Part {
    geometry: Geometry,
    rows: Vec<Row>,
    /// Whether it is asked only which cells are meant.
    pub(super) alone: bool,
}

/// One sample.
struct Row {
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
    /// What each cell of an output counts; empty counts all alike.
    weights: Vec<f32>,
    /// Which cells of an output the prompt means; empty where that is not known, or the prompt is left out.
    meant: Vec<bool>,
}

/// What a part of a batch is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The whole request.
    All,
    /// Neither words nor input images, as in the pipeline's branch of that name.
    Nothing,
    /// Only which cells are meant.
    Meaning,
}

/// What turns samples into parts.
pub(super) struct Maker<'a> {
    pub(super) config: &'a Config,
    pub(super) stage: &'a Stage,
    pub(super) tokenizer: &'a Tokenizer,
    pub(super) latents: &'a Latents,
}

impl Maker<'_> {
    /// Divides drawn samples into `parts` of equal size. Samples with texts of a length come together, so that little is
    /// padded.
    ///
    /// # Errors
    /// [`crate::error::Error::Request`] for a text that is too long, [`crate::error::Error::Format`] for a file of latents
    /// that cannot be read.
    pub(super) fn parts(
        &self,
        drawn: Drawn,
        asked: Asked,
        parts: usize,
        rng: &mut impl Rng,
    ) -> Result<Vec<Part>> {
        let mut geometry = drawn.geometry;
        let nothing = asked == Asked::Nothing;
        if nothing {
            geometry.inputs.clear();
        }
        if self.stage.without.contains(&PromptPart::ImagePrompt) {
            geometry.inputs.iter_mut().for_each(|i| i.1 = Role::Asset);
        }
        let entries = drawn.entries.iter();
        let rows: Result<Vec<Row>> = entries.map(|entry| self.row(entry, nothing, rng)).collect();
        let mut rows = rows?;
        rows.sort_by_key(|row| row.tokens.ids.len());
        let each = rows.len() / parts;
        let mut rows = rows.into_iter();
        let part = |_| Part {
            geometry: geometry.clone(),
            rows: rows.by_ref().take(each).collect(),
            alone: asked == Asked::Meaning,
        };
        Ok((0..parts).map(part).collect())
    }

    fn prompt<'a>(&self, prompts: &'a [String], rng: &mut impl Rng) -> &'a str {
        let any = rng.random_range(0..prompts.len());
        match rng.random_bool(self.stage.plain) {
            true => prompts.iter().min_by_key(|prompt| prompt.len()),
            false => prompts.get(any),
        }
        .map_or("", String::as_str)
    }

    fn row(&self, entry: &super::data::Entry, nothing: bool, rng: &mut impl Rng) -> Result<Row> {
        let channels = self.config.vae.latent_channels;
        let silent = nothing || rng.random_bool(self.stage.text_dropout);
        let prompt = self.prompt(&entry.prompts, rng);
        let context = match self.stage.without.contains(&PromptPart::ContextPrompt) {
            true => &[],
            false => &entry.context[..],
        };
        let mut inputs = Vec::new();
        if !nothing {
            for (place, _) in &entry.inputs {
                let mut values = Vec::new();
                self.latents.read(*place, channels, &mut values)?;
                inputs.push(values);
            }
        }
        let (mut targets, mut noise) = (Vec::new(), Vec::new());
        for place in &entry.outputs {
            let mut values = Vec::new();
            self.latents.read(*place, channels, &mut values)?;
            let normal = StandardNormal.sample_iter(&mut *rng);
            noise.push(normal.take(values.len()).collect());
            targets.push(values);
        }
        Ok(Row {
            name: name(entry.kind, &entry.variant),
            tokens: match silent {
                true => self.tokenizer.encode("")?,
                false => self.tokenizer.encode(&request::text(context, prompt))?,
            },
            inputs,
            targets,
            noise,
            t: self.stage.time.draw(rng),
            weights: weights(&entry.changed, self.stage.changed),
            meant: match silent {
                true => Vec::new(),
                false => entry.changed.clone(),
            },
        })
    }
}

/// The kind and, where there is one, its variant.
pub(super) fn name(kind: Kind, variant: &str) -> String {
    use clap::ValueEnum as _;
    let kind = kind.to_possible_value();
    let kind = kind.map_or_else(String::new, |value| value.get_name().to_owned());
    match variant {
        "" => kind,
        variant => format!("{kind}/{variant}"),
    }
}

/// Changed cells count `factor` times as much as the others; the mean is 1.
fn weights(changed: &[bool], factor: f32) -> Vec<f32> {
    let raw = changed.iter().map(|&on| if on { factor } else { 1.0 });
    let mean = raw.clone().sum::<f32>() / changed.len() as f32;
    raw.map(|weight| weight / mean).collect()
}

impl Part {
    /// The kinds of the samples, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| row.name.as_str())
    }

    /// The batch on a device, its words encoded by `text`; what is meant only where it is `grounded`.
    pub(super) fn batch(
        &self,
        config: &Config,
        grounded: bool,
        text: &TextEncoder,
        device: &Device,
    ) -> Batch {
        let b = self.rows.len();
        let channels = config.vae.latent_channels;
        let tokens: Vec<&Tokens> = self.rows.iter().map(|row| &row.tokens).collect();
        let (ids, words, mask) = batch_tokens(&tokens, config, device);
        let stacked = |of: &dyn Fn(&Row) -> &[f32], c: usize, sides: [u16; 2]| {
            let values: Vec<f32> = self.rows.iter().flat_map(|row| of(row).to_vec()).collect();
            let shape = [b, c, usize::from(sides[0]), usize::from(sides[1])];
            Tensor::<4>::from_data(TensorData::new(values, shape), device)
        };
        let inputs = self.geometry.inputs.iter().enumerate();
        let outputs = || self.geometry.outputs.iter().enumerate();
        let weighted = self.rows.iter().any(|row| !row.weights.is_empty());
        let times: Vec<f32> = self.rows.iter().map(|row| row.t).collect();
        Batch {
            text: TextStates {
                states: text.forward(ids, mask.clone()),
                words,
                mask,
            },
            inputs: inputs
                .map(|(k, (sides, role))| InputFrame {
                    latent: stacked(&|row| &row.inputs[k], channels, *sides),
                    role: *role,
                })
                .collect(),
            targets: outputs()
                .map(|(k, sides)| stacked(&|row| &row.targets[k], channels, *sides))
                .collect(),
            noise: outputs()
                .map(|(k, sides)| stacked(&|row| &row.noise[k], channels, *sides))
                .collect(),
            t: Tensor::from_data(TensorData::new(times, [b]), device),
            weights: match weighted {
                true => outputs()
                    .map(|(_, sides)| self.cell_weights(*sides, device))
                    .collect(),
                false => Vec::new(),
            },
            meant: grounded
                .then(|| {
                    let rows: Vec<&[bool]> = self.rows.iter().map(|row| &row.meant[..]).collect();
                    let patch = config.transformer.patch_size;
                    Meant::new(&rows, self.geometry.outputs[0], patch, device)
                })
                .flatten(),
        }
    }

    /// Weights of an output's cells, `[b, 1, y, x]`; 1 for samples that count all alike.
    fn cell_weights(&self, sides: [u16; 2], device: &Device) -> Tensor<4> {
        let [y, x] = sides.map(usize::from);
        let mut values = Vec::with_capacity(self.rows.len() * y * x);
        for row in &self.rows {
            match row.weights.len() == y * x {
                true => values.extend(&row.weights),
                false => values.extend(std::iter::repeat_n(1.0, y * x)),
            }
        }
        Tensor::from_data(TensorData::new(values, [self.rows.len(), 1, y, x]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_cells_count_more_and_the_mean_stays() {
        let weights = weights(&[true, false, false, true], 3.0);
        assert_eq!(weights, [1.5, 0.5, 0.5, 1.5]);
        assert!(super::weights(&[], 3.0).is_empty());
    }
}
