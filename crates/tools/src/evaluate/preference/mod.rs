//! `unireal evaluate preference` and `answers`: the paper's user study as a page. Raters see the results of two runs side by
//! side, without knowing which run each is from, and say for each pair which preserves the details better, which follows the
//! request better and which is the better image. They may also answer that they see no difference.
//!
//! Choice: the paper's ten raters ranked methods; how they were asked is not published. Pairs are the simplest question.

mod answers;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::benchmark::page::{escape, head, shrink};
use super::benchmark::report::{Run, check_same_cases};
use crate::train::checkpoint;
use unireal::Image;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

pub use answers::{AnswersOptions, run as answers};

/// Maximum side of a displayed image, in pixels. Large images are shrunk, so that their size does not reveal the run.
const SIDE: u32 = 768;

/// Name, title and text of the paper's three questions (section 4.3).
const QUESTIONS: [[&str; 3]; 3] = [
    [
        "detail",
        "Details",
        "which result better preserves what should not change in the input picture?",
    ],
    [
        "alignment",
        "Request",
        "which result better follows the request?",
    ],
    ["quality", "Quality", "which result is the better picture?"],
];

/// Options of `unireal evaluate preference`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Run folder of `unireal evaluate benchmark`
    #[arg(long, value_name = "DIR")]
    pub ours: PathBuf,
    /// Run folder of another run on the same cases
    #[arg(long, value_name = "DIR")]
    pub theirs: PathBuf,
    /// Output folder: page/ for the raters, and key.json, which they must not see
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of pairs, drawn from the cases; default: all
    #[arg(long)]
    pub pairs: Option<usize>,
    /// Seed for the choice, the order and the sides of the pairs
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// The run that an image is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Whose {
    Ours,
    Theirs,
}

/// The secret part of the study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    /// Names of the runs.
    ours: String,
    theirs: String,
    /// The pairs in the order shown, numbered from 1.
    pairs: Vec<Pair>,
}

/// One pair of results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    /// Id of the case.
    id: String,
    /// The run whose result is on the left.
    left: Whose,
}

impl Key {
    /// Returns the study's id: a hash of the key, which does not reveal it.
    fn study(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(hex(&Sha256::digest(text))[..16].to_owned())
    }
}

/// Writes a study: the page and its key.
///
/// # Errors
/// [`Error::Format`] when a run cannot be read, [`Error::Request`] when the runs have different cases or too few, or when the
/// folder contains another study.
pub fn run(options: &Options) -> Result<()> {
    let (ours, theirs) = (Run::read(&options.ours)?, Run::read(&options.theirs)?);
    check_same_cases(&ours, &theirs)?;
    let key = draw(&ours, &theirs, options)?;
    let out = &options.out;
    let path = out.join("key.json");
    let text = serde_json::to_vec_pretty(&key).map_err(|e| Error::Internal(e.to_string()))?;
    if std::fs::read(&path).is_ok_and(|stored| stored != text) {
        return Err(Error::Request(format!(
            "--out: {} is the key of another study, expected a folder without a study",
            path.display()
        )));
    }
    checkpoint::write(&path, &text)?;
    let page = out.join("page");
    let mut pairs = Vec::new();
    for (number, pair) in key.pairs.iter().enumerate().map(|(i, pair)| (i + 1, pair)) {
        let (our, their) = (&ours.cases[&pair.id], &theirs.cases[&pair.id]);
        let (left, right) = match pair.left {
            Whose::Ours => (our, their),
            Whose::Theirs => (their, our),
        };
        let write = |name: &str, source: &Path| {
            let path = format!("pictures/{number}-{name}.png");
            let image = shrink(&Image::open(source)?, SIDE);
            checkpoint::write(&page.join(&path), &image.to_png()?)?;
            Ok::<_, Error>(path)
        };
        pairs.push(json!({
            "number": number,
            "prompt": our.prompt,
            "input": write("input", &our.input)?,
            "left": write("left", &left.result)?,
            "right": write("right", &right.result)?,
        }));
    }
    let questions: Vec<_> = QUESTIONS
        .iter()
        .map(|[name, title, text]| json!({"name": name, "title": title, "text": text}))
        .collect();
    let study = json!({"study": key.study()?, "questions": questions, "pairs": pairs});
    checkpoint::write(&page.join("page.css"), include_bytes!("page.css"))?;
    checkpoint::write(&page.join("page.js"), include_bytes!("page.js"))?;
    checkpoint::write(
        &page.join("index.html"),
        html(&study.to_string()).as_bytes(),
    )?;
    eprintln!(
        "{} pairs: give {} to the raters, but not {}",
        key.pairs.len(),
        page.display(),
        path.display()
    );
    Ok(())
}

/// Draws cases in random order, half of them with ours on the left.
fn draw(ours: &Run, theirs: &Run, options: &Options) -> Result<Key> {
    let rng = &mut ChaCha8Rng::seed_from_u64(options.seed);
    let mut ids: Vec<&String> = ours.cases.keys().collect();
    let count = options.pairs.unwrap_or(ids.len());
    if count == 0 || count > ids.len() {
        return Err(Error::Request(format!(
            "--pairs: {count}, expected 1 to {} (the number of cases)",
            ids.len()
        )));
    }
    ids.shuffle(rng);
    let mut sides: Vec<Whose> = (0..count)
        .map(|i| {
            if i % 2 == 0 {
                Whose::Ours
            } else {
                Whose::Theirs
            }
        })
        .collect();
    sides.shuffle(rng);
    Ok(Key {
        ours: ours.report.name.clone(),
        theirs: theirs.report.name.clone(),
        pairs: std::iter::zip(ids, sides)
            .map(|(id, left)| Pair {
                id: id.clone(),
                left,
            })
            .collect(),
    })
}

/// Returns the page; `study` is JSON.
fn html(study: &str) -> String {
    // In a script element, only "<" can start an end tag or a comment.
    let study = study.replace('<', "\\u003c");
    let introduction = "You will see pairs of pictures, A and B, that were made from the same input picture and the same request. For each \
                 pair, answer three questions. There is no right answer and no time limit. Inside a question, the keys 1, 2 and 3 \
                 choose A, no difference and B.";
    head("Which picture is better?", "page.css", Some("page.js"))
        + &format!(
            r#"<main>
<noscript><p>This page needs JavaScript.</p></noscript>
<form id="start" hidden>
<h1>Which picture is better?</h1>
<p>{}</p>
<p><label for="rater">Your name, or a word that nobody else uses</label><br><input id="rater" required maxlength="80" autocomplete="off"></p>
<button>Start</button>
</form>
<form id="pair" hidden novalidate>
<h1 id="title" tabindex="-1"></h1>
<progress id="progress" value="0" aria-labelledby="title"></progress>
<p class="request">Request: <q id="request"></q></p>
<div class="pictures">
<figure><img id="input" alt="the input picture"><figcaption>input</figcaption></figure>
<figure><img id="left" alt="result A"><figcaption>A</figcaption></figure>
<figure><img id="right" alt="result B"><figcaption>B</figcaption></figure>
</div>
<div id="questions"></div>
<p id="problem" class="problem" role="alert"></p>
<button type="button" id="back">Back</button><button id="next">Next</button>
</form>
<section id="end" hidden>
<h1 id="end-title" tabindex="-1">Thank you</h1>
<p>Save your answers and send the file to whoever asked you.</p>
<p><a id="save">Save the answers</a></p>
<p><label for="answers">Or copy them from here</label></p>
<textarea id="answers" readonly></textarea>
<p><button type="button" id="again">Back to the last pair</button></p>
</section>
</main>
<script type="application/json" id="study">{study}</script>
</html>
"#,
            escape(introduction)
        )
}
