//! Compares scores with those of `tests/golden/metrics.py`, an independent implementation.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde::Deserialize;

use super::super::case::{Case, Change, Input};
use super::super::scores::{Scorer, Tower};
use super::fixtures::save;
use crate::evaluate::features::{Features, Preprocess};
use crate::evaluate::metrics::{decibels, structural_similarity};
use crate::evaluate::profile::{Profile, Reference};
use unireal::Image;
use unireal::Result;
use unireal::Role;

#[derive(Deserialize)]
struct Golden {
    #[serde(rename = "pictures")]
    images: BTreeMap<String, StoredImage>,
    clip: HashMap<String, Vec<f32>>,
    dino: HashMap<String, Vec<f32>>,
    captions: HashMap<String, Vec<f32>>,
    cases: Vec<GoldenCase>,
    expected: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    #[serde(rename = "plain")]
    pairs: Vec<ImagePair>,
}

#[derive(Deserialize)]
struct StoredImage {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

#[derive(Deserialize)]
struct GoldenCase {
    names: [String; 3],
    before: String,
    after: String,
    local: String,
    subjects: Vec<String>,
}

#[derive(Deserialize)]
struct ImagePair {
    a: String,
    b: String,
    ssim: f64,
    psnr: f64,
}

impl Golden {
    fn read() -> Golden {
        let text = std::fs::read("../../tests/golden/metrics.json").unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn image(&self, name: &str) -> Image {
        let StoredImage { width, height, rgb } = &self.images[name];
        Image::from_rgb(*width, *height, rgb.clone()).unwrap()
    }
}

/// Returns the stored features of the fixture's images and captions.
struct Known {
    images: Vec<(Image, Vec<f32>)>,
    captions: HashMap<String, Vec<f32>>,
}

impl Features for Known {
    fn images(&self, images: &[Image], _: Preprocess) -> Result<Vec<Vec<f32>>> {
        let find = |image: &Image| {
            let known = self.images.iter().find(|(known, _)| known == image);
            known.expect("an image of the fixture").1.clone()
        };
        Ok(images.iter().map(find).collect())
    }

    fn texts(&self, captions: &[String]) -> Result<Vec<Vec<f32>>> {
        let known = captions.iter().map(|text| self.captions[text].clone());
        Ok(known.collect())
    }
}

/// Returns the case that a profile evaluates.
fn golden_case(
    i: usize,
    case: &GoldenCase,
    profile: &Profile,
    path: &dyn Fn(&str) -> PathBuf,
) -> Case {
    let [source, target, _] = &case.names;
    let caption = match profile.reference {
        Reference::Source => &case.after,
        Reference::Target | Reference::Subject => &case.local,
    };
    Case {
        id: i.to_string(),
        group: i.to_string(),
        names: Vec::new(),
        prompt: "do it".into(),
        input: Input::File(path(source)),
        role: Role::Canvas,
        references: match profile.reference {
            Reference::Source => vec![path(source)],
            Reference::Target => vec![path(target)],
            Reference::Subject => case.subjects.iter().map(|name| path(name)).collect(),
        },
        change: Some(Change {
            image: path(source),
            before: case.before.clone(),
            after: case.after.clone(),
        }),
        caption: caption.clone(),
        is_scored: true,
    }
}

#[test]
fn every_profile_agrees_with_the_reference() {
    let golden = Golden::read();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.png"));
    for name in golden.images.keys() {
        save(path(name), &golden.image(name));
    }
    let network = |vectors: &HashMap<String, Vec<f32>>| -> Box<dyn Features> {
        let names = golden.images.keys();
        Box::new(Known {
            images: names
                .map(|name| (golden.image(name), vectors[name].clone()))
                .collect(),
            captions: golden.captions.clone(),
        })
    };
    let towers = HashMap::from([
        (Tower::Clip, network(&golden.clip)),
        (Tower::Dino, network(&golden.dino)),
        (Tower::Dinov2, network(&golden.dino)),
    ]);
    for (name, rows) in &golden.expected {
        let profile = Profile::named(name).unwrap();
        let cases = golden.cases.iter().enumerate();
        let cases: Vec<Case> = cases
            .map(|(i, case)| golden_case(i, case, profile, &path))
            .collect();
        let results = golden.cases.iter().map(|case| golden.image(&case.names[2]));
        let results: Vec<Image> = results.collect();
        let pairs: Vec<(&Case, &Image)> = cases.iter().zip(&results).collect();
        let scores = Scorer::new(profile, &towers).scores(&pairs).unwrap();
        let mut worst = 0f64;
        for (i, (found, expected)) in scores.iter().zip(rows).enumerate() {
            let names: Vec<_> = found.keys().collect();
            assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{name}");
            for (metric, value) in found {
                let error = (value - expected[metric]).abs() / profile.scale;
                worst = worst.max(error);
                assert!(
                    error < 1e-6,
                    "{name}, case {i}, {metric}: {value}, expected {}",
                    expected[metric]
                );
            }
        }
        println!("{name}: {worst:.1e}");
    }
}

#[test]
fn ssim_and_psnr_agree_with_scikit_image() {
    let golden = Golden::read();
    for ImagePair { a, b, ssim, psnr } in &golden.pairs {
        let (a, b) = (golden.image(a), golden.image(b));
        let found = structural_similarity(&a, &b).unwrap();
        assert!((found - ssim).abs() < 1e-9, "{found}, expected {ssim}");
        let found = decibels(&a, &b, |_| true).unwrap();
        assert!((found - psnr).abs() < 1e-9, "{found}, expected {psnr}");
    }
    let (small, other) = (golden.image("result3"), golden.image("target0"));
    assert!(structural_similarity(&small, &other).is_err());
    let narrow = Image::from_rgb(10, 30, vec![0; 900]).unwrap();
    assert!(structural_similarity(&narrow, &narrow).is_err());
    assert!((structural_similarity(&other, &other).unwrap() - 1.0).abs() < 1e-12);
}
