//! Parity of the metrics' backbones with public implementations: transformers, open_clip, timm, Pillow and torch.
//! `golden/reference_backbones.py` creates the fixtures.

#[path = "../../../tests/golden/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Device;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

use fixture::Fixture;
use unireal::Error;
use unireal::Image;
use unireal_tools::evaluate::backbone::{Backbone, Encoder, pixels};
use unireal_tools::evaluate::features::{Features, Preprocess};

/// Returns the same image as `pattern` in `golden/images.py`.
fn pattern(number: u32, width: u32, height: u32) -> Image {
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3u32 {
                let place = x
                    .wrapping_add(y.wrapping_mul(4093))
                    .wrapping_add(c.wrapping_mul(65537));
                let mut mixed = place
                    .wrapping_mul(2654435761)
                    .wrapping_add(number.wrapping_mul(40503));
                mixed ^= mixed >> 15;
                let noise = mixed.wrapping_mul(2246822519) >> 24;
                let stripes = (x * (3 + number) / 2 + y * (c + 2)) & 255;
                rgb.push(match number % 2 {
                    1 => noise as u8,
                    _ => ((stripes * 7 + noise) / 8) as u8,
                });
            }
        }
    }
    Image::from_rgb(width, height, rgb).unwrap()
}

#[test]
fn preprocessing_agrees_with_pillow_and_torch() {
    let fixture = Fixture::open("preprocess.safetensors");
    let sizes: Vec<[u32; 2]> = fixture.json("sizes");
    let hashes: HashMap<String, Vec<String>> = fixture.json("hashes");
    assert_eq!(sizes.len(), 50);
    let squares = fixture.floats::<2>("square", &Device::flex()).into_data();
    let squares: Vec<f32> = squares.iter::<f32>().collect();
    let each = squares.len() / sizes.len();
    let mut worst = 0f32;
    for (i, &[width, height]) in sizes.iter().enumerate() {
        let image = pattern(i as u32, width, height);
        for (name, preprocess) in [
            ("open-ai-clip", Preprocess::OpenAiClip),
            ("dino", Preprocess::Dino),
        ] {
            let bytes: Vec<u8> = pixels(&image, preprocess, 224)
                .into_iter()
                .map(|v| (v * 255.0).round() as u8)
                .collect();
            let hash: String = Sha256::digest(&bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            assert_eq!(hash, hashes[name][i], "{name} of {width}x{height}");
        }
        let square = pixels(&image, Preprocess::Square, 224);
        let expected = &squares[i * each..(i + 1) * each];
        for (ours, theirs) in square.iter().step_by(997).zip(expected) {
            worst = worst.max((ours - theirs).abs());
        }
    }
    println!("square: {worst:.2e}");
    assert!(
        worst < 2e-4,
        "square: difference {worst:e}, expected below 2e-4"
    );
}

fn folder(name: &str) -> std::path::PathBuf {
    Path::new("../../tests/golden/backbones").join(name)
}

fn open(name: &str, backbone: Backbone) -> unireal::Result<Encoder> {
    Encoder::open(&folder(name), backbone, &Device::flex())
}

/// Returns the largest absolute difference between vectors and a tensor of the fixture.
fn difference(vectors: &[Vec<f32>], fixture: &Fixture, name: &str) -> f32 {
    let expected = fixture.floats::<2>(name, &Device::flex());
    assert_eq!(expected.dims(), [vectors.len(), vectors[0].len()]);
    let expected: Vec<f32> = expected.into_data().iter::<f32>().collect();
    let pairs = vectors.iter().flatten().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn assert_parity(name: &str, backbone: Backbone, preprocesses: &[(&str, Preprocess)]) {
    let encoder = open(name, backbone).unwrap();
    let fixture = Fixture::open(&format!("backbones/{name}/expected.safetensors"));
    let parameters: Vec<[u32; 3]> = fixture.json("pictures");
    let images: Vec<Image> = parameters
        .iter()
        .map(|&[n, w, h]| pattern(n, w, h))
        .collect();
    for (what, preprocess) in preprocesses {
        let vectors = encoder.images(&images, *preprocess).unwrap();
        let worst = difference(&vectors, &fixture, what);
        println!("{name} {what}: {worst:.2e}, bar 1e-4");
        assert!(
            worst <= 1e-4,
            "{name} {what}: difference {worst:e}, expected at most 1e-4"
        );
        // An image's features do not depend on the batch.
        let single = encoder.images(&images[2..3], *preprocess).unwrap();
        let pairs = single[0].iter().zip(&vectors[2]);
        assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-5);
    }
    if backbone.has_text() {
        let captions: Vec<String> = fixture.json("captions");
        let vectors = encoder.texts(&captions).unwrap();
        let worst = difference(&vectors, &fixture, "texts");
        println!("{name} texts: {worst:.2e}, bar 1e-4");
        assert!(
            worst <= 1e-4,
            "{name} texts: difference {worst:e}, expected at most 1e-4"
        );
    }
}

const CLIP: [(&str, Preprocess); 2] = [
    ("open-ai-clip", Preprocess::OpenAiClip),
    ("square", Preprocess::Square),
];

const DINO: [(&str, Preprocess); 1] = [("dino", Preprocess::Dino)];

#[test]
fn clip_agrees_with_transformers() {
    assert_parity("clip", Backbone::Clip, &CLIP);
}

#[test]
fn clip_with_openais_names_agrees_with_open_clip() {
    assert_parity("clip-original", Backbone::Clip, &CLIP);
}

#[test]
fn dino_agrees_with_transformers() {
    assert_parity("dino", Backbone::Dino, &DINO);
}

#[test]
fn dino_with_the_hubs_names_agrees_with_timm() {
    assert_parity("dino-original", Backbone::Dino, &DINO);
}

#[test]
fn dinov2_agrees_with_transformers() {
    assert_parity("dinov2", Backbone::Dino, &DINO);
}

#[test]
fn dinov2_with_its_own_names_agrees_with_timm() {
    assert_parity("dinov2-original", Backbone::Dino, &DINO);
}

#[test]
fn no_images_and_no_captions_give_no_vectors() {
    let encoder = open("clip", Backbone::Clip).unwrap();
    assert!(encoder.images(&[], Preprocess::Square).unwrap().is_empty());
    assert!(encoder.texts(&[]).unwrap().is_empty());
}

#[test]
fn an_extreme_aspect_ratio_is_refused() {
    let encoder = open("clip", Backbone::Clip).unwrap();
    let encode = |w, h| {
        encoder.images(
            &[pattern(0, 9, 9), pattern(1, w, h)],
            Preprocess::OpenAiClip,
        )
    };
    assert_eq!(encode(1, 256).unwrap().len(), 2);
    let refused = encode(1, 257).unwrap_err().to_string();
    assert!(refused.contains("image 1: 1x257"), "{refused}");
}

#[test]
fn captions_need_a_clip() {
    let encoder = open("dino", Backbone::Dino).unwrap();
    let refused = encoder.texts(&["a cube".into()]).unwrap_err();
    assert!(matches!(refused, Error::Request(_)), "{refused}");
}

/// Returns the error for a copy of a fixture that `change` has modified.
fn refusal(name: &str, backbone: Backbone, change: impl Fn(&Path)) -> String {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let from = folder(name).join(file);
        if from.exists() {
            std::fs::copy(from, copy.path().join(file)).unwrap();
        }
    }
    change(copy.path());
    let refused = Encoder::open(copy.path(), backbone, &Device::flex()).unwrap_err();
    assert!(matches!(refused, Error::Format { .. }), "{refused}");
    refused.to_string()
}

/// A tensor as stored in a file.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// Modifies the stored weights.
fn rewrite(folder: &Path, change: impl Fn(&mut HashMap<String, Stored>)) {
    let path = folder.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: HashMap<String, Stored> = tensors
        .iter()
        .map(|(name, view)| {
            let stored = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), stored)
        })
        .collect();
    change(&mut all);
    let views = all.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn weights_of_another_model_are_refused_with_the_file_and_the_tensor() {
    let assert_contains = |what: &str, texts: &[&str], found: String| {
        for text in texts {
            assert!(found.contains(text), "{what}: {found}");
        }
    };
    let file = "model.safetensors";
    let gone = "vision_model.encoder.layers.1.self_attn.k_proj.weight";
    let missing = refusal("clip", Backbone::Clip, |folder| {
        rewrite(folder, |all| {
            all.remove(gone);
        });
    });
    assert_contains("missing", &[file, gone, "missing"], missing);
    let strange = refusal("dino-original", Backbone::Dino, |folder| {
        rewrite(folder, |all| {
            all.insert("register_tokens".into(), (Dtype::F32, vec![1], vec![0; 4]));
        });
    });
    assert_contains("unknown", &[file, "register_tokens"], strange);
    let shape = refusal("clip-original", Backbone::Clip, |folder| {
        rewrite(folder, |all| {
            let (_, shape, _) = all.get_mut("visual.proj").unwrap();
            shape.reverse();
        });
    });
    assert_contains("shape", &[file, "visual.proj", "[24, 32]"], shape);
    let number = refusal("dino", Backbone::Dino, |folder| {
        rewrite(folder, |all| {
            let (_, _, data) = all.get_mut("layernorm.bias").unwrap();
            data[..2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
        });
    });
    assert_contains("inf", &[file, "layernorm.bias", "inf"], number);
    let other = refusal("dino", Backbone::Dino, |copy| {
        std::fs::copy(folder("clip").join(file), copy.join(file)).unwrap();
    });
    assert_contains("another", &[file, "cls_token"], other);
    let cut = refusal("dino", Backbone::Dino, |folder| {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        std::fs::write(folder.join(file), &bytes[..bytes.len() - 7]).unwrap();
    });
    assert_contains("cut", &[file, "bytes"], cut);
    let none = refusal("dino", Backbone::Dino, |folder| {
        std::fs::remove_file(folder.join(file)).unwrap();
    });
    assert_contains("none", &["0 safetensors files"], none);
}

/// Of several safetensors files, only `model.safetensors` is read.
#[test]
fn other_files_beside_the_weights_are_ignored() {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(folder("dino").join(file), copy.path().join(file)).unwrap();
    }
    for other in ["a.safetensors", "z.safetensors"] {
        let from = folder("dino-original").join("model.safetensors");
        std::fs::copy(from, copy.path().join(other)).unwrap();
    }
    // The same tensors with other values, under a name that sorts last.
    let twin = copy.path().join("twin");
    std::fs::create_dir(&twin).unwrap();
    std::fs::copy(
        folder("dino").join("model.safetensors"),
        twin.join("model.safetensors"),
    )
    .unwrap();
    rewrite(&twin, |all| {
        for (_, _, data) in all.values_mut() {
            data.fill(0);
        }
    });
    std::fs::rename(
        twin.join("model.safetensors"),
        copy.path().join("zz.safetensors"),
    )
    .unwrap();
    let images = [pattern(0, 40, 40)];
    let vectors = |folder: &Path| {
        let encoder = Encoder::open(folder, Backbone::Dino, &Device::flex()).unwrap();
        encoder.images(&images, Preprocess::Dino).unwrap()
    };
    assert_eq!(vectors(copy.path()), vectors(&folder("dino")));

    std::fs::rename(
        copy.path().join("model.safetensors"),
        copy.path().join("weights.safetensors"),
    )
    .unwrap();
    let refused = Encoder::open(copy.path(), Backbone::Dino, &Device::flex()).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("4 safetensors files"), "{refused}");
}

#[test]
fn configurations_of_another_model_are_refused_with_the_file_and_the_field() {
    let small = refusal("clip", Backbone::ClipB32, |_| {});
    assert!(small.contains("config.json"), "{small}");
    assert!(
        small.contains("projection_dim: 24, expected 512"),
        "{small}"
    );
    let kind = refusal("clip", Backbone::Dino, |_| {});
    assert!(kind.contains("model_type"), "{kind}");
    for (from, to, field) in [
        ("\"patch_size\": 8", "\"patch_size\": 0", "patch_size"),
        ("\"patch_size\": 8", "\"patch_size\": 7", "patch_size"),
        (
            "\"num_attention_heads\": 2",
            "\"num_attention_heads\": 3",
            "num_attention_heads",
        ),
        (
            "\"hidden_act\": \"gelu\"",
            "\"hidden_act\": \"relu\"",
            "relu",
        ),
        ("\"hidden_size\": 64", "\"hidden_size\": -1", "-1"),
        (
            "\"image_size\": 32",
            "\"image_size\": 4000000000",
            "image_size",
        ),
    ] {
        let found = refusal("dino", Backbone::Dino, |folder| {
            let path = folder.join("config.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(path, text.replace(from, to)).unwrap();
        });
        assert!(
            found.contains("config.json") && found.contains(field),
            "{to}: {found}"
        );
    }
    let vocabulary = refusal("clip", Backbone::Clip, |folder| {
        std::fs::write(folder.join("tokenizer.json"), "{}").unwrap();
    });
    assert!(vocabulary.contains("tokenizer.json"), "{vocabulary}");
}
