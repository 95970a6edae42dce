//! Creates a study from two small runs and evaluates answers.

use super::answers::{Answer, Answers, Choice, rates};
use super::*;
use crate::evaluate::benchmark::tests::{assert_contains, finished_run};
use crate::evaluate::statistics::Interval;

/// Creates a study of eight pairs; returns its folder and options.
fn study() -> (tempfile::TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, seed| finished_run(folder.path(), name, 8, seed);
    let options = Options {
        ours: run("secret-ours", 1),
        theirs: run("secret-theirs", 1000),
        out: folder.path().join("study"),
        pairs: None,
        seed: 3,
    };
    super::run(&options).unwrap();
    (folder, options)
}

fn key(options: &Options) -> Key {
    super::super::benchmark::read_json(&options.out.join("key.json")).unwrap()
}

/// The raters' files do not reveal the runs, and each run is on each side equally often.
#[test]
fn raters_cannot_tell_the_runs_apart() {
    let (_folder, options) = study();
    let key = key(&options);
    let on_the_left = key
        .pairs
        .iter()
        .filter(|pair| pair.left == Whose::Ours)
        .count();
    assert_eq!((key.pairs.len(), on_the_left), (8, 4));
    let page = std::fs::read_to_string(options.out.join("page/index.html")).unwrap();
    for word in ["secret", "ours", "theirs", "add-0", "global-1"] {
        assert!(!page.contains(word), "{word}");
    }
    let (ours, theirs) = (
        Run::read(&options.ours).unwrap(),
        Run::read(&options.theirs).unwrap(),
    );
    for (i, pair) in key.pairs.iter().enumerate() {
        let displayed = |side: &str| {
            let path = format!("page/pictures/{}-{side}.png", i + 1);
            Image::open(options.out.join(path)).unwrap()
        };
        let (our, their) = (&ours.cases[&pair.id].result, &theirs.cases[&pair.id].result);
        let expected = match pair.left {
            Whose::Ours => [our, their],
            Whose::Theirs => [their, our],
        };
        let expected = expected.map(|path| Image::open(path).unwrap());
        assert_eq!([displayed("left"), displayed("right")], expected);
    }
    // The same seed writes the same study; another study does not overwrite it.
    super::run(&options).unwrap();
    let other = Options {
        seed: 4,
        ..options.clone()
    };
    let refused = super::run(&other).unwrap_err().to_string();
    assert_contains(&refused, &["key.json", "another study"]);
    let many = Options {
        pairs: Some(9),
        out: options.out.join("many"),
        ..options
    };
    assert_contains(
        &super::run(&many).unwrap_err().to_string(),
        &["--pairs: 9, expected 1 to 8"],
    );
}

/// Returns the answers of a rater who prefers ours in the first pairs, sees no difference in the next ones and prefers theirs
/// in the rest.
fn answered(key: &Key, rater: &str, ours: usize, same: usize) -> Answers {
    let choice = |i: usize| match (i < ours, i < ours + same, key.pairs[i].left) {
        (false, true, _) => Choice::Same,
        (true, _, Whose::Ours) | (false, false, Whose::Theirs) => Choice::Left,
        _ => Choice::Right,
    };
    let answer = |i: usize| Answer {
        pair: i + 1,
        choices: QUESTIONS
            .iter()
            .map(|[name, _, _]| ((*name).to_owned(), choice(i)))
            .collect(),
    };
    Answers {
        study: key.study().unwrap(),
        rater: rater.into(),
        answers: (0..key.pairs.len()).map(answer).collect(),
    }
}

/// Saves answers in a folder and returns the path.
fn save(folder: &Path, name: &str, answers: &Answers) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, serde_json::to_vec(answers).unwrap()).unwrap();
    path
}

#[test]
fn answers_give_rates_with_intervals() {
    let (folder, options) = study();
    let key = key(&options);
    let first = save(folder.path(), "first.json", &answered(&key, "first", 4, 2));
    let second = save(
        folder.path(),
        "second.json",
        &answered(&key, "second", 8, 0),
    );
    let found = rates(&key, &[first, second]).unwrap();
    for [name, _, _] in QUESTIONS {
        let rates = found[name];
        assert_eq!(
            [rates.ours, rates.same, rates.theirs],
            [0.75, 0.125, 0.125],
            "{name}"
        );
        let Interval { mean, low, high } = rates.preference;
        assert!(
            mean == 0.8125 && low < mean && mean < high && high <= 1.0,
            "{rates:?}"
        );
    }
}

#[test]
fn invalid_answers_are_refused() {
    let (folder, options) = study();
    let key = key(&options);
    let first = save(folder.path(), "first.json", &answered(&key, "first", 4, 2));
    let refused = |change: &dyn Fn(&mut Answers)| {
        let mut answers = answered(&key, "second", 1, 1);
        change(&mut answers);
        let path = save(folder.path(), "wrong.json", &answers);
        let error = rates(&key, &[first.clone(), path]).unwrap_err();
        error.to_string()
    };
    let message = refused(&|a| a.rater = "first".into());
    assert_contains(&message, &["wrong.json", "rater", "another file"]);
    assert_contains(&refused(&|a| a.rater = " ".into()), &["rater: empty"]);
    assert_contains(&refused(&|a| a.study = "0".into()), &["study: 0"]);
    let message = refused(&|a| drop(a.answers.pop()));
    assert_contains(&message, &["7 of 8 pairs", "pair 8"]);
    let message = refused(&|a| a.answers[0].pair = 2);
    assert_contains(&message, &["pair 2: answered twice"]);
    let message = refused(&|a| a.answers[0].pair = 0);
    assert_contains(&message, &["pair: 0", "1 to 8"]);
    let message = refused(&|a| a.answers[4].choices.retain(|name, _| name != "detail"));
    assert_contains(&message, &["pair 5", "detail"]);
    std::fs::write(folder.path().join("wrong.json"), "{\"study\": 1}").unwrap();
    let message = rates(&key, &[folder.path().join("wrong.json")]).unwrap_err();
    let message = message.to_string();
    assert_contains(&message, &["wrong.json", "expected a string"]);
}
