//! `unireal evaluate preference` and `answers`: the paper's user study as a page. Raters see the results of two runs beside each
//! other without knowing whose is whose, and say for each pair which keeps the details better, which follows the request better and
//! which is the better picture. Where they see no difference they may say so.
//!
//! Choice: the paper's ten raters ranked methods; how they were asked is not said. Pairs are the simplest question.

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

use super::benchmark::page::{escape, head};
use super::benchmark::report::{Run, check_same_cases};
use crate::train::checkpoint;
use unireal::Image;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

pub use answers::{AnswersOptions, run as answers};

/// Longest side of a picture that is shown.
const SIDE: u32 = 768;

/// Name, title and text of the questions, which are the paper's three (section 4.3).
const QUESTIONS: [[&str; 3]; 3] = [
    [
        "detail",
        "Details",
        "which result keeps what should stay of the input picture better?",
    ],
    [
        "alignment",
        "Request",
        "which result does what the request asks better?",
    ],
    ["quality", "Quality", "which result is the better picture?"],
];

/// What `unireal evaluate preference` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The folder of a run of `unireal evaluate benchmark`
    #[arg(long, value_name = "DIR")]
    pub ours: PathBuf,
    /// The folder of another run on the same cases
    #[arg(long, value_name = "DIR")]
    pub theirs: PathBuf,
    /// Where the study is written: page/ for the raters, key.json for nobody but you
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Pairs, drawn from the cases; all when left out
    #[arg(long)]
    pub pairs: Option<usize>,
    /// Seed of the drawing, the order and the sides
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Which run a picture is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Whose {
    Ours,
    Theirs,
}

/// What the raters must not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    /// What the runs are called.
    ours: String,
    theirs: String,
    /// The pairs as they are shown, numbered from 1.
    pairs: Vec<Pair>,
}

/// A pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    /// The case.
    id: String,
    /// Whose result is on the left.
    left: Whose,
}

impl Key {
    /// A name of the study that gives nothing away: a hash of the key.
    fn study(&self) -> Result<String> {
        let text = serde_json::to_vec(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(hex(&Sha256::digest(text))[..16].to_owned())
    }
}

/// Writes a study.
///
/// # Errors
/// [`Error::Format`] when a run cannot be read, [`Error::Request`] when the runs have other cases or too few, or when the folder
/// holds another study.
pub fn run(options: &Options) -> Result<()> {
    let (ours, theirs) = (Run::read(&options.ours)?, Run::read(&options.theirs)?);
    check_same_cases(&ours, &theirs)?;
    let key = draw(&ours, &theirs, options)?;
    let out = &options.out;
    let path = out.join("key.json");
    let text = serde_json::to_vec_pretty(&key).map_err(|e| Error::Internal(e.to_string()))?;
    if std::fs::read(&path).is_ok_and(|there| there != text) {
        return Err(Error::Request(format!(
            "{} is the key of another study, without which its answers mean nothing; choose another --out",
            path.display()
        )));
    }
    checkpoint::write(&path, &text)?;
    let page = out.join("page");
    let mut shown = Vec::new();
    for (number, pair) in key.pairs.iter().enumerate().map(|(i, pair)| (i + 1, pair)) {
        let (our, their) = (&ours.cases[&pair.id], &theirs.cases[&pair.id]);
        let (left, right) = match pair.left {
            Whose::Ours => (our, their),
            Whose::Theirs => (their, our),
        };
        let place = |name: &str, from: &Path| {
            let inside = format!("pictures/{number}-{name}.png");
            checkpoint::write(&page.join(&inside), &fitted(&Image::open(from)?).to_png()?)?;
            Ok::<_, Error>(inside)
        };
        shown.push(json!({
            "number": number,
            "prompt": our.prompt,
            "input": place("input", &our.input)?,
            "left": place("left", &left.result)?,
            "right": place("right", &right.result)?,
        }));
    }
    let questions: Vec<_> = QUESTIONS
        .iter()
        .map(|[name, title, text]| json!({"name": name, "title": title, "text": text}))
        .collect();
    let study = json!({"study": key.study()?, "questions": questions, "pairs": shown});
    checkpoint::write(&page.join("page.css"), include_bytes!("page.css"))?;
    checkpoint::write(&page.join("page.js"), include_bytes!("page.js"))?;
    checkpoint::write(
        &page.join("index.html"),
        html(&study.to_string()).as_bytes(),
    )?;
    eprintln!(
        "{} pairs; give {} to the raters and keep {}",
        key.pairs.len(),
        page.display(),
        path.display()
    );
    Ok(())
}

/// Cases in a random order, half of them with ours on the left.
fn draw(ours: &Run, theirs: &Run, options: &Options) -> Result<Key> {
    let rng = &mut ChaCha8Rng::seed_from_u64(options.seed);
    let mut ids: Vec<&String> = ours.cases.keys().collect();
    let count = options.pairs.unwrap_or(ids.len());
    if count == 0 || count > ids.len() {
        return Err(Error::Request(format!(
            "{count} pairs of {} cases; ask for 1 to {}",
            ids.len(),
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

/// A picture that is no larger than a rater sees it, so that no run is known by its file's size.
fn fitted(image: &Image) -> Image {
    let long = image.width.max(image.height);
    let side = |side: u32| (side * SIDE / long).max(1);
    if long <= SIDE {
        image.clone()
    } else {
        image.resize(side(image.width), side(image.height))
    }
}

/// The page; `study` is JSON.
fn html(study: &str) -> String {
    // In a script element, only "<" could end it or begin a comment.
    let study = study.replace('<', "\\u003c");
    let words = "You will see pairs of pictures, A and B, that were made from the same input picture and the same request. For each \
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
            escape(words)
        )
}
