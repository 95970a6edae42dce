//! `unireal train` with bad input: a corrupt checkpoint, a full disk, a non-finite loss, the run folder of another model.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use unireal::Image;
use unireal_tools::data::shard::Writer;
use unireal_tools::data::{Kind, Sample};

/// A temporary folder with shards and a training run.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&folder.path().join("shards"), "part", 20).unwrap();
        for i in 0..20u32 {
            let rgb = (0..3 * 32 * 32).map(|at| ((at * (i + 3)) % 251) as u8);
            let sample = Sample {
                kind: Kind::TextToImage,
                variant: String::new(),
                prompts: vec!["some stripes".into()],
                context: vec![],
                inputs: vec![],
                outputs: vec![Image::from_rgb(32, 32, rgb.collect()).unwrap()],
                changed: None,
                source: serde_json::Value::Null,
            };
            writer.write(&format!("sample-{i}"), &sample).unwrap();
        }
        writer.close(None).unwrap();
        Folder(folder)
    }

    fn run(&self) -> PathBuf {
        self.0.path().join("run")
    }

    fn checkpoint(&self, name: &str) -> PathBuf {
        self.run().join("resume").join(name)
    }

    /// Trains the autoencoder up to a number of steps, with replacements in the settings.
    fn train(&self, steps: u32, changes: &[(&str, &str)]) -> Output {
        let mut settings = format!(
            r#"{{"preset": "tiny", "data": ["{}/shards"], "threads": 2, "first_samples": 1000, "preview_minutes": 0,
            "save_seconds": 3600, "stages": [{{"name": "autoencoder", "train": "vae", "size": 32, "steps": {steps}, "batch": 4,
            "learning_rate": 1e-3, "warmup": 1}}]}}"#,
            self.0.path().display()
        );
        for (from, to) in changes {
            assert!(settings.contains(from));
            settings = settings.replace(from, to);
        }
        let config = self.0.path().join("settings.json");
        std::fs::write(&config, settings).unwrap();
        Command::new(env!("CARGO_BIN_EXE_unireal"))
            .args(["train", "--config"])
            .arg(&config)
            .arg("--out")
            .arg(self.run())
            .output()
            .unwrap()
    }
}

/// Returns the messages of a call that succeeded.
#[track_caller]
fn succeeded(output: &Output) -> String {
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{messages}");
    messages
}

/// Returns the messages of a call that failed with an error, not with a panic.
#[track_caller]
fn failed(output: &Output) -> String {
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{messages}");
    assert!(!messages.contains("panicked"), "{messages}");
    messages
}

/// Returns the number of steps of the autoencoder's stage in a checkpoint.
fn steps(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let state = &header.metadata().as_ref().unwrap()["state"];
    let state: serde_json::Value = serde_json::from_str(state).unwrap();
    state["stages"]["autoencoder"]["steps"].as_u64().unwrap()
}

#[test]
fn a_corrupt_checkpoint_is_named_and_the_previous_one_is_resumed() {
    let folder = Folder::new();
    succeeded(&folder.train(3, &[]));
    succeeded(&folder.train(6, &[]));
    let [last, previous] =
        ["vae.safetensors", "vae.previous.safetensors"].map(|n| folder.checkpoint(n));
    assert_eq!([steps(&last), steps(&previous)], [6, 3]);
    let whole = std::fs::read(&last).unwrap();
    let mut flipped = whole.clone();
    let middle = whole.len() / 2;
    flipped[middle] ^= 0x10;
    for (bytes, reason) in [
        (&flipped[..], "SHA-256"),
        (&whole[..middle], "corrupt"),
        (&whole[..5], "corrupt"),
        (&[][..], "corrupt"),
    ] {
        std::fs::write(&last, bytes).unwrap();
        let messages = succeeded(&folder.train(4, &[]));
        let warning = messages.lines().find(|line| line.contains("warning"));
        let warning = warning.unwrap_or_else(|| panic!("{messages}"));
        assert!(warning.contains(&last.display().to_string()), "{warning}");
        assert!(
            warning.contains(&previous.display().to_string()),
            "{warning}"
        );
        assert!(warning.contains(reason), "{warning}");
        assert_eq!([steps(&last), steps(&previous)], [4, 3]);
        assert_eq!(
            std::fs::read(folder.checkpoint("vae.corrupt.safetensors")).unwrap(),
            bytes
        );
        let messages = succeeded(&folder.train(4, &[]));
        assert!(!messages.contains("warning"), "{messages}");
    }
    // An older version killed between its two renames.
    std::fs::remove_file(&last).unwrap();
    let messages = succeeded(&folder.train(4, &[]));
    assert!(messages.contains("is missing"), "{messages}");
    // Without an intact checkpoint, training fails.
    std::fs::write(&last, &whole[..middle]).unwrap();
    std::fs::write(&previous, &flipped).unwrap();
    let messages = failed(&folder.train(8, &[]));
    for path in [&last, &previous] {
        assert!(messages.contains(&path.display().to_string()), "{messages}");
    }
}

/// Writes to `/dev/full` fail; the temporary file of the checkpoint links to it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_checkpoint_as_it_was() {
    let folder = Folder::new();
    succeeded(&folder.train(3, &[]));
    let last = folder.checkpoint("vae.safetensors");
    let before = std::fs::read(&last).unwrap();
    let beside = folder.checkpoint("vae.partial");
    std::os::unix::fs::symlink("/dev/full", &beside).unwrap();
    let messages = failed(&folder.train(6, &[]));
    assert!(messages.contains(&last.display().to_string()), "{messages}");
    assert!(messages.contains("No space left on device"), "{messages}");
    assert_eq!(std::fs::read(&last).unwrap(), before);
    // The partial file is removed.
    assert!(beside.symlink_metadata().is_err());
    succeeded(&folder.train(6, &[]));
    assert_eq!(steps(&last), 6);
}

#[test]
fn a_loss_that_is_not_finite_names_the_last_good_checkpoint() {
    let folder = Folder::new();
    let explode = [("1e-3", "1e30"), ("3600", "0")];
    let messages = failed(&folder.train(9, &explode));
    assert!(messages.contains("expected a finite number"), "{messages}");
    assert!(
        messages.contains("there is no good checkpoint"),
        "{messages}"
    );
    std::fs::remove_dir_all(folder.run()).unwrap();

    succeeded(&folder.train(3, &[]));
    let last = folder.checkpoint("vae.safetensors");
    let never_saved = [("1e-3", "1e30")];
    let messages = failed(&folder.train(9, &never_saved));
    let named = format!("the last good checkpoint is {}", last.display());
    assert!(messages.contains(&named), "{messages}");
    assert!(messages.contains("at step 4"), "{messages}");
    assert_eq!(steps(&last), 3);
    // When saved after each step, the last checkpoint has the weights that gave the non-finite loss.
    let messages = failed(&folder.train(9, &explode));
    let previous = folder.checkpoint("vae.previous.safetensors");
    let named = format!("the last good checkpoint is {}", previous.display());
    assert!(messages.contains(&named), "{messages}");
    assert_eq!([steps(&last), steps(&previous)], [4, 3]);
}

#[test]
fn a_folder_of_another_model_is_refused_with_what_differs() {
    let folder = Folder::new();
    succeeded(&folder.train(1, &[]));
    let messages = failed(&folder.train(2, &[("tiny", "tabletop")]));
    let run = folder.run();
    assert!(messages.contains(&run.display().to_string()), "{messages}");
    assert!(
        messages.contains("transformer.num_layers is 6, expected 8"),
        "{messages}"
    );
    let conditioning = (
        "\"threads\"",
        "\"attention\": \"inputs-apart\", \"threads\"",
    );
    let messages = failed(&folder.train(2, &[conditioning]));
    assert!(
        messages.contains(r#"transformer.attention is "full", expected "inputs-apart""#),
        "{messages}"
    );
    succeeded(&folder.train(2, &[]));
}
