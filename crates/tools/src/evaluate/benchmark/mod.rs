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
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::backbone::Backbone;
use super::features::Features;
use super::networks;
use super::profile::{Benchmark, Filter, Metric, Profile};
use super::sampling::Sampling;
use crate::train::checkpoint;
pub(super) use case::json as read_json;
use case::{Case, Cases, Input};
use report::{Report, Run};
use results::Settings;
use scores::{Scored, Scorer, Tower};
use unireal::Image;
use unireal::Request;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

/// Number of cases scored together.
const BATCH: usize = 8;

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
    #[arg(long, default_value = "test")]
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
        return Err(Error::Request("no runs to compare".into()));
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
        "\nProfile {}: {}.\nIn brackets: 95% of bootstrap resamples. Rows of other protocols say nothing about these.\n",
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
                "{}: no {}, for want of networks.\n",
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
            let reason =
                "compares no pixels, only what networks see: give their folder as --backbones";
            return Err(Error::Request(format!("profile {} {reason}", profile.name)));
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

/// Loads the cases of a profile.
fn load(options: &Options, profile: &Profile) -> Result<Cases> {
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
            let out = cases.cases.extract_if(.., |case| equal(case));
            cases.others.extend(out.flat_map(|case| case.names));
        }
        Filter::List => {
            let list = excluded(options, profile)?;
            let known: HashSet<&String> = cases.cases.iter().map(|case| &case.id).collect();
            if let Some(unknown) = list.iter().find(|id| !known.contains(id)) {
                let file = options.exclude.as_deref().unwrap_or(Path::new(""));
                let example = cases.cases.first().map_or("", |case| &case.id);
                let reason = format!(
                    "\"{unknown}\" is no case of the data set; they are named as {example}"
                );
                return Err(Error::format(file.display().to_string(), reason));
            }
            let out = cases.cases.extract_if(.., |case| list.contains(&case.id));
            cases.others.extend(out.flat_map(|case| case.names));
        }
    }
    if profile.filter != Filter::List && options.exclude.is_some() {
        let reason = "leaves no listed cases out; --exclude would make it another profile";
        return Err(Error::Request(format!("profile {} {reason}", profile.name)));
    }
    cases.left_out = before - cases.cases.len();
    cases.check(data)
}

/// Reads the list of cases to leave out.
fn excluded(options: &Options, profile: &Profile) -> Result<HashSet<String>> {
    let Some(path) = &options.exclude else {
        let reason = "leaves out a list of cases that its authors have not published; give one as --exclude (an empty file leaves \
                      out none)";
        return Err(Error::Request(format!("profile {} {reason}", profile.name)));
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
    // First, so that missing weights are reported before hours of generation.
    let (towers, backbones) = open(&needed)?;
    let (results, settings) = results(options, profile, &cases)?;
    let scored = score(options, profile, &cases, &results, &towers, &backbones)?;
    let groups: HashSet<&str> = scored
        .iter()
        .map(|(_, scored)| scored.group.as_str())
        .collect();
    let all: Vec<Scored> = scored.iter().map(|(_, scored)| scored.clone()).collect();
    let report = Report {
        profile: profile.name.into(),
        how: how(profile)?,
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

fn how(profile: &Profile) -> Result<serde_json::Value> {
    serde_json::to_value(profile).map_err(|e| Error::Internal(e.to_string()))
}

/// Returns the result files by case id, and the settings of the run.
fn results(
    options: &Options,
    profile: &Profile,
    cases: &Cases,
) -> Result<(HashMap<String, PathBuf>, Settings)> {
    let list = match (&options.exclude, profile.filter) {
        (Some(path), Filter::List) => {
            let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
            Some(hex(&Sha256::digest(bytes)))
        }
        _ => None,
    };
    let mut settings = Settings {
        profile: profile.name.into(),
        data: options.data.display().to_string(),
        cases: fingerprint(cases),
        split: options.split.clone(),
        exclude: list,
        images: options
            .images
            .as_ref()
            .map(|folder| folder.display().to_string()),
        pack: options.pack.clone(),
        weights: None,
        sampling: None,
        seed: None,
    };
    let Some(pack) = &options.pack else {
        let folder = options.images.as_deref().unwrap_or(Path::new(""));
        let found = case::find_results(cases, folder)?;
        settings.store(&options.out)?;
        return Ok((found, settings));
    };
    let (pipeline, weights) = pollster::block_on(options.sampling.open(pack))?;
    settings.weights = Some(weights);
    // Records the resolved number of steps, because the pack's default may change.
    settings.sampling = Some(Sampling {
        steps: Some(pipeline.steps(options.sampling.steps)),
        ..options.sampling.clone()
    });
    settings.seed = Some(options.seed);
    settings.store(&options.out)?;
    let made = results::make_results(cases, &options.out, |case, number, input| {
        let mut request = Request::new(&case.prompt).frame(input, case.role);
        request.seed = options.seed + number;
        pollster::block_on(options.sampling.image(&pipeline, request))
    })?;
    Ok((made, settings))
}

/// Returns a hash of the ids, prompts and inputs of the cases.
fn fingerprint(cases: &Cases) -> String {
    let mut hash = Sha256::new();
    for case in &cases.cases {
        hash.update(format!("{}\n{}\n{:?}\n", case.id, case.prompt, case.input));
    }
    hex(&hash.finalize())
}

/// Returns the scores of all scored cases, reusing stored scores whose key is unchanged.
fn score<'a>(
    options: &Options,
    profile: &Profile,
    cases: &'a Cases,
    results: &HashMap<String, PathBuf>,
    towers: &HashMap<Tower, Box<dyn Features>>,
    backbones: &BTreeMap<String, String>,
) -> Result<Vec<(&'a Case, Scored)>> {
    let out = &options.out;
    let mut scorer = Scorer::new(profile, towers);
    let metrics: Vec<Metric> = scorer.metrics().collect();
    let basis = format!("{}\n{backbones:?}\n{metrics:?}", how(profile)?);
    let mut all = Vec::new();
    let counting: Vec<&Case> = cases.cases.iter().filter(|case| case.counts).collect();
    forget_others(&out.join("cases"), &counting)?;
    for (number, batch) in counting.chunks(BATCH).enumerate() {
        let mut open: Vec<(&Case, Image, Scored)> = Vec::new();
        for case in batch {
            let result = results.get(&case.id);
            let result =
                result.ok_or_else(|| Error::Internal(format!("{} has no result", case.id)))?;
            let key = key(&basis, case, result)?;
            let chain = chain(cases, case);
            let asked: Vec<&str> = chain.iter().map(|case| case.prompt.as_str()).collect();
            let path = out.join("cases").join(format!("{}.json", case.id));
            // An unreadable file is recomputed.
            match case::json::<Scored>(&path) {
                Ok(scored) if scored.key == key => all.push((*case, scored)),
                _ => open.push((
                    case,
                    Image::open(result)?,
                    Scored {
                        id: case.id.clone(),
                        group: case.group.clone(),
                        prompt: asked.join("; then "),
                        caption: case.caption.clone(),
                        input: match &chain[0].input {
                            Input::File(path) => path.clone(),
                            Input::Result(id) => PathBuf::from(id),
                        },
                        result: result.clone(),
                        key,
                        scores: BTreeMap::new(),
                    },
                )),
            }
        }
        if open.is_empty() {
            continue;
        }
        let pairs: Vec<(&Case, &Image)> =
            open.iter().map(|(case, image, _)| (*case, image)).collect();
        let scores = scorer.scores(&pairs)?;
        for ((case, _, mut scored), scores) in open.into_iter().zip(scores) {
            scored.scores = scores;
            page::write_pictures(case, profile, &scored, out)?;
            let json =
                serde_json::to_vec_pretty(&scored).map_err(|e| Error::Internal(e.to_string()))?;
            checkpoint::write(&out.join("cases").join(format!("{}.json", case.id)), &json)?;
            all.push((case, scored));
        }
        eprintln!(
            "measured {} of {}",
            (BATCH * (number + 1)).min(counting.len()),
            counting.len()
        );
    }
    let order: HashMap<&str, usize> = counting
        .iter()
        .enumerate()
        .map(|(i, case)| (case.id.as_str(), i))
        .collect();
    all.sort_by_key(|(case, _)| order[case.id.as_str()]);
    Ok(all)
}

/// Returns the chain of cases whose results led to this one, this one last; a human judge sees all prompts since the first.
fn chain<'a>(cases: &'a Cases, case: &'a Case) -> Vec<&'a Case> {
    let mut chain = vec![case];
    while let Input::Result(id) = &chain[0].input
        && let Some(before) = cases.cases.iter().find(|case| case.id == *id)
        && chain.len() < cases.cases.len()
    {
        chain.insert(0, before);
    }
    chain
}

/// Returns a hash of everything that a case's scores depend on.
fn key(basis: &str, case: &Case, result: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(basis);
    hash.update(format!(
        "\n{}\n{}\n{:?}\n",
        case.prompt, case.caption, case.change
    ));
    let before = case.change.as_ref().map(|change| &change.image);
    for path in case
        .references
        .iter()
        .chain(before)
        .map(PathBuf::as_path)
        .chain([result])
    {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        hash.update(Sha256::digest(bytes));
    }
    Ok(hex(&hash.finalize()))
}

/// Removes the stored scores of cases that are no longer part of the run, such as those removed from the data set.
fn forget_others(folder: &Path, cases: &[&Case]) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let known: HashSet<String> = cases
        .iter()
        .map(|case| format!("{}.json", case.id))
        .collect();
    for path in case::listed(folder)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".json") && !known.contains(&name) {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}
