//! Trains small encoders on captioned squares with the command: captions retrieve their image, images retrieve images of the
//! same colour, and the files open like published ones. A second call resumes where the first ended.

use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use unireal::Image;
use unireal_tools::data::shard::Writer;
use unireal_tools::data::{Kind, Sample};
use unireal_tools::evaluate::backbone::{Backbone, Encoder};
use unireal_tools::evaluate::features::{Features, Preprocess};

const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 30, 30]),
    ("green", [30, 200, 40]),
    ("blue", [40, 50, 230]),
    ("white", [240, 240, 240]),
];

const PLACES: [(&str, u32, u32); 4] = [
    ("top left", 0, 0),
    ("top right", 1, 0),
    ("bottom left", 0, 1),
    ("bottom right", 1, 1),
];

/// Returns a coloured square at a place with its caption; `shift` moves it by a few pixels.
fn scene(colour: usize, place: usize, shift: u32) -> (String, Image) {
    let ((colour, rgb), (place, right, low)) = (COLOURS[colour], PLACES[place]);
    let (left, top) = (2 + shift + 16 * right, 2 + shift + 16 * low);
    let pixels = (0..32 * 32u32).flat_map(|i| {
        let (x, y) = (i % 32, i / 32);
        let inside = (left..left + 10).contains(&x) && (top..top + 10).contains(&y);
        if inside { rgb } else { [90, 80, 70] }
    });
    let image = Image::from_rgb(32, 32, pixels.collect()).unwrap();
    (format!("a {colour} square at the {place}"), image)
}

fn shards(folder: &Path) {
    let mut writer = Writer::create(folder, "part", 200).unwrap();
    for i in 0..96u32 {
        let (colour, place) = (i as usize % 4, i as usize / 4 % 4);
        let (caption, first) = scene(colour, place, i % 3);
        let (_, second) = scene(colour, place, (i + 1) % 3);
        let (kind, outputs) = match i % 2 {
            0 => (Kind::TextToVideo, vec![first, second]),
            _ => (Kind::TextToImage, vec![first]),
        };
        let sample = Sample {
            kind,
            variant: String::new(),
            prompts: vec![caption],
            context: vec![],
            inputs: vec![],
            outputs,
            changed: None,
            source: serde_json::json!({ "clip": format!("clip-{i}") }),
        };
        writer.write(&format!("sample-{i}"), &sample).unwrap();
    }
    writer.close(None).unwrap();
}

fn train(folder: &Path, clip_steps: u32, dino_steps: u32) {
    let settings = format!(
        r#"{{"preset": "tiny", "data": ["{0}/shards"], "held_out": ["{0}/shards"], "threads": 2, "first_samples": 1000,
        "preview_minutes": 0, "stages": [
        {{"name": "captions", "train": "clip", "size": 32, "steps": {clip_steps}, "batch": 32, "groups": 1, "learning_rate": 2e-3,
          "optimizer": "muon", "warmup": 10, "ema": 0.9, "kinds": {{"text-to-image": 1, "text-to-video": 1}}}},
        {{"name": "views", "train": "dino", "size": 32, "steps": {dino_steps}, "batch": 32, "groups": 1, "learning_rate": 2e-3,
          "optimizer": "muon", "warmup": 10, "ema": 0.9, "kinds": {{"text-to-video": 1}}}}]}}"#,
        folder.display()
    );
    let config = folder.join("settings.json");
    std::fs::write(&config, settings).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(["train", "--config"])
        .arg(&config)
        .arg("--out")
        .arg(folder.join("run"))
        .status()
        .unwrap();
    assert!(status.success());
}

fn nearest(query: &[f32], keys: &[Vec<f32>]) -> usize {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = |key: &[f32]| dot(query, key) / (dot(key, key) * dot(query, query)).sqrt();
    (0..keys.len())
        .max_by(|&a, &b| cosine(&keys[a]).total_cmp(&cosine(&keys[b])))
        .unwrap()
}

#[test]
fn trained_encoders_open_as_published_ones_and_have_learnt_something() {
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("shards"));
    train(folder.path(), 100, 1);
    train(folder.path(), 160, 60);
    let device = Device::flex();
    let open = |name: &str, backbone| {
        let folder = folder.path().join("run").join(name);
        Encoder::open(&folder, backbone, &device).unwrap()
    };
    let scenes: Vec<(String, Image)> = (0..16).map(|i| scene(i % 4, i / 4, 1)).collect();
    let (captions, pictures): (Vec<String>, Vec<Image>) = scenes.into_iter().unzip();
    let clip = open("clip", Backbone::Clip);
    let texts = clip.texts(&captions).unwrap();
    let images = clip.images(&pictures, Preprocess::Square).unwrap();
    let right = (0..16)
        .filter(|&i| nearest(&texts[i], &images) == i)
        .count();
    assert!(right >= 12, "{right} of 16 captions find their picture");

    let dino = open("dino", Backbone::Dino);
    let moved: Vec<Image> = (0..16).map(|i| scene(i % 4, i / 4, 2).1).collect();
    let (before, after) = (
        dino.images(&pictures, Preprocess::Square).unwrap(),
        dino.images(&moved, Preprocess::Square).unwrap(),
    );
    // Mirrored crops preserve little of the position, but the colour.
    let right = (0..16)
        .filter(|&i| nearest(&before[i], &after) % 4 == i % 4)
        .count();
    assert!(right >= 12, "{right} of 16 find a scene of their colour");

    // `unireal evaluate features` writes the same vectors.
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    pictures[5].save(images.join("a.png")).unwrap();
    let out = folder.path().join("features.safetensors");
    let status = Command::new(env!("CARGO_BIN_EXE_unireal"))
        .args(["evaluate", "features", "--backbone", "dino", "--weights"])
        .arg(folder.path().join("run/dino"))
        .arg("--images")
        .arg(&images)
        .arg("--out")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(&out).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor("images").unwrap();
    assert_eq!(view.shape(), [1, 128]);
    let values = view.data().as_chunks::<4>().0.iter();
    let worst = values
        .map(|b| f32::from_le_bytes(*b))
        .zip(&before[5])
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}
