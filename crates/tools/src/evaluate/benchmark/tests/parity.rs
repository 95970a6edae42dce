//! Compares scores with those of `tests/golden/metrics.py`, an independent implementation.

use std::collections::{BTreeMap, HashMap};

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
    pictures: BTreeMap<String, Picture>,
    clip: HashMap<String, Vec<f32>>,
    dino: HashMap<String, Vec<f32>>,
    captions: HashMap<String, Vec<f32>>,
    cases: Vec<GoldenCase>,
    expected: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
    plain: Vec<Plain>,
}

#[derive(Deserialize)]
struct Picture {
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
struct Plain {
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

    fn picture(&self, name: &str) -> Image {
        let Picture { width, height, rgb } = &self.pictures[name];
        Image::from_rgb(*width, *height, rgb.clone()).unwrap()
    }
}

/// Returns the stored features of the fixture's images and captions.
struct Known {
    pictures: Vec<(Image, Vec<f32>)>,
    captions: HashMap<String, Vec<f32>>,
}

impl Features for Known {
    fn images(&self, pictures: &[Image], _: Preprocess) -> Result<Vec<Vec<f32>>> {
        let find = |picture: &Image| {
            let known = self.pictures.iter().find(|(known, _)| known == picture);
            known.expect("a picture of the fixture").1.clone()
        };
        Ok(pictures.iter().map(find).collect())
    }

    fn texts(&self, captions: &[String]) -> Result<Vec<Vec<f32>>> {
        let known = captions.iter().map(|text| self.captions[text].clone());
        Ok(known.collect())
    }
}

#[test]
fn every_profile_computes_what_the_reference_does() {
    let golden = Golden::read();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(format!("{name}.png"));
    for name in golden.pictures.keys() {
        save(path(name), &golden.picture(name));
    }
    let network = |vectors: &HashMap<String, Vec<f32>>| -> Box<dyn Features> {
        let names = golden.pictures.keys();
        Box::new(Known {
            pictures: names
                .map(|name| (golden.picture(name), vectors[name].clone()))
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
        let case = |(i, case): (usize, &GoldenCase)| {
            let [source, target, _] = &case.names;
            let source_only = profile.reference == Reference::Source;
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
                caption: if source_only {
                    &case.after
                } else {
                    &case.local
                }
                .clone(),
                counts: true,
            }
        };
        let cases: Vec<Case> = golden.cases.iter().enumerate().map(case).collect();
        let results = golden
            .cases
            .iter()
            .map(|case| golden.picture(&case.names[2]));
        let results: Vec<Image> = results.collect();
        let pairs: Vec<(&Case, &Image)> = cases.iter().zip(&results).collect();
        let scores = Scorer::new(profile, &towers).scores(&pairs).unwrap();
        let mut worst = 0f64;
        for (i, (found, expected)) in scores.iter().zip(rows).enumerate() {
            let names: Vec<_> = found.keys().collect();
            assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{name}");
            for (metric, value) in found {
                let off = (value - expected[metric]).abs() / profile.scale;
                worst = worst.max(off);
                assert!(
                    off < 1e-6,
                    "{name}, case {i}, {metric}: {value}, not {}",
                    expected[metric]
                );
            }
        }
        println!("{name}: {worst:.1e}");
    }
}

#[test]
fn similarity_and_noise_ratio_are_those_of_scikit_image() {
    let golden = Golden::read();
    for Plain { a, b, ssim, psnr } in &golden.plain {
        let (a, b) = (golden.picture(a), golden.picture(b));
        let found = structural_similarity(&a, &b).unwrap();
        assert!((found - ssim).abs() < 1e-9, "{found}, not {ssim}");
        let found = decibels(&a, &b, |_| true).unwrap();
        assert!((found - psnr).abs() < 1e-9, "{found}, not {psnr}");
    }
    let (small, other) = (golden.picture("result3"), golden.picture("target0"));
    assert!(structural_similarity(&small, &other).is_err());
    let narrow = Image::from_rgb(10, 30, vec![0; 900]).unwrap();
    assert!(structural_similarity(&narrow, &narrow).is_err());
    assert!((structural_similarity(&other, &other).unwrap() - 1.0).abs() < 1e-12);
}
