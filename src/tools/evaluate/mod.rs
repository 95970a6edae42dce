//! `unireal evaluate world`: edits of held-out scenes against the rendered truth.
//!
//! An edit passes when, inside the mask of the solid that the instruction names, the result is nearer to the truth than
//! the input is, and when outside the mask it is at least [`OUTSIDE_DB`] from the truth. Both are decided by the world's
//! truth, not by eye.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;

use super::train::HELD_OUT;
use super::world::{Kind, Sample, sample};
use crate::error::{Error, Result};
use crate::gpu::device::{self, Choice};
use crate::image::Image;
use crate::pipeline::Pipeline;
use crate::request::{Request, Role};
use crate::weights::files::Location;
use crate::weights::load::Plan;

/// What the rest of the picture must keep, as a peak signal-to-noise ratio in dB.
pub const OUTSIDE_DB: f64 = 22.0;

/// What `unireal evaluate` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What to evaluate on
    #[command(subcommand)]
    pub on: On,
}

/// What to evaluate on.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum On {
    /// Edits of held-out tabletop scenes against the rendered truth
    World(WorldOptions),
}

/// What `unireal evaluate world` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct WorldOptions {
    /// The pack: a folder or an address
    #[arg(long, value_name = "DIR|URL")]
    pub pack: String,
    /// Held-out scenes for each kind
    #[arg(long, default_value_t = 64)]
    pub scenes: u64,
    /// Kinds of edit
    #[arg(long, value_delimiter = ',', default_value = "recolour,remove")]
    pub kinds: Vec<Kind>,
    /// Sampler steps
    #[arg(long, default_value_t = 20)]
    pub steps: usize,
    /// Text guidance
    #[arg(long, default_value_t = 2.0)]
    pub guidance: f32,
    /// Image guidance
    #[arg(long, default_value_t = 1.0)]
    pub image_guidance: f32,
    /// auto, cpu or gpu
    #[arg(long, default_value = "cpu")]
    pub device: Choice,
    /// Write input, result and truth of cases from best to worst as one picture, and their prompts beside it (.md)
    #[arg(long, value_name = "FILE")]
    pub grid: Option<PathBuf>,
    /// Cases in that picture
    #[arg(long, default_value_t = 12)]
    pub grid_cases: usize,
    /// Fail unless this part of all edits passes
    #[arg(long, value_name = "PART")]
    pub require: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How the edits of one kind went.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// Edits made.
    pub cases: usize,
    /// Part that is nearer to the truth than the input is, inside the mask.
    pub nearer: f64,
    /// Mean over the cases of the ratio outside the mask, in dB.
    pub outside_db: f64,
    /// Mean over the cases of the ratio inside the mask, in dB.
    pub inside_db: f64,
    /// The same for the input itself, in dB.
    pub input_inside_db: f64,
    /// Part that passes: nearer inside, and at least [`OUTSIDE_DB`] outside.
    pub passed: f64,
}

/// One edit.
struct Case {
    sample: Sample,
    result: Image,
    nearer: bool,
    outside: f64,
    inside: f64,
    input_inside: f64,
}

impl Case {
    fn new(sample: Sample, result: Image) -> Self {
        let input = &sample.inputs[0].0;
        let inside = |image: &Image| decibels(image, &sample.output, |i| sample.mask[i]);
        let (ours, theirs) = (inside(&result), inside(input));
        Case {
            nearer: ours > theirs,
            outside: decibels(&result, &sample.output, |i| !sample.mask[i]),
            inside: ours,
            input_inside: theirs,
            sample,
            result,
        }
    }

    fn passed(&self) -> bool {
        self.nearer && self.outside >= OUTSIDE_DB
    }
}

/// Peak signal-to-noise ratio over the pixels that `counts` chooses; 99 where they are equal or there are none.
fn decibels(a: &Image, b: &Image, counts: impl Fn(usize) -> bool) -> f64 {
    let pixels = a.rgb.chunks_exact(3).zip(b.rgb.chunks_exact(3));
    let (mut sum, mut count) = (0.0, 0);
    for (i, (a, b)) in pixels.enumerate() {
        if counts(i) {
            count += 3;
            sum += a
                .iter()
                .zip(b)
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum::<f64>();
        }
    }
    match sum > 0.0 {
        true => 10.0 * (255f64.powi(2) * f64::from(count) / sum).log10(),
        false => 99.0,
    }
}

/// Evaluates and prints.
///
/// # Errors
/// As the loader's and the pipeline's; [`Error::Request`] when less passes than is required.
pub fn run(options: &Options) -> Result<()> {
    let On::World(options) = &options.on;
    let cases = pollster::block_on(cases(options))?;
    let mut scores = Vec::new();
    for kind in &options.kinds {
        let of_kind: Vec<&Case> = cases.iter().filter(|c| c.sample.kind == *kind).collect();
        scores.push((kind.name(), score(&of_kind)));
    }
    let all = score(&cases.iter().collect::<Vec<_>>());
    let passed = all.passed;
    scores.push(("all", all));
    if options.json {
        let map: std::collections::BTreeMap<_, _> = scores.into_iter().collect();
        let json = serde_json::to_string_pretty(&map);
        println!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
    } else {
        println!(
            "| edit | scenes | nearer inside the mask | dB inside (input's) | dB outside | passed |"
        );
        println!("|---|---|---|---|---|---|");
        for (name, s) in scores {
            println!(
                "| {name} | {} | {:.0}% | {:.1} ({:.1}) | {:.1} | {:.0}% |",
                s.cases,
                100.0 * s.nearer,
                s.inside_db,
                s.input_inside_db,
                s.outside_db,
                100.0 * s.passed
            );
        }
    }
    if let Some(path) = &options.grid {
        grid(cases, options.grid_cases, path)?;
    }
    match options.require {
        Some(least) if passed < least => Err(Error::Request(format!(
            "{:.1}% of the edits pass; {:.1}% are required",
            100.0 * passed,
            100.0 * least
        ))),
        _ => Ok(()),
    }
}

async fn cases(options: &WorldOptions) -> Result<Vec<Case>> {
    let source = Location::new(&options.pack);
    let plan = Plan::read(&source).await?;
    let opened = device::open(options.device).await?;
    let pipeline = Pipeline::load(plan, &source, opened.device, &mut |_| {}).await?;
    let size = pipeline.config.index.sample_size as u32;
    let mut cases = Vec::new();
    for kind in &options.kinds {
        for scene in 0..options.scenes {
            let sample = sample(*kind, HELD_OUT + scene, size);
            let Some((canvas, _)) = sample.inputs.first() else {
                return Err(Error::Request(format!(
                    "{} has no input to compare with; choose edits",
                    kind.name()
                )));
            };
            let mut request = Request::new(&sample.prompt).frame(canvas.clone(), Role::Canvas);
            request.context = Some(sample.tags.clone());
            request.steps = options.steps;
            request.guidance = options.guidance;
            request.image_guidance = options.image_guidance;
            request.seed = scene;
            let go_on = async |_| ControlFlow::Continue(());
            let images = pipeline.generate(&request, go_on).await?;
            let result = images.into_iter().next();
            let result = result.ok_or_else(|| Error::Internal("no picture came".into()))?;
            cases.push(Case::new(sample, result));
        }
    }
    Ok(cases)
}

fn score(cases: &[&Case]) -> Score {
    let count = cases.len().max(1) as f64;
    let mean = |of: &dyn Fn(&Case) -> f64| cases.iter().map(|c| of(c)).sum::<f64>() / count;
    Score {
        cases: cases.len(),
        nearer: mean(&|c| f64::from(u8::from(c.nearer))),
        outside_db: mean(&|c| c.outside),
        inside_db: mean(&|c| c.inside),
        input_inside_db: mean(&|c| c.input_inside),
        passed: mean(&|c| f64::from(u8::from(c.passed()))),
    }
}

/// Cases at even distances from the best to the worst, three to a row: input, result, truth.
fn grid(mut cases: Vec<Case>, count: usize, path: &std::path::Path) -> Result<()> {
    // What the edit gained inside the mask decides; a spoilt rest of the picture counts against it.
    let gain = |c: &Case| (c.inside - c.input_inside) + (c.outside - OUTSIDE_DB).min(0.0);
    cases.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    let count = count.clamp(1, cases.len().max(1));
    let last = cases.len().saturating_sub(1);
    let chosen: Vec<&Case> = (0..count)
        .filter_map(|i| cases.get(i * last / count.saturating_sub(1).max(1)))
        .collect();
    let tiles: Vec<[Option<&Image>; 3]> = chosen
        .iter()
        .map(|c| {
            [
                Some(&c.sample.inputs[0].0),
                Some(&c.result),
                Some(&c.sample.output),
            ]
        })
        .collect();
    Image::sheet(&tiles, 3)?.save(path)?;
    let mut text = String::from("| | prompt | passed |\n|---|---|---|\n");
    for (i, case) in chosen.iter().enumerate() {
        let passed = if case.passed() { "yes" } else { "no" };
        text += &format!("| {} | {} | {passed} |\n", i + 1, case.sample.prompt);
    }
    let beside = path.with_extension("md");
    std::fs::write(&beside, text).map_err(|e| Error::format(beside.display().to_string(), e))
}
