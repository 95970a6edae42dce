//! A pool of samples, indexed by kind and by geometry: a batch has samples of one geometry, and kinds are drawn by weight.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use rand::{Rng, RngExt};

use super::latents::{Encoder, Entry, Latents};
use super::watch::Watch;
use crate::train::settings::Mixture;
use unireal::Result;
use unireal::Role;
use unireal::internals::config::TransformerConfig;
use unireal::internals::model::sequence::check_frames;

/// The geometry that the samples of a batch share: rows and columns of each frame in cells, and the inputs' roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Geometry {
    pub(in super::super) inputs: Vec<([u16; 2], Role)>,
    pub(in super::super) outputs: Vec<[u16; 2]>,
}

impl Geometry {
    fn of(entry: &Entry) -> Self {
        let inputs = entry.inputs.iter();
        Geometry {
            inputs: inputs.map(|(place, role)| (place.sides, *role)).collect(),
            outputs: entry.outputs.iter().map(|place| place.sides).collect(),
        }
    }
}

/// Samples of one geometry that were drawn together.
pub(in super::super) struct Drawn {
    pub(in super::super) geometry: Geometry,
    pub(in super::super) entries: Vec<Arc<Entry>>,
}

impl Drawn {
    /// Returns whether a sample's target cells are known and apply to the first input, which then has the size of the first output.
    pub(in super::super) fn has_target_mask(&self) -> bool {
        let canvas = self.geometry.inputs.first().map(|input| input.0);
        let known = |entry: &Arc<Entry>| entry.changed.contains(&true);
        canvas == self.geometry.outputs.first().copied() && self.entries.iter().any(known)
    }
}

/// A growing pool of samples, filled by a separate thread.
pub(in super::super) struct Pool {
    buckets: Arc<RwLock<Buckets>>,
    latents: Arc<Latents>,
    watch: Watch,
}

impl Pool {
    /// Starts reading the shards that match `patterns`; keeps the samples that `mixture` draws and the network supports.
    ///
    /// # Errors
    /// As [`Watch::start`].
    pub(in super::super) fn start(
        patterns: &[PathBuf],
        mixture: Mixture,
        network: &TransformerConfig,
        mut encoder: Encoder,
    ) -> Result<Self> {
        let network = network.clone();
        let fits = move |entry: &Entry| {
            let roles: Vec<Role> = entry.inputs.iter().map(|input| input.1).collect();
            check_frames(&network, &roles, entry.outputs.len()).is_ok()
        };
        let latents = encoder.latents();
        let buckets = Arc::new(RwLock::new(Buckets::new(mixture)));
        let into = buckets.clone();
        let take = move |path: &Path, stop: &AtomicBool| {
            if let Some(entries) = encoder.shard(path, stop)? {
                let mut buckets = into.write().unwrap_or_else(|e| e.into_inner());
                let fitting = entries.into_iter().filter(&fits);
                fitting.for_each(|entry| buckets.add(entry));
            }
            Ok(())
        };
        Ok(Pool {
            buckets,
            latents,
            watch: Watch::start(patterns.to_vec(), take)?,
        })
    }

    /// Waits until there are `count` samples or all shards are read.
    ///
    /// # Errors
    /// As [`Watch::wait`].
    pub(in super::super) fn wait(&self, count: usize) -> Result<()> {
        let there = || self.with(|buckets| buckets.len());
        self.watch
            .wait(count, there, "samples of the stage's kinds")
    }

    /// Returns the kinds without a sample so far.
    pub(in super::super) fn absent(&self) -> Vec<String> {
        self.with(|buckets| {
            let parts = buckets.mixture.0.iter().zip(&buckets.by_part);
            let absent = parts.filter(|(_, samples)| samples.is_empty());
            absent.map(|(part, _)| part.name.clone()).collect()
        })
    }

    /// Draws `count` samples of one geometry. Over many draws, kinds occur by weight, and the samples of a kind equally often.
    pub(in super::super) fn draw(&self, count: usize, rng: &mut impl Rng) -> Drawn {
        self.with(|buckets| buckets.draw(count, rng))
    }

    /// Returns the latents of the samples.
    pub(in super::super) fn latents(&self) -> &Latents {
        &self.latents
    }

    fn with<T>(&self, f: impl FnOnce(&Buckets) -> T) -> T {
        f(&self.buckets.read().unwrap_or_else(|e| e.into_inner()))
    }
}

struct Buckets {
    mixture: Mixture,
    geometries: Vec<Geometry>,
    numbers: HashMap<Geometry, usize>,
    /// For each part of the mixture, its samples with the index of their geometry.
    by_part: Vec<Vec<(Arc<Entry>, usize)>>,
    /// For each geometry and part, indices into `by_part`.
    by_geometry: Vec<Vec<Vec<u32>>>,
}

impl Buckets {
    fn new(mixture: Mixture) -> Self {
        let parts = mixture.0.len();
        Buckets {
            mixture,
            geometries: Vec::new(),
            numbers: HashMap::new(),
            by_part: vec![Vec::new(); parts],
            by_geometry: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.by_part.iter().map(Vec::len).sum()
    }

    fn add(&mut self, entry: Entry) {
        let Some(part) = self.mixture.part(entry.kind, &entry.variant) else {
            return;
        };
        let geometry = Geometry::of(&entry);
        let number = *self.numbers.entry(geometry).or_insert_with_key(|geometry| {
            self.geometries.push(geometry.clone());
            self.by_geometry.push(vec![Vec::new(); self.by_part.len()]);
            self.geometries.len() - 1
        });
        self.by_geometry[number][part].push(self.by_part[part].len() as u32);
        self.by_part[part].push((Arc::new(entry), number));
    }

    /// Draws a geometry with the total probability of its samples, then draws each sample with its probability given that geometry.
    fn draw(&self, count: usize, rng: &mut impl Rng) -> Drawn {
        let weight = |(part, samples): (usize, &Vec<(Arc<Entry>, usize)>)| match samples.len() {
            0 => 0.0,
            _ => self.mixture.0[part].weight,
        };
        let weights: Vec<f64> = self.by_part.iter().enumerate().map(weight).collect();
        let samples = &self.by_part[chosen(&weights, rng)];
        let geometry = samples[rng.random_range(0..samples.len())].1;
        let parts = &self.by_geometry[geometry];
        let share = |part: usize| {
            let (here, all) = (parts[part].len() as f64, self.by_part[part].len().max(1));
            weights[part] * here / all as f64
        };
        let shares: Vec<f64> = (0..parts.len()).map(share).collect();
        let one = |_| {
            let part = chosen(&shares, rng);
            let places = &parts[part];
            let place = places[rng.random_range(0..places.len())] as usize;
            self.by_part[part][place].0.clone()
        };
        Drawn {
            geometry: self.geometries[geometry].clone(),
            entries: (0..count).map(one).collect(),
        }
    }
}

/// Draws an index with probability proportional to its weight; rounding errors lead to the last index with a weight.
fn chosen(weights: &[f64], rng: &mut impl Rng) -> usize {
    let mut at = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (i, weight) in weights.iter().enumerate() {
        if at < *weight {
            return i;
        }
        at -= weight;
    }
    weights
        .iter()
        .rposition(|weight| *weight > 0.0)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Kind;
    use crate::train::data::latents::Place;
    use crate::train::settings::Stage;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn mixture() -> Mixture {
        let stage: Stage = serde_json::from_str(
            r#"{"name": "a", "train": "flow", "size": 64, "steps": 1, "batch": 2, "learning_rate": 1,
                "kinds": {"edit": 1, "edit/move": 3, "text-to-image": 4}}"#,
        )
        .unwrap();
        stage.mixture().unwrap()
    }

    fn entry(kind: Kind, variant: &str, name: usize, side: u16) -> Entry {
        let place = Place::at(side);
        let inputs = match kind {
            Kind::Edit => vec![(place, Role::Canvas)],
            _ => Vec::new(),
        };
        Entry {
            kind,
            variant: variant.into(),
            context: Vec::new(),
            prompts: vec![name.to_string()],
            inputs,
            outputs: vec![place],
            changed: Vec::new(),
        }
    }

    /// Compares random counts with the weights of the settings.
    #[test]
    fn batches_are_of_one_geometry_and_kinds_come_by_weight() {
        let mut buckets = Buckets::new(mixture());
        let mut add = |kind, variant: &str, count, side| {
            for _ in 0..count {
                buckets.add(entry(kind, variant, 0, side));
            }
        };
        add(Kind::Edit, "recolour", 30, 8);
        add(Kind::Edit, "recolour", 10, 16);
        add(Kind::Edit, "move", 5, 8);
        add(Kind::TextToImage, "", 50, 8);
        add(Kind::Control, "depth", 50, 8);
        assert_eq!(buckets.len(), 95);
        let seed = rand::random();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut moves, mut large, mut words, draws) = (0, 0, 0, 8000);
        for _ in 0..draws {
            let drawn = buckets.draw(2, &mut rng);
            for entry in &drawn.entries {
                assert_eq!(Geometry::of(entry), drawn.geometry);
                assert_ne!(entry.kind, Kind::Control);
                moves += usize::from(entry.variant == "move");
                words += usize::from(entry.kind == Kind::TextToImage);
                large += usize::from(entry.outputs[0].sides[0] == 16);
            }
        }
        let share = |count: usize| count as f64 / f64::from(2 * draws);
        assert!((share(words) - 0.5).abs() < 0.03, "seed {seed}: {words}");
        assert!((share(moves) - 0.375).abs() < 0.03, "seed {seed}: {moves}");
        assert!(
            (share(large) - 0.03125).abs() < 0.01,
            "seed {seed}: {large}"
        );
    }
}
