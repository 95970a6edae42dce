//! A pool of samples, indexed by kind and by geometry: a batch has samples of one geometry, and kinds are drawn by weight.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use rand::{Rng, RngExt};

use super::encoder::Encoder;
use super::latents::{Entry, Latents};
use super::watch::ShardWatcher;
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
            inputs: inputs.map(|(latent, role)| (latent.sides, *role)).collect(),
            outputs: entry.outputs.iter().map(|latent| latent.sides).collect(),
        }
    }
}

/// Samples of one geometry, drawn together as a group of a batch.
pub(in super::super) struct SampleGroup {
    pub(in super::super) geometry: Geometry,
    pub(in super::super) entries: Vec<Arc<Entry>>,
}

impl SampleGroup {
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
    watch: ShardWatcher,
}

impl Pool {
    /// Starts reading the shards that match `patterns`; keeps the samples that `mixture` draws and the network supports.
    ///
    /// # Errors
    /// As [`ShardWatcher::start`].
    pub(in super::super) fn start(
        patterns: &[PathBuf],
        mixture: Mixture,
        network: &TransformerConfig,
        mut encoder: Encoder,
    ) -> Result<Self> {
        let network = network.clone();
        let fits = move |entry: &Entry| {
            check_frames(&network, entry.inputs.len(), entry.outputs.len()).is_ok()
        };
        let latents = encoder.latents();
        let buckets = Arc::new(RwLock::new(Buckets::new(mixture)));
        let filled = buckets.clone();
        let read_shard = move |path: &Path, stop: &AtomicBool| {
            if let Some(entries) = encoder.encode_shard(path, stop)? {
                let mut buckets = filled.write().unwrap_or_else(|e| e.into_inner());
                let fitting = entries.into_iter().filter(&fits);
                fitting.for_each(|entry| buckets.add(entry));
            }
            Ok(())
        };
        Ok(Pool {
            buckets,
            latents,
            watch: ShardWatcher::start(patterns.to_vec(), read_shard)?,
        })
    }

    /// Waits until there are `count` samples or all shards are read.
    ///
    /// # Errors
    /// As [`ShardWatcher::wait`].
    pub(in super::super) fn wait(&self, count: usize) -> Result<()> {
        let loaded = || self.with(|buckets| buckets.len());
        self.watch
            .wait(count, loaded, "samples of the stage's kinds")
    }

    /// Returns the kinds without a sample so far.
    pub(in super::super) fn missing_kinds(&self) -> Vec<String> {
        self.with(|buckets| {
            let components = buckets.mixture.0.iter().zip(&buckets.by_component);
            let missing = components.filter(|(_, samples)| samples.is_empty());
            missing
                .map(|(component, _)| component.name.clone())
                .collect()
        })
    }

    /// Draws `count` samples of one geometry. Over many draws, kinds occur by weight, and the samples of a kind equally often.
    pub(in super::super) fn draw(&self, count: usize, rng: &mut impl Rng) -> SampleGroup {
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
    /// The index of each geometry.
    geometry_indices: HashMap<Geometry, usize>,
    /// For each component of the mixture, its samples with the index of their geometry.
    by_component: Vec<Vec<(Arc<Entry>, usize)>>,
    /// For each geometry and component, indices into `by_component`.
    by_geometry: Vec<Vec<Vec<u32>>>,
}

impl Buckets {
    fn new(mixture: Mixture) -> Self {
        let components = mixture.0.len();
        Buckets {
            mixture,
            geometries: Vec::new(),
            geometry_indices: HashMap::new(),
            by_component: vec![Vec::new(); components],
            by_geometry: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.by_component.iter().map(Vec::len).sum()
    }

    fn add(&mut self, entry: Entry) {
        let Some(component) = self.mixture.component(entry.kind, &entry.variant) else {
            return;
        };
        let geometry = Geometry::of(&entry);
        let index = *self
            .geometry_indices
            .entry(geometry)
            .or_insert_with_key(|geometry| {
                self.geometries.push(geometry.clone());
                self.by_geometry
                    .push(vec![Vec::new(); self.by_component.len()]);
                self.geometries.len() - 1
            });
        self.by_geometry[index][component].push(self.by_component[component].len() as u32);
        self.by_component[component].push((Arc::new(entry), index));
    }

    /// Draws a geometry with the total probability of its samples, then draws each sample with its probability given that geometry.
    fn draw(&self, count: usize, rng: &mut impl Rng) -> SampleGroup {
        let weight = |(component, samples): (usize, &Vec<(Arc<Entry>, usize)>)| match samples.len()
        {
            0 => 0.0,
            _ => self.mixture.0[component].weight,
        };
        let weights: Vec<f64> = self.by_component.iter().enumerate().map(weight).collect();
        let samples = &self.by_component[draw_index(&weights, rng)];
        let geometry = samples[rng.random_range(0..samples.len())].1;
        let components = &self.by_geometry[geometry];
        let conditional_weight = |component: usize| {
            let matching = components[component].len() as f64;
            let total = self.by_component[component].len().max(1) as f64;
            weights[component] * matching / total
        };
        let conditional: Vec<f64> = (0..components.len()).map(conditional_weight).collect();
        let draw_sample = |_| {
            let component = draw_index(&conditional, rng);
            let indices = &components[component];
            let index = indices[rng.random_range(0..indices.len())] as usize;
            self.by_component[component][index].0.clone()
        };
        SampleGroup {
            geometry: self.geometries[geometry].clone(),
            entries: (0..count).map(draw_sample).collect(),
        }
    }
}

/// Draws an index with probability proportional to its weight; rounding errors lead to the last index with a weight.
fn draw_index(weights: &[f64], rng: &mut impl Rng) -> usize {
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
    use crate::train::data::latents::LatentLocation;
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
        let latent = LatentLocation::square(side);
        let inputs = match kind {
            Kind::Edit => vec![(latent, Role::Canvas)],
            _ => Vec::new(),
        };
        Entry {
            kind,
            variant: variant.into(),
            context: Vec::new(),
            prompts: vec![name.to_string()],
            inputs,
            outputs: vec![latent],
            changed: Vec::new(),
        }
    }

    /// Compares random counts with the weights of the settings.
    #[test]
    fn batches_have_one_geometry_and_kinds_are_drawn_by_weight() {
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
        let (mut moves, mut large, mut texts, draws) = (0, 0, 0, 8000);
        for _ in 0..draws {
            let group = buckets.draw(2, &mut rng);
            for entry in &group.entries {
                assert_eq!(Geometry::of(entry), group.geometry);
                assert_ne!(entry.kind, Kind::Control);
                moves += usize::from(entry.variant == "move");
                texts += usize::from(entry.kind == Kind::TextToImage);
                large += usize::from(entry.outputs[0].sides[0] == 16);
            }
        }
        let fraction = |count: usize| count as f64 / f64::from(2 * draws);
        assert!((fraction(texts) - 0.5).abs() < 0.03, "seed {seed}: {texts}");
        assert!(
            (fraction(moves) - 0.375).abs() < 0.03,
            "seed {seed}: {moves}"
        );
        assert!(
            (fraction(large) - 0.03125).abs() < 0.01,
            "seed {seed}: {large}"
        );
    }
}
