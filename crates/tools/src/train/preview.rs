//! Previews during training: images that the model generates, as for users, from fixed samples, one of each kind.

use std::collections::HashSet;

use super::batch::name;
use super::data::list;
use super::settings::{Mixture, Settings};
use crate::data::{Sample, shard};
use unireal::Image;
use unireal::Pipeline;
use unireal::Request;
use unireal::Result;
use unireal::internals::config::TransformerConfig;
use unireal::internals::model::sequence::check_frames;

/// Maximum number of samples in a preview.
const MAX_PREVIEWS: usize = 16;

/// Maximum number of samples that are searched for one of every kind.
const MAX_SEARCHED_SAMPLES: usize = 4000;

/// Returns the first sample of every kind that `mixture` draws and the network supports, from the held-out shards if there are any.
///
/// # Errors
/// [`unireal::Error::Format`] for a missing folder or an image that cannot be decoded.
pub(super) fn samples(
    settings: &Settings,
    mixture: &Mixture,
    network: &TransformerConfig,
) -> Result<Vec<Sample>> {
    let patterns = if settings.held_out.is_empty() {
        &settings.data
    } else {
        &settings.held_out
    };
    let (mut found, mut names) = (Vec::new(), HashSet::new());
    let shards = list(patterns)?;
    let mut searched = 0;
    for path in shards {
        let Ok(samples) = shard::encoded(&path) else {
            continue; // The thread that reads the samples reports it.
        };
        for sample in samples.filter_map(Result::ok) {
            searched += 1;
            if searched > MAX_SEARCHED_SAMPLES || found.len() == MAX_PREVIEWS {
                return Ok(found);
            }
            let fits = check_frames(network, sample.inputs.len(), sample.outputs.len()).is_ok();
            let is_drawn = fits && mixture.component(sample.kind, &sample.variant).is_some();
            if is_drawn && names.insert(name(sample.kind, &sample.variant)) {
                found.push(sample.decode()?);
            }
        }
    }
    Ok(found)
}

/// Returns a sheet of the samples' first two inputs, generated output and ground truth, `size` x `size` pixels each.
///
/// # Errors
/// As [`Pipeline::generate`].
pub(super) fn sheet(pipeline: &Pipeline, samples: &[Sample], size: u32) -> Result<Image> {
    let mut rows = Vec::new();
    for sample in samples {
        let mut request = Request::new(&sample.prompts[0]);
        request.context = Some(sample.context.clone());
        for (image, role) in &sample.inputs {
            request = request.frame(image.clone(), *role);
        }
        let ground_truth = &sample.outputs[0];
        let grid = pipeline.config.grid() as u32;
        let sides = unireal::internals::pipeline::fitted(
            size,
            grid,
            ground_truth.width,
            ground_truth.height,
        );
        request.size = Some(sides);
        request.outputs = sample.outputs.len();
        let results = pollster::block_on(pipeline.generate(&request))?;
        let square = |image: &Image| image.resize(size, size);
        let input = |i: usize| sample.inputs.get(i).map(|(image, _)| square(image));
        rows.push([
            input(0),
            input(1),
            Some(square(&results[0])),
            Some(square(ground_truth)),
        ]);
    }
    let rows: Vec<[Option<&Image>; 4]> = rows
        .iter()
        .map(|row| row.each_ref().map(Option::as_ref))
        .collect();
    Image::sheet(&rows, 2)
}
