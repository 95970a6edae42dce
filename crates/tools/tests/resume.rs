//! A run of `unireal train` that is killed repeatedly has the same losses as an uninterrupted one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use unireal::Image;
use unireal::{Role, Tag};
use unireal_tools::data::shard::Writer;
use unireal_tools::data::{Kind, Sample};

const SETTINGS: &str = r#"{
  "preset": "tiny", "data": ["SHARDS"], "threads": 2, "first_samples": 100000, "save_seconds": 0.05,
  "stages": [
    {"name": "autoencoder", "train": "vae", "size": 32, "steps": 30, "batch": 8, "learning_rate": 1e-3, "warmup": 5, "gradient": 0.1,
     "optimizer": "muon"},
    {"name": "mixed", "train": "flow", "size": 32, "steps": 60, "batch": 8, "learning_rate": 1e-3, "warmup": 5, "optimizer": "muon",
     "kinds": {"edit": 2, "edit/move": 1, "text-to-image": 1, "customisation": 1}, "image_dropout": 0.2}
  ]
}"#;

/// Returns an image of a coloured square on a background.
fn image(rng: &mut impl Rng, width: u32, height: u32) -> Image {
    let mut colour = || -> [u8; 3] { rng.random() };
    let (ground, square) = (colour(), colour());
    let side = width.min(height) / 2;
    let (left, top) = (
        rng.random_range(0..width - side),
        rng.random_range(0..height - side),
    );
    let rgb = (0..width * height).flat_map(|i| {
        let (x, y) = (i % width, i / width);
        let inside = (left..left + side).contains(&x) && (top..top + side).contains(&y);
        if inside { square } else { ground }
    });
    Image::from_rgb(width, height, rgb.collect()).unwrap()
}

/// Writes shards with several kinds and sizes of samples.
fn shards(folder: &Path) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut writer = Writer::create(folder, "part", 20).unwrap();
    for i in 0..60 {
        let (kind, variant, roles) = match i % 4 {
            0 => (Kind::Edit, "move", vec![Role::Canvas]),
            1 => (Kind::Edit, "recolour", vec![Role::Canvas]),
            2 => (Kind::TextToImage, "", vec![]),
            _ => (Kind::Customisation, "", vec![Role::Asset; 2]),
        };
        let (w, h) = if i % 8 < 6 { (32, 32) } else { (64, 32) };
        let output = image(&mut rng, w, h);
        let sample = Sample {
            kind,
            variant: variant.into(),
            prompts: vec![
                "make a square".into(),
                "a square of another colour, please".into(),
            ],
            context: vec![Tag::SyntheticStyle],
            inputs: roles
                .into_iter()
                .map(|role| (image(&mut rng, w, h), role))
                .collect(),
            outputs: vec![output],
            changed: None,
            source: serde_json::Value::Null,
        };
        writer.write(&format!("sample-{i}"), &sample).unwrap();
        if writer.full() {
            writer.close(None).unwrap();
        }
    }
    writer.close(None).unwrap();
}

fn start(settings: &Path, run: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_unireal"))
        .arg("train")
        .arg("--config")
        .arg(settings)
        .arg("--out")
        .arg(run)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
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

/// Returns the total number of steps in the saved state of a kind of network.
fn saved(run: &Path, networks: &str) -> u64 {
    let path = run.join(format!("resume/{networks}.safetensors"));
    let Ok(bytes) = std::fs::read(path) else {
        return 0;
    };
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a whole file");
    let state = header.metadata().as_ref().unwrap()["state"].clone();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let stages = state["stages"].as_object().unwrap();
    stages
        .values()
        .map(|stage| stage["steps"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shards");
    shards(&data);
    let settings = folder.path().join("run.json");
    std::fs::write(
        &settings,
        SETTINGS.replace("SHARDS", &data.display().to_string()),
    )
    .unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(start(&settings, &whole).wait().unwrap().success());
    assert_eq!(curve(&whole, "autoencoder").len(), 3);
    assert_eq!(curve(&whole, "mixed").len(), 6);

    let seed: u64 = rand::random();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut kills, mut within) = (0, 0);
    let started = Instant::now();
    loop {
        let before = saved(&killed, "vae") + saved(&killed, "flow");
        let mut child = start(&settings, &killed);
        // Waits until the run has saved progress, then kills it after a random delay.
        while saved(&killed, "vae") + saved(&killed, "flow") <= before + 1 {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            assert!(
                started.elapsed() < Duration::from_secs(300),
                "seed {seed}: no progress"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "seed {seed}");
            break;
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        kills += 1;
        let steps = saved(&killed, "vae") + saved(&killed, "flow");
        within += usize::from(!matches!(steps, 0 | 30 | 90));
    }
    println!("seed {seed}: {kills} kills, {within} of them within a stage");
    assert!(
        within >= 1,
        "seed {seed}: {kills} kills, none within a stage"
    );
    for stage in ["autoencoder", "mixed"] {
        let (expected, found) = (curve(&whole, stage), curve(&killed, stage));
        assert_eq!(expected.len(), found.len(), "seed {seed}: {stage}");
        for ((step, loss), (other, again)) in expected.into_iter().zip(found) {
            assert_eq!(step, other, "seed {seed}: {stage}");
            let apart = (loss - again).abs() / loss;
            assert!(
                apart < 1e-3,
                "seed {seed}: {stage} at step {step}: {loss} and {again}"
            );
        }
    }
}
