//! Creates a study from two small runs and evaluates answers.

use super::answers::{Answer, Answers, Choice, rates};
use super::*;
use crate::evaluate::benchmark::tests::{finished_run, says};
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
fn raters_cannot_know_whose_a_picture_is() {
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
        let shown = |side: &str| {
            let path = format!("page/pictures/{}-{side}.png", i + 1);
            Image::open(options.out.join(path)).unwrap()
        };
        let (our, their) = (&ours.cases[&pair.id].result, &theirs.cases[&pair.id].result);
        let expected = match pair.left {
            Whose::Ours => [our, their],
            Whose::Theirs => [their, our],
        };
        let expected = expected.map(|path| Image::open(path).unwrap());
        assert_eq!([shown("left"), shown("right")], expected);
    }
    // The same seed writes the same study; another study does not overwrite it.
    super::run(&options).unwrap();
    let other = Options {
        seed: 4,
        ..options.clone()
    };
    let refused = super::run(&other).unwrap_err().to_string();
    says(&refused, &["key.json", "another study"]);
    let many = Options {
        pairs: Some(9),
        out: options.out.join("many"),
        ..options
    };
    says(
        &super::run(&many).unwrap_err().to_string(),
        &["9 pairs of 8 cases"],
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

#[test]
fn answers_come_to_rates_with_intervals() {
    let (folder, options) = study();
    let key = key(&options);
    let save = |name: &str, answers: &Answers| {
        let path = folder.path().join(name);
        std::fs::write(&path, serde_json::to_vec(answers).unwrap()).unwrap();
        path
    };
    let first = save("first.json", &answered(&key, "first", 4, 2));
    let second = save("second.json", &answered(&key, "second", 8, 0));
    let found = rates(&key, &[first.clone(), second.clone()]).unwrap();
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

    let refused = |answers: &Answers| {
        let path = save("wrong.json", answers);
        rates(&key, &[first.clone(), path]).unwrap_err().to_string()
    };
    let right = answered(&key, "third", 1, 1);
    says(
        &refused(&Answers {
            rater: "first".into(),
            ..right.clone()
        }),
        &["wrong.json", "rater", "another file"],
    );
    says(
        &refused(&Answers {
            rater: " ".into(),
            ..right.clone()
        }),
        &["rater is empty"],
    );
    says(
        &refused(&Answers {
            study: "0".into(),
            ..right.clone()
        }),
        &["study is 0"],
    );
    let changed = |change: &dyn Fn(&mut Vec<Answer>)| {
        let mut answers = right.clone();
        change(&mut answers.answers);
        refused(&answers)
    };
    says(
        &changed(&|all| drop(all.pop())),
        &["7 of 8 pairs", "pair 8"],
    );
    says(&changed(&|all| all[0].pair = 2), &["pair 2 is there twice"]);
    says(&changed(&|all| all[0].pair = 0), &["pair 0", "1 to 8"]);
    says(
        &changed(&|all| all[4].choices.retain(|name, _| name != "detail")),
        &["pair 5", "detail"],
    );
    std::fs::write(folder.path().join("wrong.json"), "{\"study\": 1}").unwrap();
    let unread = rates(&key, &[folder.path().join("wrong.json")])
        .unwrap_err()
        .to_string();
    says(&unread, &["wrong.json", "expected a string"]);
}
