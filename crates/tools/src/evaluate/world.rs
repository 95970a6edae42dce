//! `unireal evaluate world`: evaluates packs on held-out scenes of the tabletop world with known ground truth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::data::tabletop::HELD_OUT;
use super::cases::{Case, EDITS, cases, kinds};
use super::networks::Tabletop;
use super::sampling::Sampling;
use super::score::{Score, Summary};
use crate::location::Location;
use crate::train::settings::PromptPart;
use unireal::Image;
use unireal::Pipeline;
use unireal::internals::weights::load::Plan;
use unireal::{Error, Result};
use unireal::{Request, Role};
use unireal_tabletop::Wording;

/// Options of `unireal evaluate world`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Pack: a folder or a URL. Further packs, each with its own --pack, are baselines in the table of edits
    #[arg(long = "pack", value_name = "DIR|URL", required = true)]
    pub packs: Vec<String>,
    /// Number of cases of each kind
    #[arg(long, default_value_t = 48)]
    pub cases: usize,
    /// Only these kinds, such as recolour,remove,segmentation; default: all
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<String>,
    /// Wordings that occur in training, or held-out ones
    #[arg(long, default_value = "training")]
    pub wording: WordingName,
    /// Leave out these parts of the prompt, for a model trained without them
    #[arg(long, value_delimiter = ',')]
    pub without: Vec<PromptPart>,
    /// Index of the first held-out clip
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// Folder of the networks trained on the tabletop, clip and dino; adds EMU Edit's metrics to the table of edits
    #[arg(long, value_name = "DIR")]
    pub backbones: Option<PathBuf>,
    /// Sampling options of the pack
    #[command(flatten)]
    pub sampling: Sampling,
    /// Write one image with the inputs, result and ground truth of cases from best to worst, and their prompts beside it (.md)
    #[arg(long, value_name = "FILE")]
    pub grid: Option<PathBuf>,
    /// Number of cases in that image
    #[arg(long, default_value_t = 12)]
    pub grid_cases: usize,
    /// Fail unless this fraction of recolours and removals changes the right object for the better
    #[arg(long, value_name = "PART")]
    pub require: Option<f64>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// The set of wordings of the prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WordingName {
    /// Wordings used in training.
    Training,
    /// Wordings never used in training.
    HeldOut,
}

impl From<WordingName> for Wording {
    fn from(name: WordingName) -> Wording {
        match name {
            WordingName::Training => Wording::Training,
            WordingName::HeldOut => Wording::HeldOut,
        }
    }
}

/// A case with its result and scores.
struct Done {
    case: Case,
    result: Image,
    score: Score,
}

/// The report.
#[derive(Debug, Serialize)]
struct Report {
    /// Means by kind.
    kinds: BTreeMap<&'static str, Summary>,
    /// Means over the seven kinds of edit.
    edits: Summary,
    /// Means over the edits for copying the input and for every pack, by name.
    rows: Vec<(String, Summary)>,
    /// Fraction of recolours and removals in which a referenced object changed most.
    pointed: Option<f64>,
    /// Fraction of those in which it also changed for the better.
    right_object: Option<f64>,
    /// Fraction of customisations and insertions with the right colour and shape.
    recognised: Option<f64>,
}

/// Evaluates the packs and prints the report.
///
/// # Errors
/// Errors of the loader and the pipeline; [`Error::Request`] for an unknown kind, or when fewer cases pass than required.
pub fn run(options: &Options) -> Result<()> {
    let cases = all_cases(options, side(options)?)?;
    let (all, rows) = pollster::block_on(results(options, cases))?;
    let report = report(&all, rows);
    if options.json {
        let json = serde_json::to_string_pretty(&report);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
    } else {
        print(&report);
    }
    let right = report.right_object;
    if let Some(path) = &options.grid {
        grid(all, options.grid_cases, path)?;
    }
    match (options.require, right) {
        (Some(least), right) if right.is_none_or(|right| right < least) => {
            Err(Error::Request(format!(
                "the right object changed for the better in {:.1}% of recolours and removals; {:.1}% are required",
                100.0 * right.unwrap_or(0.0),
                100.0 * least
            )))
        }
        _ => Ok(()),
    }
}

/// Returns the image side of the packs in pixels.
fn side(options: &Options) -> Result<u32> {
    let sides = options.packs.iter().map(|pack| {
        let plan = pollster::block_on(Plan::read(&Location::new(pack)))?;
        Ok((pack, plan.config.index.sample_size as u32))
    });
    let sides: Vec<(&String, u32)> = sides.collect::<Result<_>>()?;
    let (first, side) = sides[0];
    match sides.iter().find(|(_, other)| *other != side) {
        None => Ok(side),
        Some((pack, other)) => Err(Error::Request(format!(
            "{first} makes {side} pixels and {pack} {other}; one table needs one size"
        ))),
    }
}

fn all_cases(options: &Options, side: u32) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for kind in kinds(&options.kinds)? {
        let first = HELD_OUT + options.first;
        all.extend(cases(
            kind,
            options.cases,
            first,
            side,
            Wording::from(options.wording),
        )?);
    }
    Ok(all)
}

/// Returns the first pack's results, and the summaries of the edits for copying the input and for all packs.
async fn results(
    options: &Options,
    cases: Vec<Case>,
) -> Result<(Vec<Done>, Vec<(String, Summary)>)> {
    let edits = || {
        cases
            .iter()
            .enumerate()
            .filter(|(_, case)| EDITS.contains(&case.kind))
    };
    let networks = options
        .backbones
        .as_deref()
        .map(Tabletop::open)
        .transpose()?;
    let scored = |case: &Case, picture: &Image| {
        let mut score = Score::new(case, picture)?;
        if let Some(networks) = &networks {
            networks.features(case, picture, &mut score)?;
        }
        Ok::<_, Error>(score)
    };
    let idle: Vec<Score> = edits()
        .map(|(_, case)| scored(case, &case.inputs[0].0))
        .collect::<Result<_>>()?;
    let mut rows = vec![("copy the input".to_owned(), Summary::of(&idle))];
    let mut first = Vec::new();
    for (number, pack) in options.packs.iter().enumerate() {
        let (pipeline, _) = options.sampling.open(pack).await?;
        let mut scores = Vec::new();
        for (i, case) in cases.iter().enumerate() {
            // Baselines only appear in the table of edits.
            if number > 0 && !EDITS.contains(&case.kind) {
                continue;
            }
            let result = result(&pipeline, options, case, (i % options.cases) as u64).await?;
            let score = scored(case, &result)?;
            if EDITS.contains(&case.kind) {
                scores.push(score.clone());
            }
            if number == 0 {
                first.push((result, score));
            }
            if (i + 1) % options.cases == 0 {
                eprintln!("{pack}, {}: {} cases", case.kind, options.cases);
            }
        }
        rows.push((pack.clone(), Summary::of(&scores)));
    }
    let done = |(case, (result, score))| Done {
        case,
        result,
        score,
    };
    Ok((cases.into_iter().zip(first).map(done).collect(), rows))
}

async fn result(pipeline: &Pipeline, options: &Options, case: &Case, seed: u64) -> Result<Image> {
    let mut request = Request::new(&case.prompt);
    for (image, role) in &case.inputs {
        let role = if options.without.contains(&PromptPart::ImagePrompt) {
            Role::Asset
        } else {
            *role
        };
        request = request.frame(image.clone(), role);
    }
    request.size = Some((case.ground_truth.width, case.ground_truth.height));
    request.context = Some(if options.without.contains(&PromptPart::ContextPrompt) {
        Vec::new()
    } else {
        case.context.clone()
    });
    request.seed = seed;
    options.sampling.image(pipeline, request).await
}

fn report(all: &[Done], rows: Vec<(String, Summary)>) -> Report {
    let of = |is: &dyn Fn(&str) -> bool| {
        let chosen = all.iter().filter(|done| is(done.case.kind));
        Summary::of(chosen.map(|done| &done.score))
    };
    let mut names: Vec<&'static str> = all.iter().map(|done| done.case.kind).collect();
    names.dedup();
    let decided = of(&|kind| ["recolour", "remove"].contains(&kind));
    Report {
        kinds: names
            .iter()
            .map(|&name| (name, of(&|kind| kind == name)))
            .collect(),
        edits: of(&|kind| EDITS.contains(&kind)),
        rows,
        pointed: decided.pointed,
        right_object: decided.right_object,
        recognised: of(&|_| true).recognised,
    }
}

/// Prints a table of edits, with their gains over copying the input, and a table of the other kinds.
fn print(report: &Report) {
    let db = |value: Option<f64>| value.map_or("".into(), |v| format!("{v:.1}"));
    let part = |value: Option<f64>| value.map_or("".into(), |v| format!("{:.0}%", 100.0 * v));
    say!(
        "| edit | cases | gain, dB | inside, dB | shadows, dB | outside, dB | right object | for the better |"
    );
    say!("|---|---|---|---|---|---|---|---|");
    let rows = EDITS
        .iter()
        .filter_map(|&name| Some((name, report.kinds.get(name)?)));
    for (name, s) in rows.chain(std::iter::once(("all", &report.edits))) {
        say!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            s.cases,
            db(s.whole_gain_db),
            db(s.inside_gain_db),
            db(s.shadow_gain_db),
            db(s.outside_db),
            part(s.pointed),
            part(s.right_object)
        );
    }
    if report.edits.cases > 0 {
        say!(
            "\n| edits by | L1 | PSNR, dB | SSIM | inside, dB | shadows, dB | outside, dB | right object | for the better |"
        );
        say!("|---|---|---|---|---|---|---|---|---|");
    }
    for (name, s) in report.rows.iter().filter(|(_, s)| s.cases > 0) {
        let cell = |name: &str, digits: usize| {
            let interval = s.intervals.get(name);
            interval.map_or("".into(), |interval| interval.text(digits))
        };
        say!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell("l1", 4),
            cell("whole_db", 1),
            cell("ssim", 3),
            cell("inside_db", 1),
            cell("shadow_db", 1),
            cell("outside_db", 1),
            cell("pointed", 2),
            cell("right_object", 2)
        );
    }
    if report.rows.iter().any(|(_, s)| s.dino.is_some()) {
        say!("\n| edits by | CLIPdir | CLIP-I | CLIP-T | DINO |");
        say!("|---|---|---|---|---|");
        for (name, s) in &report.rows {
            let cells = ["clip_direction", "clip_image", "clip_text", "dino"].map(|name| {
                let interval = s.intervals.get(name);
                interval.map_or("".into(), |interval| interval.text(3))
            });
            say!("| {name} | {} |", cells.join(" | "));
        }
    }
    if report.rows.iter().any(|(_, s)| s.cases > 0) {
        say!("\nIn brackets: 95% of bootstrap resamples of the cases.");
    }
    say!("\n| kind | cases | dB | colour and shape right | IoU | depth error |");
    say!("|---|---|---|---|---|---|");
    for (name, s) in report
        .kinds
        .iter()
        .filter(|(name, _)| !EDITS.contains(name))
    {
        say!(
            "| {name} | {} | {} | {} | {} | {} |",
            s.cases,
            db(s.whole_db),
            part(s.recognised),
            s.iou.map_or("".into(), |v| format!("{v:.2}")),
            part(s.depth_error)
        );
    }
}

/// Writes cases at even ranks from best to worst, three per row: inputs, result, ground truth. A case is ranked among those of
/// its kind, because the scores of different kinds are not comparable.
fn grid(all: Vec<Done>, count: usize, path: &Path) -> Result<()> {
    let gain = |done: &Done| {
        let s = &done.score;
        s.whole.unwrap_or(0.0) - s.input_whole.unwrap_or(0.0)
    };
    let place = |done: &Done| {
        let alike = || all.iter().filter(|other| other.case.kind == done.case.kind);
        let better = alike().filter(|other| gain(other) > gain(done)).count();
        better as f64 / alike().count() as f64
    };
    let places: Vec<f64> = all.iter().map(place).collect();
    let mut placed: Vec<(f64, Done)> = std::iter::zip(places, all).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: Vec<Done> = placed.into_iter().map(|(_, done)| done).collect();
    let count = count.clamp(1, all.len().max(1));
    let last = all.len().saturating_sub(1);
    let chosen: Vec<&Done> = (0..count)
        .filter_map(|i| all.get(i * last / count.saturating_sub(1).max(1)))
        .collect();
    let tiles: Vec<[Option<&Image>; 4]> = chosen
        .iter()
        .map(|done| {
            let input = |i: usize| done.case.inputs.get(i).map(|(image, _)| image);
            [
                input(0),
                input(1),
                Some(&done.result),
                Some(&done.case.ground_truth),
            ]
        })
        .collect();
    Image::sheet(&tiles, 3)?.save(path)?;
    let mut text = String::from("| | kind | prompt |\n|---|---|---|\n");
    for (i, done) in chosen.iter().enumerate() {
        text += &format!(
            "| {} | {} | {} |\n",
            i + 1,
            done.case.kind,
            done.case.prompt
        );
    }
    let beside = path.with_extension("md");
    std::fs::write(&beside, text).map_err(|e| Error::io(&beside, e))
}
