//! Scores the results of a run case by case. Each case's scores are stored in a file, so that an interrupted run resumes and an
//! unchanged case is not scored again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::features::Features;
use super::super::profile::{Metric, Profile};
use super::case::{self, Case, Cases, Input};
use super::scores::{Scored, Scorer, Tower};
use super::{Options, page, profile_json};
use crate::data::shard::sorted_entries;
use crate::train::checkpoint;
use unireal::Image;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

/// Number of cases scored together.
const BATCH: usize = 8;

/// Returns the scores of all scored cases, reusing stored scores whose key is unchanged.
pub(super) fn score<'a>(
    options: &Options,
    profile: &Profile,
    cases: &'a Cases,
    results: &HashMap<String, PathBuf>,
    towers: &HashMap<Tower, Box<dyn Features>>,
    backbones: &BTreeMap<String, String>,
) -> Result<Vec<(&'a Case, Scored)>> {
    let folder = options.out.join("cases");
    let mut scorer = Scorer::new(profile, towers);
    let metrics: Vec<Metric> = scorer.metrics().collect();
    let basis = format!("{}\n{backbones:?}\n{metrics:?}", profile_json(profile)?);
    let scored_cases: Vec<&Case> = cases.cases.iter().filter(|case| case.is_scored).collect();
    remove_stale(&folder, &scored_cases)?;
    let mut all: HashMap<&str, Scored> = HashMap::new();
    for (number, batch) in scored_cases.chunks(BATCH).enumerate() {
        let mut unscored: Vec<(&Case, Image, Scored)> = Vec::new();
        for &case in batch {
            let result = results.get(&case.id);
            let result = result.ok_or_else(|| {
                Error::Internal(format!("result of {}: missing, expected a file", case.id))
            })?;
            let new = without_scores(cases, case, result, &basis)?;
            match stored(&folder, &new) {
                Some(scored) => drop(all.insert(&case.id, scored)),
                None => unscored.push((case, Image::open(result)?, new)),
            }
        }
        if unscored.is_empty() {
            continue;
        }
        let pairs: Vec<(&Case, &Image)> = unscored
            .iter()
            .map(|(case, image, _)| (*case, image))
            .collect();
        let scores = scorer.scores(&pairs)?;
        for ((case, _, mut scored), scores) in unscored.into_iter().zip(scores) {
            scored.scores = scores;
            page::write_images(case, profile, &scored, &options.out)?;
            let json =
                serde_json::to_vec_pretty(&scored).map_err(|e| Error::Internal(e.to_string()))?;
            checkpoint::write(&scores_file(&folder, &case.id), &json)?;
            all.insert(&case.id, scored);
        }
        let count = scored_cases.len();
        eprintln!("scored {} of {count}", (BATCH * (number + 1)).min(count));
    }
    let take = |case: &'a Case| Some((case, all.remove(case.id.as_str())?));
    Ok(scored_cases.into_iter().filter_map(take).collect())
}

fn scores_file(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json"))
}

/// Returns the record of a case before its scores are computed.
fn without_scores(cases: &Cases, case: &Case, result: &Path, basis: &str) -> Result<Scored> {
    let chain = chain(cases, case);
    let prompts: Vec<&str> = chain.iter().map(|case| case.prompt.as_str()).collect();
    Ok(Scored {
        id: case.id.clone(),
        group: case.group.clone(),
        prompt: prompts.join("; then "),
        caption: case.caption.clone(),
        input: match &chain[0].input {
            Input::File(path) => path.clone(),
            Input::Result(id) => PathBuf::from(id),
        },
        result: result.to_owned(),
        key: key(basis, case, result)?,
        scores: BTreeMap::new(),
    })
}

/// Returns the stored scores of a case if they have the key of `new`; `None` also for an unreadable file, which is recomputed.
fn stored(folder: &Path, new: &Scored) -> Option<Scored> {
    let found: Scored = case::json(&scores_file(folder, &new.id)).ok()?;
    (found.key == new.key).then_some(found)
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
fn remove_stale(folder: &Path, cases: &[&Case]) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let current: HashSet<PathBuf> = cases
        .iter()
        .map(|case| scores_file(folder, &case.id))
        .collect();
    for path in sorted_entries(folder)? {
        let is_json = path.extension().is_some_and(|e| e == "json");
        if is_json && !current.contains(&path) {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}
