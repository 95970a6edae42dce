//! `unireal evaluate benchmark` and `compare`: the benchmarks of the literature, each by a profile of its published evaluation.

mod case;
mod dream_bench;
mod emu_edit;
mod magic_brush;
pub(super) mod page;
mod published;
pub(super) mod report;
mod results;
pub(super) mod scores;
mod scoring;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::backbone::Backbone;
use super::features::Features;
use super::networks;
use super::profile::{Benchmark, Filter, Profile};
use super::sampling::Sampling;
use crate::train::checkpoint;
use case::{Case, Cases};
pub(super) use case::{is_image, json as read_json};
use report::{Report, Run};
use scores::{Scored, Tower};
use unireal::{Error, Result};

/// Default of `--split`.
const DEFAULT_SPLIT: &str = "test";

/// Options of `unireal evaluate benchmark`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Evaluation protocol, such as emu-edit/ultraedit; an unknown name prints the list
    #[arg(long)]
    pub profile: String,
    /// Data set folder, as published by its authors
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Generate the results with this pack: a folder or a URL
    #[arg(
        long,
        value_name = "DIR|URL",
        required_unless_present = "images",
        conflicts_with = "images"
    )]
    pub pack: Option<String>,
    /// Score the results in this folder
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Folder of the feature networks: clip-b32, clip-l14, dino-s16, dino-s8 and dinov2-small, as far as the profile needs
    /// them; without it only pixels are compared
    #[arg(long, value_name = "DIR")]
    pub backbones: Option<PathBuf>,
    /// Run folder; an interrupted run resumes in it
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Name of the run in tables
    #[arg(long, default_value = "this run")]
    pub name: String,
    /// Split of EMU Edit: test or validation
    #[arg(long, default_value = DEFAULT_SPLIT)]
    pub split: String,
    /// File with the ids of cases to leave out, one per line; for profiles that exclude a list of cases
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<PathBuf>,
    /// Seed of the first case's noise; each case adds its index
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Sampling options of the pack
    #[command(flatten)]
    pub sampling: Sampling,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `unireal evaluate compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareOptions {
    /// Run folders, all of one profile; the first is the baseline
    #[arg(value_name = "DIR", num_args = 2.., required = true)]
    pub runs: Vec<PathBuf>,
}

/// Scores a benchmark and prints the report.
///
/// # Errors
/// [`Error::Format`] with the file and the invalid field; [`Error::Request`] for an unknown profile or the folder of another
/// run; errors of the pack and the networks.
pub fn run(options: &Options) -> Result<()> {
    let profile = Profile::named(&options.profile)?;
    let report = measure(options, profile, |towers| open(options, profile, towers))?;
    if options.json {
        let json = serde_json::to_string_pretty(&report);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
    } else {
        say!("{}", text(&[&report], profile));
    }
    Ok(())
}

/// Compares runs and prints their differences.
///
/// # Errors
/// [`Error::Format`] when a folder has no finished run; [`Error::Request`] when the runs are not comparable.
pub fn compare(options: &CompareOptions) -> Result<()> {
    let runs: Vec<Run> = options
        .runs
        .iter()
        .map(|folder| Run::read(folder))
        .collect::<Result<_>>()?;
    let Some((first, others)) = runs.split_first() else {
        return Err(Error::Request("runs: none, expected at least two".into()));
    };
    for other in others {
        report::check_alike(first, other)?;
    }
    let reports: Vec<&Report> = runs.iter().map(|run| &run.report).collect();
    say!("{}", text(&reports, Profile::named(&first.report.profile)?));
    for other in others {
        say!(
            "{} minus {}, case by case:",
            other.report.name,
            first.report.name
        );
        for (metric, interval) in report::differences(first, other) {
            say!("  {metric}: {}", interval.text(4));
        }
    }
    Ok(())
}

/// Formats reports as text.
fn text(reports: &[&Report], profile: &Profile) -> String {
    let mut text = report::markdown(&report::table(reports, profile));
    text += &format!(
        "\nProfile {}: {}.\nIn brackets: 95% of bootstrap resamples. Rows of other protocols are not comparable.\n",
        profile.name, profile.source
    );
    for report in reports {
        let missing: Vec<&str> = profile
            .metrics
            .iter()
            .map(|metric| metric.name())
            .filter(|name| !report.metrics.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            text += &format!(
                "{}: no {}, because their networks are not given.\n",
                report.name,
                missing.join(", ")
            );
        }
    }
    text
}

/// The networks of a run, and the hash of each network's weights by name.
type Towers = (HashMap<Tower, Box<dyn Features>>, BTreeMap<String, String>);

/// Opens the networks that the metrics need.
fn open(options: &Options, profile: &Profile, needed: &HashSet<Tower>) -> Result<Towers> {
    let (mut towers, mut hashes) = (HashMap::new(), BTreeMap::new());
    let Some(folder) = &options.backbones else {
        if profile
            .metrics
            .iter()
            .all(|metric| Tower::of(*metric).is_some())
        {
            return Err(Error::Request(format!(
                "profile {}: no --backbones, expected the folder of its networks",
                profile.name
            )));
        }
        return Ok((towers, hashes));
    };
    for &tower in needed {
        let backbone = match tower {
            Tower::Clip => profile.clip,
            Tower::Dino => profile.dino,
            Tower::Dinov2 => Backbone::Dinov2Small,
        };
        let (encoder, hash) = networks::open(folder, backbone)?;
        hashes.insert(networks::name(backbone)?, hash);
        towers.insert(tower, Box::new(encoder) as Box<dyn Features>);
    }
    Ok((towers, hashes))
}

/// Checks options that apply only to some profiles.
fn check_options(options: &Options, profile: &Profile) -> Result<()> {
    let refuse = |observed: String, expected: &str| {
        let name = profile.name;
        Err(Error::Request(format!(
            "profile {name}: {observed}, expected {expected}"
        )))
    };
    if profile.filter != Filter::List && options.exclude.is_some() {
        return refuse(
            "--exclude".into(),
            "no list: excluding cases makes another profile",
        );
    }
    if profile.benchmark != Benchmark::EmuEdit && options.split != DEFAULT_SPLIT {
        return refuse(
            format!("--split {}", options.split),
            "none: only EMU Edit has splits",
        );
    }
    Ok(())
}

/// Loads the cases of a profile.
fn load(options: &Options, profile: &Profile) -> Result<Cases> {
    check_options(options, profile)?;
    let data = &options.data;
    let mut cases = match profile.benchmark {
        Benchmark::EmuEdit => emu_edit::load(data, &options.split, &options.out.join("inputs"))?,
        Benchmark::MagicBrushAllTurns => magic_brush::load(data, false)?,
        Benchmark::MagicBrushFinalTurn => magic_brush::load(data, true)?,
        Benchmark::DreamBench => dream_bench::load(data)?,
        Benchmark::DreamBenchPlus => dream_bench::load_plus(data)?,
    };
    let before = cases.cases.len();
    match profile.filter {
        Filter::None => {}
        Filter::EqualCaptions => {
            let equal = |case: &Case| case.change.as_ref().is_some_and(|c| c.before == c.after);
            let removed = cases.cases.extract_if(.., |case| equal(case));
            cases.others.extend(removed.flat_map(|case| case.names));
        }
        Filter::List => {
            let list = excluded(options, profile)?;
            let known: HashSet<&String> = cases.cases.iter().map(|case| &case.id).collect();
            if let Some(unknown) = list.iter().find(|id| !known.contains(id)) {
                let file = options.exclude.as_deref().unwrap_or(Path::new(""));
                let example = cases.cases.first().map_or("", |case| &case.id);
                let reason = format!("case: \"{unknown}\", expected ids such as {example}");
                return Err(Error::format(file.display().to_string(), reason));
            }
            let removed = cases.cases.extract_if(.., |case| list.contains(&case.id));
            cases.others.extend(removed.flat_map(|case| case.names));
        }
    }
    cases.left_out = before - cases.cases.len();
    cases.check(data)
}

/// Reads the list of cases to leave out.
fn excluded(options: &Options, profile: &Profile) -> Result<HashSet<String>> {
    let Some(path) = &options.exclude else {
        return Err(Error::Request(format!(
            "profile {}: no --exclude, expected the list of cases that its authors leave out, which is not published (an \
             empty file leaves out none)",
            profile.name
        )));
    };
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

/// Generates or finds the results, scores them and writes the report; `open` opens the networks.
fn measure(
    options: &Options,
    profile: &Profile,
    open: impl FnOnce(&HashSet<Tower>) -> Result<Towers>,
) -> Result<Report> {
    let out = &options.out;
    let cases = load(options, profile)?;
    let needed: HashSet<Tower> = profile
        .metrics
        .iter()
        .filter_map(|metric| Tower::of(*metric))
        .collect();
    // The networks open first, so that missing weights are reported before hours of generation.
    let (towers, backbones) = open(&needed)?;
    let (results, settings) = results::results(options, profile, &cases)?;
    let scored = scoring::score(options, profile, &cases, &results, &towers, &backbones)?;
    let all: Vec<Scored> = scored.iter().map(|(_, scored)| scored.clone()).collect();
    let groups: HashSet<&str> = all.iter().map(|scored| scored.group.as_str()).collect();
    let report = Report {
        profile: profile.name.into(),
        how: profile_json(profile)?,
        name: options.name.clone(),
        settings,
        cases: scored.len(),
        groups: groups.len(),
        left_out: cases.left_out,
        backbones,
        metrics: report::means(&all),
    };
    let pairs: Vec<(&Case, &Scored)> = scored
        .iter()
        .map(|(case, scored)| (*case, scored))
        .collect();
    page::write(out, &report, profile, &pairs)?;
    checkpoint::write(&out.join("report.md"), text(&[&report], profile).as_bytes())?;
    let json = serde_json::to_vec_pretty(&report).map_err(|e| Error::Internal(e.to_string()))?;
    checkpoint::write(&out.join("report.json"), &json)?;
    Ok(report)
}

/// Returns the definition of a profile as JSON.
fn profile_json(profile: &Profile) -> Result<serde_json::Value> {
    serde_json::to_value(profile).map_err(|e| Error::Internal(e.to_string()))
}
