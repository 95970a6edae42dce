//! `unireal evaluate world`: evaluates packs on held-out scenes of the tabletop world with known ground truth.

mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cases::{Case, EDITS, cases, kinds};
use super::networks::Tabletop;
use super::sampling::Sampling;
use super::score::{Score, Summary};
use crate::data::tabletop::HELD_OUT;
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
    #[arg(long, value_name = "FRACTION")]
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
struct ScoredCase {
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
    check(options)?;
    let cases = all_cases(options, side(options)?)?;
    let (all, rows) = pollster::block_on(evaluate_packs(options, cases))?;
    let report = report(&all, rows);
    if options.json {
        let json = serde_json::to_string_pretty(&report);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
    } else {
        tables::print(&report);
    }
    let right = report.right_object;
    if let Some(path) = &options.grid {
        grid(all, options.grid_cases, path)?;
    }
    match (options.require, right) {
        (Some(required), right) if right.is_none_or(|right| right < required) => {
            Err(Error::Request(format!(
                "recolours and removals that change the right object for the better: {:.1}%, expected at least {:.1}%",
                100.0 * right.unwrap_or(0.0),
                100.0 * required
            )))
        }
        _ => Ok(()),
    }
}

/// Checks the numeric options.
fn check(options: &Options) -> Result<()> {
    if options.cases == 0 {
        return Err(Error::Request("--cases: 0, expected 1 or more".into()));
    }
    if options.grid_cases == 0 {
        return Err(Error::Request("--grid-cases: 0, expected 1 or more".into()));
    }
    match options.require {
        Some(required) if !(0.0..=1.0).contains(&required) => Err(Error::Request(format!(
            "--require: {required}, expected a fraction from 0 to 1"
        ))),
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
    let (first_pack, side) = sides[0];
    match sides.iter().find(|(_, other)| *other != side) {
        None => Ok(side),
        Some((pack, other)) => Err(Error::Request(format!(
            "image side of {pack}: {other} pixels, expected {side} as {first_pack} has"
        ))),
    }
}

fn all_cases(options: &Options, side: u32) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for kind in kinds(&options.kinds)? {
        let first_seed = HELD_OUT + options.first;
        all.extend(cases(
            kind,
            options.cases,
            first_seed,
            side,
            Wording::from(options.wording),
        )?);
    }
    Ok(all)
}

/// Returns the first pack's results, and the summaries of the edits for copying the input and for all packs.
async fn evaluate_packs(
    options: &Options,
    cases: Vec<Case>,
) -> Result<(Vec<ScoredCase>, Vec<(String, Summary)>)> {
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
    let score = |case: &Case, image: &Image| {
        let mut score = Score::new(case, image)?;
        if let Some(networks) = &networks {
            networks.features(case, image, &mut score)?;
        }
        Ok::<_, Error>(score)
    };
    let copied: Vec<Score> = edits()
        .map(|(_, case)| score(case, &case.inputs[0].0))
        .collect::<Result<_>>()?;
    let mut rows = vec![("copy the input".to_owned(), Summary::of(&copied))];
    let mut of_first_pack = Vec::new();
    for (number, pack) in options.packs.iter().enumerate() {
        let (pipeline, _) = options.sampling.open(pack).await?;
        let mut scores = Vec::new();
        for (i, case) in cases.iter().enumerate() {
            // Baselines only appear in the table of edits.
            if number > 0 && !EDITS.contains(&case.kind) {
                continue;
            }
            // A case has the same seed in every pack: its place within its kind.
            let seed = (i % options.cases) as u64;
            let result = generate_case(&pipeline, options, case, seed).await?;
            let score = score(case, &result)?;
            if EDITS.contains(&case.kind) {
                scores.push(score.clone());
            }
            if number == 0 {
                of_first_pack.push((result, score));
            }
            if (i + 1) % options.cases == 0 {
                eprintln!("{pack}, {}: {} cases", case.kind, options.cases);
            }
        }
        rows.push((pack.clone(), Summary::of(&scores)));
    }
    let scored = |(case, (result, score))| ScoredCase {
        case,
        result,
        score,
    };
    Ok((
        cases.into_iter().zip(of_first_pack).map(scored).collect(),
        rows,
    ))
}

async fn generate_case(
    pipeline: &Pipeline,
    options: &Options,
    case: &Case,
    seed: u64,
) -> Result<Image> {
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

fn report(all: &[ScoredCase], rows: Vec<(String, Summary)>) -> Report {
    let of = |is: &dyn Fn(&str) -> bool| {
        let chosen = all.iter().filter(|scored| is(scored.case.kind));
        Summary::of(chosen.map(|scored| &scored.score))
    };
    let mut names: Vec<&'static str> = all.iter().map(|scored| scored.case.kind).collect();
    names.dedup();
    let recolours_and_removals = of(&|kind| ["recolour", "remove"].contains(&kind));
    Report {
        kinds: names
            .iter()
            .map(|&name| (name, of(&|kind| kind == name)))
            .collect(),
        edits: of(&|kind| EDITS.contains(&kind)),
        rows,
        pointed: recolours_and_removals.pointed,
        right_object: recolours_and_removals.right_object,
        recognised: of(&|_| true).recognised,
    }
}

/// Writes cases at even ranks from best to worst, three per row: inputs, result, ground truth. A case is ranked among those of
/// its kind, because the scores of different kinds are not comparable.
fn grid(all: Vec<ScoredCase>, count: usize, path: &Path) -> Result<()> {
    let gain = |scored: &ScoredCase| {
        let s = &scored.score;
        s.whole.unwrap_or(0.0) - s.input_whole.unwrap_or(0.0)
    };
    let rank = |scored: &ScoredCase| {
        let same_kind = || {
            all.iter()
                .filter(|other| other.case.kind == scored.case.kind)
        };
        let better = same_kind()
            .filter(|other| gain(other) > gain(scored))
            .count();
        better as f64 / same_kind().count() as f64
    };
    let ranks: Vec<f64> = all.iter().map(rank).collect();
    let mut ranked: Vec<(f64, ScoredCase)> = std::iter::zip(ranks, all).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: Vec<ScoredCase> = ranked.into_iter().map(|(_, scored)| scored).collect();
    let count = count.min(all.len().max(1));
    let last = all.len().saturating_sub(1);
    let chosen: Vec<&ScoredCase> = (0..count)
        .filter_map(|i| all.get(i * last / count.saturating_sub(1).max(1)))
        .collect();
    let tiles: Vec<[Option<&Image>; 4]> = chosen
        .iter()
        .map(|scored| {
            let input = |i: usize| scored.case.inputs.get(i).map(|(image, _)| image);
            [
                input(0),
                input(1),
                Some(&scored.result),
                Some(&scored.case.ground_truth),
            ]
        })
        .collect();
    Image::sheet(&tiles, 3)?.save(path)?;
    let mut text = String::from("| | kind | prompt |\n|---|---|---|\n");
    for (i, scored) in chosen.iter().enumerate() {
        text += &format!(
            "| {} | {} | {} |\n",
            i + 1,
            scored.case.kind,
            scored.case.prompt
        );
    }
    let prompts = path.with_extension("md");
    std::fs::write(&prompts, text).map_err(|e| Error::io(&prompts, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let parse = |option: &str, value: &str| {
            let arguments = ["world", "--pack", "nowhere", option, value];
            Command::try_parse_from(arguments).unwrap().options
        };
        check(&parse("--require", "1")).unwrap();
        for (option, value) in [
            ("--cases", "0"),
            ("--grid-cases", "0"),
            ("--require", "NaN"),
            ("--require", "40"),
        ] {
            let refused = check(&parse(option, value)).unwrap_err().to_string();
            let expected = format!("{option}: {value}, expected");
            assert!(refused.contains(&expected), "{refused}");
        }
    }
}
