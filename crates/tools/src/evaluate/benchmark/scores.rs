//! Computes the scores of a case as the profile's public code does.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::features::{Features, Preprocess};
use super::super::metrics::{cosine, mean, mean_absolute, mean_squared};
use super::super::profile::{Direction, Metric, Profile};
use super::super::resample::pillow_bicubic;
use super::case::Case;
use unireal::Image;
use unireal::{Error, Result};

/// The stored scores of one case, one file each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Scored {
    /// Id of the case.
    pub id: String,
    /// Group of dependent cases.
    pub group: String,
    /// The prompt, or the prompts of all turns.
    pub prompt: String,
    /// Caption of the requested image.
    pub caption: String,
    /// The input image.
    pub input: PathBuf,
    /// The result image.
    pub result: PathBuf,
    /// A hash of everything that the scores depend on.
    pub key: String,
    /// Scores by [`Metric::name`].
    pub scores: BTreeMap<String, f64>,
}

/// One of a profile's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tower {
    Clip,
    Dino,
    Dinov2,
}

impl Tower {
    /// Returns the network that a metric uses; `None` for pixel metrics.
    pub(super) fn of(metric: Metric) -> Option<Tower> {
        match metric {
            Metric::ClipDirection | Metric::ClipImage | Metric::ClipText => Some(Tower::Clip),
            Metric::Dino => Some(Tower::Dino),
            Metric::Dinov2 => Some(Tower::Dinov2),
            Metric::L1 | Metric::L2 => None,
        }
    }
}

/// Computes a profile's metrics. Caches the features of references and captions, which many cases share.
pub(super) struct Scorer<'a> {
    profile: &'a Profile,
    towers: &'a HashMap<Tower, Box<dyn Features>>,
    images: HashMap<(Tower, PathBuf), Vec<f32>>,
    captions: HashMap<String, Vec<f32>>,
}

impl<'a> Scorer<'a> {
    /// Creates a scorer with the available networks; metrics that need others are omitted.
    pub(super) fn new(profile: &'a Profile, towers: &'a HashMap<Tower, Box<dyn Features>>) -> Self {
        Scorer {
            profile,
            towers,
            images: HashMap::new(),
            captions: HashMap::new(),
        }
    }

    /// Returns the metrics that can be computed.
    pub(super) fn metrics(&self) -> impl Iterator<Item = Metric> {
        let is_available = |metric: &Metric| {
            Tower::of(*metric).is_none_or(|tower| self.towers.contains_key(&tower))
        };
        self.profile.metrics.iter().copied().filter(is_available)
    }

    /// Returns the scores of a batch of cases and results.
    ///
    /// # Errors
    /// [`Error::Format`] for an image that cannot be read; errors of the networks.
    pub(super) fn scores(
        &mut self,
        cases: &[(&Case, &Image)],
    ) -> Result<Vec<BTreeMap<String, f64>>> {
        let results: Vec<Image> = cases.iter().map(|(_, image)| (*image).clone()).collect();
        let mut result_features = HashMap::new();
        for (&tower, network) in self.towers {
            let features = network.images(&results, self.preprocess(tower))?;
            result_features.insert(tower, features);
        }
        self.prepare(cases)?;
        let metrics: Vec<Metric> = self.metrics().collect();
        let mut all = Vec::new();
        for (i, (case, image)) in cases.iter().enumerate() {
            let mut scores = BTreeMap::new();
            for &metric in &metrics {
                let features = Tower::of(metric)
                    .and_then(|tower| Some((tower, result_features.get(&tower)?.get(i)?)));
                let value = match features {
                    Some((tower, features)) => self.similarity(metric, tower, case, features),
                    None => Some(self.pixels(metric, case, image)?),
                };
                let absent = || {
                    Error::Internal(format!(
                        "{} of {}: nothing to compare, expected the features of a reference",
                        metric.name(),
                        case.id
                    ))
                };
                let value = value.ok_or_else(absent)?;
                if !value.is_finite() {
                    let reason = format!(
                        "{}: {value}, expected a finite number; are these the weights of the profile's network?",
                        metric.name()
                    );
                    return Err(Error::format(&case.id, reason));
                }
                scores.insert(metric.name().into(), value);
            }
            all.push(scores);
        }
        Ok(all)
    }

    fn preprocess(&self, tower: Tower) -> Preprocess {
        match tower {
            Tower::Clip => self.profile.preprocess,
            Tower::Dino | Tower::Dinov2 => Preprocess::Dino,
        }
    }

    /// Computes the missing features of the references, source images and captions of these cases.
    fn prepare(&mut self, cases: &[(&Case, &Image)]) -> Result<()> {
        let directed = self.profile.metrics.contains(&Metric::ClipDirection);
        for (&tower, network) in self.towers {
            let mut paths: Vec<&PathBuf> = cases
                .iter()
                .flat_map(|(case, _)| &case.references)
                .collect();
            if tower == Tower::Clip && directed {
                paths.extend(
                    cases
                        .iter()
                        .filter_map(|(case, _)| Some(&case.change.as_ref()?.image)),
                );
            }
            paths.sort();
            paths.dedup();
            paths.retain(|path| !self.images.contains_key(&(tower, (*path).clone())));
            let images: Vec<Image> = paths.iter().map(Image::open).collect::<Result<_>>()?;
            let vectors = network.images(&images, self.preprocess(tower))?;
            for (path, vector) in paths.into_iter().zip(vectors) {
                self.images.insert((tower, path.clone()), vector);
            }
        }
        let Some(clip) = self.towers.get(&Tower::Clip) else {
            return Ok(());
        };
        let mut texts: Vec<String> = cases.iter().map(|(case, _)| case.caption.clone()).collect();
        if directed {
            let changes = cases.iter().filter_map(|(case, _)| case.change.as_ref());
            texts.extend(changes.flat_map(|change| [change.before.clone(), change.after.clone()]));
        }
        texts.sort();
        texts.dedup();
        texts.retain(|text| !self.captions.contains_key(text));
        if !texts.is_empty() {
            let vectors = clip.texts(&texts)?;
            self.captions.extend(texts.into_iter().zip(vectors));
        }
        Ok(())
    }

    /// Returns a metric of features; `result` is the feature vector of the case's result.
    fn similarity(&self, metric: Metric, tower: Tower, case: &Case, result: &[f32]) -> Option<f64> {
        let image = |path: &Path| self.images.get(&(tower, path.to_owned()));
        let caption = |text: &String| self.captions.get(text);
        let value = match metric {
            Metric::ClipText => cosine(result, caption(&case.caption)?),
            Metric::ClipDirection => {
                let change = case.change.as_ref()?;
                direction(
                    self.profile.direction,
                    [image(&change.image)?, result],
                    [caption(&change.before)?, caption(&change.after)?],
                )
            }
            _ => {
                let references = case.references.iter().map(|path| image(path));
                let vectors: Option<Vec<_>> = references.collect();
                mean(
                    vectors?
                        .into_iter()
                        .map(|reference| cosine(result, reference)),
                )?
            }
        };
        Some(self.profile.scale * value)
    }

    /// Returns a metric of pixels.
    fn pixels(&self, metric: Metric, case: &Case, image: &Image) -> Result<f64> {
        let mut values = Vec::new();
        for path in &case.references {
            let reference = Image::open(path)?;
            let image = pillow_bicubic(image, reference.width, reference.height);
            values.push(match metric {
                Metric::L1 => mean_absolute(&image, &reference),
                _ => mean_squared(&image, &reference),
            });
        }
        mean(values).ok_or_else(|| {
            Error::Internal(format!(
                "references of {}: none, expected at least one",
                case.id
            ))
        })
    }
}

/// Returns the cosine similarity of the change in images and the change in captions, each given as before and after.
pub(in crate::evaluate) fn direction(
    coding: Direction,
    images: [&[f32]; 2],
    captions: [&[f32]; 2],
) -> f64 {
    let change = |[before, after]: [&[f32]; 2]| -> Vec<f32> {
        let factor = |v: &[f32]| match coding {
            Direction::Raw => 1.0,
            Direction::NormaliseFirst => {
                1.0 / v
                    .iter()
                    .map(|x| f64::from(*x).powi(2))
                    .sum::<f64>()
                    .sqrt()
                    .max(1e-8)
            }
        };
        let (p, q) = (factor(before), factor(after));
        let difference = |(b, a): (&f32, &f32)| (f64::from(*a) * q - f64::from(*b) * p) as f32;
        std::iter::zip(before, after).map(difference).collect()
    };
    cosine(&change(images), &change(captions))
}
