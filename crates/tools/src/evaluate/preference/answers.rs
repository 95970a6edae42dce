//! Reads the raters' answers and computes how often each run was preferred.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::benchmark::read_json;
use super::super::statistics::Interval;
use super::{Key, QUESTIONS, Whose};
use unireal::{Error, Result};

/// Options of `unireal evaluate answers`.
#[derive(Clone, Debug, clap::Args)]
pub struct AnswersOptions {
    /// Key file of the study
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Answer files saved by the raters
    #[arg(value_name = "FILE", required = true)]
    pub answers: Vec<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// The preferred side, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Choice {
    Left,
    Same,
    Right,
}

/// The answer file of a rater.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answers {
    pub study: String,
    pub rater: String,
    pub answers: Vec<Answer>,
}

/// The answers to the questions about one pair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub pair: usize,
    #[serde(flatten)]
    pub choices: HashMap<String, Choice>,
}

/// Shares of the answers to one question, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Share that prefers ours.
    pub ours: f64,
    /// Share that sees no difference.
    pub same: f64,
    /// Share that prefers theirs.
    pub theirs: f64,
    /// Share of ours plus half of `same`: above 0.5 favours ours. The bootstrap resamples pairs, because several raters'
    /// answers about one pair are not independent.
    pub preference: Interval,
}

/// Reads answers and prints how often each run was preferred.
///
/// # Errors
/// [`Error::Format`] with the file and field for answers that belong to another study, are incomplete or are duplicated.
pub fn run(options: &AnswersOptions) -> Result<()> {
    let key: Key = read_json(&options.key)?;
    let rates = rates(&key, &options.answers)?;
    if options.json {
        let json = serde_json::to_string_pretty(&rates);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
        return Ok(());
    }
    let (raters, pairs) = (options.answers.len(), key.pairs.len());
    say!(
        "{raters} raters, {pairs} pairs; ours is {}, theirs {}\n",
        key.ours,
        key.theirs
    );
    say!("| question | ours | same | theirs | preference for ours |");
    say!("|---|---|---|---|---|");
    for [name, title, _] in QUESTIONS {
        let Rates {
            ours,
            same,
            theirs,
            preference,
        } = rates[name];
        let percent = |share: f64| format!("{:.0}%", 100.0 * share);
        let all = [ours, same, theirs].map(percent).join(" | ");
        say!("| {title} | {all} | {} |", preference.text(2));
    }
    Ok(())
}

/// Computes the shares of each question.
pub(super) fn rates(key: &Key, files: &[PathBuf]) -> Result<BTreeMap<&'static str, Rates>> {
    let (study, mut raters, mut all) = (key.study()?, HashSet::new(), Vec::new());
    for path in files {
        let answers: Answers = read_json(path)?;
        check(&answers, key, &study, path)?;
        if !raters.insert(answers.rater.clone()) {
            let reason = format!(
                "rater: \"{}\" as in another file, expected one file per rater",
                answers.rater
            );
            return Err(Error::format(path.display().to_string(), reason));
        }
        all.extend(answers.answers);
    }
    let of = |name: &'static str| {
        // 1 for ours, 0 for theirs, 0.5 for no difference.
        let value = |answer: &Answer| match (answer.choices[name], key.pairs[answer.pair - 1].left)
        {
            (Choice::Same, _) => 0.5,
            (Choice::Left, Whose::Ours) | (Choice::Right, Whose::Theirs) => 1.0,
            _ => 0.0,
        };
        let values = || {
            all.iter()
                .map(|answer| (key.pairs[answer.pair - 1].id.as_str(), value(answer)))
        };
        let share = |wanted: f64| {
            values().filter(|(_, value)| *value == wanted).count() as f64 / all.len() as f64
        };
        let preference = Interval::of(values())
            .ok_or_else(|| Error::Request("answers: none, expected at least one".into()))?;
        let (ours, same, theirs) = (share(1.0), share(0.5), share(0.0));
        Ok((
            name,
            Rates {
                ours,
                same,
                theirs,
                preference,
            },
        ))
    };
    QUESTIONS.iter().map(|[name, _, _]| of(name)).collect()
}

/// Checks that a file answers this study: each pair exactly once, and every question.
fn check(answers: &Answers, key: &Key, study: &str, path: &Path) -> Result<()> {
    let fail = |reason: String| Err(Error::format(path.display().to_string(), reason));
    if answers.study != study {
        return fail(format!(
            "study: {}, expected {study} as in the key",
            answers.study
        ));
    }
    if answers.rater.trim().is_empty() {
        return fail("rater: empty, expected a name".into());
    }
    let (mut seen, count) = (HashSet::new(), key.pairs.len());
    for answer in &answers.answers {
        let pair = answer.pair;
        if !(1..=count).contains(&pair) {
            return fail(format!("pair: {pair}, expected 1 to {count}"));
        }
        if !seen.insert(pair) {
            return fail(format!("pair {pair}: answered twice, expected once"));
        }
        if let Some([name, _, _]) = QUESTIONS
            .iter()
            .find(|[name, _, _]| !answer.choices.contains_key(*name))
        {
            return fail(format!(
                "pair {pair}: no answer to \"{name}\", expected left, same or right"
            ));
        }
    }
    match (1..=count).find(|pair| !seen.contains(pair)) {
        Some(pair) => fail(format!(
            "answers: {} of {count} pairs, expected also pair {pair}",
            seen.len()
        )),
        None => Ok(()),
    }
}
