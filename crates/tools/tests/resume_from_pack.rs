//! Training resumes from a committed pack: a run in a new folder continues from q8 weights at the step of the original run.

use std::path::Path;
use std::process::Command;

const SETTINGS: &str = r#"{
  "preset": "tiny", "data": ["DATA"], "threads": 2, "first_samples": 100000, "preview_minutes": 0,
  "stages": [
    {"name": "autoencoder", "train": "vae", "size": 32, "steps": 40, "batch": 8, "learning_rate": 2e-3, "warmup": 5, "ema": 0.9},
    {"name": "mixed", "train": "flow", "size": 32, "steps": STEPS, "batch": 16, "learning_rate": 2e-3, "warmup": 5, "optimizer": "muon",
     "schedule": "constant", "ema": 0.9, "kinds": {"edit": 2, "segmentation": 1}}
  ]
}"#;

fn unireal(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(arguments)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {log}");
    log
}

/// Returns the step and loss of each line of a stage's curve.
fn curve(run: &Path, stage: &str) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("curves").join(format!("{stage}.csv"))).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].parse().unwrap(), fields[4].parse().unwrap())
    };
    text.lines().skip(1).map(line).collect()
}

#[test]
fn a_clone_goes_on_from_a_q8_pack() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, first, pack) = (path("data"), path("first"), path("pack"));
    unireal(&[
        "data", "build", "--world", "6", "--size", "32", "--out", &data,
    ]);
    let settings = |name: &str, steps: u64| {
        let text = SETTINGS.replace("DATA", &data);
        std::fs::write(path(name), text.replace("STEPS", &steps.to_string())).unwrap();
        path(name)
    };
    let (short, long) = (settings("short.json", 80), settings("long.json", 120));
    unireal(&["train", "--config", &short, "--out", &first]);
    unireal(&["pack", &first, &pack, "--encoding", "q8"]);
    let index = folder
        .path()
        .join("pack/transformer/model.safetensors.index.json");
    assert!(std::fs::read_to_string(index).unwrap().contains(".packed"));

    // Continues the original run, and a clone that has only the pack.
    unireal(&["train", "--config", &long, "--out", &first]);
    let clone = path("clone");
    let log = unireal(&[
        "train",
        "--config",
        &long,
        "--out",
        &clone,
        "--resume-from",
        &pack,
    ]);
    assert!(log.contains("the run goes on from this pack"), "{log}");
    assert!(log.contains("autoencoder: done"), "{log}");
    let own = curve(&folder.path().join("first"), "mixed");
    let after: Vec<_> = own.iter().filter(|line| line.0 > 80).collect();
    let continued = curve(&folder.path().join("clone"), "mixed");
    assert_eq!(continued.len(), after.len());
    println!("{own:?}\n{continued:?}");
    let learnt = own[0].1 - after[0].1;
    assert!(learnt > 0.1 * own[0].1, "nothing was learnt: {own:?}");
    for (expected, found) in after.iter().zip(&continued) {
        assert_eq!(expected.0, found.0);
        let apart = (expected.1 - found.1).abs();
        assert!(apart < 0.3 * learnt, "{expected:?} and {found:?}");
    }

    // With `--from`, only the weights are used: the stages start over, at a loss that reflects the learnt weights.
    let weights = path("weights");
    unireal(&[
        "train", "--config", &short, "--out", &weights, "--from", &pack, "--stage", "mixed",
    ]);
    let anew = curve(&folder.path().join("weights"), "mixed");
    assert_eq!(anew[0].0, 10);
    assert!(
        anew[0].1 < own[0].1 - 0.5 * learnt,
        "{anew:?} after {own:?}"
    );
}

/// A partial pack of a run that only has an autoencoder can be resumed from.
#[test]
fn a_clone_goes_on_from_an_autoencoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, first, pack, clone) = (path("data"), path("first"), path("pack"), path("clone"));
    unireal(&[
        "data", "build", "--world", "2", "--size", "32", "--out", &data,
    ]);
    let settings = SETTINGS.replace("DATA", &data).replace("STEPS", "10");
    std::fs::write(
        path("short.json"),
        settings.replace("\"steps\": 40", "\"steps\": 20"),
    )
    .unwrap();
    std::fs::write(path("long.json"), settings).unwrap();
    let [short, long] = ["short.json", "long.json"].map(path);
    unireal(&[
        "train",
        "--config",
        &short,
        "--out",
        &first,
        "--stage",
        "autoencoder",
    ]);
    unireal(&["pack", &first, &pack, "--partial", "--encoding", "f16"]);
    assert!(
        !Path::new(&pack)
            .join("transformer/model-00001.safetensors")
            .exists()
    );
    let log = unireal(&[
        "train",
        "--config",
        &long,
        "--out",
        &clone,
        "--stage",
        "autoencoder",
        "--resume-from",
        &pack,
    ]);
    assert!(log.contains("the run goes on from this pack"), "{log}");
    let steps: Vec<u64> = curve(Path::new(&clone), "autoencoder")
        .iter()
        .map(|line| line.0)
        .collect();
    assert_eq!(steps, [30, 40]);
}

#[test]
fn a_pack_of_another_shape_is_not_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, run) = (path("data"), path("run"));
    unireal(&[
        "data", "build", "--world", "1", "--size", "32", "--out", &data,
    ]);
    let settings = SETTINGS.replace("DATA", &data).replace("STEPS", "10");
    std::fs::write(path("run.json"), settings).unwrap();
    let log = unireal(&[
        "train",
        "--config",
        &path("run.json"),
        "--out",
        &run,
        "--stage",
        "autoencoder",
        "--resume-from",
        "../../www/models/tabletop",
    ]);
    let expected =
        "the autoencoder has another shape than the preset \"tiny\"; the run starts fresh";
    assert!(log.contains(expected), "{log}");
    assert_eq!(curve(&folder.path().join("run"), "autoencoder").len(), 4);
}
