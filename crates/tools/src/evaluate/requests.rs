//! Evaluates a model in training on 40 fixed held-out requests with short prompts: a contact sheet for visual inspection, and
//! scores.

use super::cases::{Case, EDITS, Phrasing, cases};
use super::reconstruct;
use super::score::{Score, Summary};
use crate::data::card::{self, Card, INK, PALE, RESULT, role_colour};
use crate::data::ordered::ordered;
use crate::data::tabletop::HELD_OUT;
use unireal::Image;
use unireal::Pipeline;
use unireal::Request;
use unireal::{Error, Result};
use unireal_tabletop::Wording;

/// The number of requests of each kind, 40 in total.
const REQUESTS: [(&str, usize); 9] = [
    ("recolour", 7),
    ("remove", 7),
    ("add", 5),
    ("move", 5),
    ("replace", 4),
    ("material", 2),
    ("resize", 3),
    ("insertion/truth", 3),
    ("segmentation", 4),
];

/// First seed of the scenes; disjoint from those of `evaluate world` and of the page.
const FIRST: u64 = HELD_OUT + 20_000;

/// Number of paraphrases, of which a request uses the shortest.
const PARAPHRASES: usize = 8;

/// Number of cards per row of a sheet.
const COLUMNS: usize = 4;

/// Number of scenes in an autoencoder's milestone.
const SCENES: usize = 20;

/// The outputs of a milestone of a training run.
pub(crate) struct Milestone {
    /// The contact sheet.
    pub(crate) sheet: Image,
    /// Scores with names from [`SCORES`].
    pub(crate) scores: Vec<(&'static str, Option<f64>)>,
}

/// The names of all scores: PSNR in dB, and fractions of 1.
pub(crate) const SCORES: [&str; 10] = [
    "whole_db",
    "objects_db",
    "recoloured_db",
    "edit_gain_db",
    "inside_gain_db",
    "outside_db",
    "pointed",
    "right_object",
    "insertion_right",
    "mask_iou",
];

/// The fixed requests with their ground truth, rendered at one size.
pub(crate) struct Requests(Vec<Case>);

impl Requests {
    /// Renders the requests' images, `side` pixels a side.
    ///
    /// # Errors
    /// As [`cases`].
    pub(crate) fn new(side: u32) -> Result<Requests> {
        let phrasing = Phrasing {
            wording: Wording::Training,
            paraphrases: PARAPHRASES,
        };
        let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let render = |i: usize| {
            let (kind, count) = REQUESTS[i];
            // Separate scenes for every kind.
            cases(kind, count, FIRST + 1000 * i as u64, side, phrasing)
        };
        let mut all = Vec::new();
        ordered(threads, REQUESTS.len(), render, |_, cases| {
            all.extend(cases?);
            Ok(())
        })?;
        Ok(Requests(all))
    }

    /// Generates every request with default settings and compares the results with the ground truth.
    ///
    /// # Errors
    /// As [`Pipeline::generate`] and [`Score::new`].
    pub(crate) fn milestone(&self, pipeline: &Pipeline) -> Result<Milestone> {
        let mut results = Vec::new();
        for (case, seed) in self.0.iter().zip(0..) {
            let result = pollster::block_on(result(pipeline, case, seed))?;
            let score = Score::new(case, &result)?;
            results.push((case, result, score));
        }
        // Kinds are ordered by column, so that only one column needs the width of insertions.
        let rows = results.len().div_ceil(COLUMNS);
        let mut cards = Vec::new();
        for place in 0..rows * COLUMNS {
            let index = place % COLUMNS * rows + place / COLUMNS;
            if let Some((case, result, score)) = results.get(index) {
                cards.push(card(case, result, score));
            }
        }
        let of = |is: &dyn Fn(&str) -> bool| {
            let chosen = results.iter().filter(|(case, ..)| is(case.kind));
            Summary::of(chosen.map(|(.., score)| score))
        };
        let edits = of(&|kind| EDITS.contains(&kind));
        Ok(Milestone {
            sheet: card::sheet(&cards, COLUMNS),
            scores: vec![
                ("edit_gain_db", edits.whole_gain_db),
                ("inside_gain_db", edits.inside_gain_db),
                ("outside_db", edits.outside_db),
                ("pointed", edits.pointed),
                ("right_object", edits.right_object),
                (
                    "insertion_right",
                    of(&|kind| kind == "insertion/truth").recognised,
                ),
                ("mask_iou", of(&|kind| kind == "segmentation").iou),
            ],
        })
    }
}

async fn result(pipeline: &Pipeline, case: &Case, seed: u64) -> Result<Image> {
    let mut request = Request::new(&case.prompt);
    for (image, role) in &case.inputs {
        request = request.frame(image.clone(), *role);
    }
    request.context = Some(case.context.clone());
    request.size = Some((case.ground_truth.width, case.ground_truth.height));
    request.seed = seed;
    let images = pipeline.generate(&request).await?;
    let first = images.into_iter().next();
    first.ok_or_else(|| Error::Internal("result: no image, expected one".into()))
}

/// Returns a card with inputs, result and ground truth above the prompt.
fn card<'a>(case: &'a Case, result: &'a Image, score: &Score) -> Card<'a> {
    let inputs = case.inputs.iter().enumerate().map(|(i, (image, role))| {
        let label = format!("IMG{} {}", i + 1, role.name());
        (image, label, role_colour(*role))
    });
    let about = match (score.inside, score.input_inside, score.iou) {
        (Some(inside), Some(before), _) => {
            format!("inside {inside:.1} dB, the input {before:.1} dB")
        }
        (_, _, Some(iou)) => format!("IoU {iou:.2}"),
        _ => format!("{:.1} dB", score.whole.unwrap_or_default()),
    };
    Card {
        inputs: inputs.collect(),
        outputs: vec![
            (result, "result".into(), RESULT),
            (&case.ground_truth, "ground truth".into(), PALE),
        ],
        lines: vec![
            (case.prompt.clone(), INK),
            (format!("{}: {about}", case.kind), PALE),
        ],
    }
}

/// Renders the frames of an autoencoder's milestone at `side` pixels.
///
/// # Errors
/// As [`reconstruct::frames`].
pub(crate) fn frames(side: u32) -> Result<Vec<reconstruct::HeldOutFrame>> {
    reconstruct::frames(FIRST, SCENES, side)
}

/// Reconstructs fixed held-out frames and scores the result.
///
/// # Errors
/// As [`reconstruct::reconstruct`].
pub(crate) fn autoencoder_milestone(
    autoencoder: &unireal::internals::model::vae::Autoencoder,
    frames: &[reconstruct::HeldOutFrame],
    device: &burn::tensor::Device,
) -> Result<Milestone> {
    let results = reconstruct::reconstruct(autoencoder, frames, device)?;
    let report = reconstruct::Report::new(frames, &results);
    let mean = |interval: &Option<super::statistics::Interval>| interval.map(|found| found.mean);
    Ok(Milestone {
        sheet: reconstruct::sheet(frames, &results)?,
        scores: vec![
            ("whole_db", mean(&report.whole_db)),
            ("objects_db", mean(&report.objects_db)),
            ("recoloured_db", mean(&report.recoloured_db)),
        ],
    })
}
