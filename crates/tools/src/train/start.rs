//! Initialises the folder of a new run: with fresh weights, with a pack's weights grown into the run's shape, or with the weights
//! and progress of a pack.
//!
//! A run writes the progress of its stages to `training.json`, beside the weights, and `unireal pack` copies the file into the
//! pack. So a run can resume from a committed pack of any encoding: it skips finished stages and continues the current one at its
//! step, with a new optimizer and a new warm-up of the learning rate.

use std::collections::BTreeMap;
use std::path::Path;

use super::resume::Progress;
use super::settings::Settings;
use super::{Options, checkpoint, grow};
use crate::pack::has_weights;
use unireal::internals::config::{self, Config};
use unireal::{Error, Result};

/// The file with the progress of the stages that trained a folder's weights.
pub(crate) const TRAINING: &str = "training.json";

/// Creates the folder of a new run; leaves an existing one unchanged.
///
/// # Errors
/// As [`grow::grow`] and [`Config::preset`].
pub(super) fn prepare(options: &Options, settings: &Settings) -> Result<()> {
    let run = &options.out;
    if run.join("model_index.json").exists() {
        return Ok(());
    }
    let config = settings.config()?;
    if let Some(from) = &options.from {
        return grow::grow(from, &options.take, run, config, settings);
    }
    match &options.resume_from {
        Some(pack) => resume(pack, run, config, settings),
        None => config.write(run),
    }
}

/// Resumes from a pack of the same shape. For another shape, prints a message and starts with fresh weights.
fn resume(pack: &Path, run: &Path, config: Config, settings: &Settings) -> Result<()> {
    let old = Config::read(pack)?;
    if let Some(component) = other_shape(&old, &config) {
        eprintln!(
            "{}: the {component} has another shape than the preset {:?}; the run starts fresh",
            pack.display(),
            settings.preset
        );
        return config.write(run);
    }
    let stages = read(pack)?;
    if stages.is_empty() {
        eprintln!(
            "{}: no {TRAINING}; the run starts at the first stage with the weights of this pack",
            pack.display()
        )
    } else {
        eprintln!("{}: the run goes on from this pack", pack.display())
    }
    write(run, &stages)?;
    // A pack of a run's first stages lacks the networks of later ones.
    let mut networks: Vec<grow::Network> = Vec::new();
    for network in grow::Network::ALL {
        if has_weights(&pack.join(network.folder()))? {
            networks.push(network);
        }
    }
    if networks.is_empty() {
        Err(Error::format(
            pack.display().to_string(),
            "no weights, expected those of one or more networks",
        ))
    } else {
        grow::grow(pack, &networks, run, config, settings)
    }
}

/// Returns the first component whose shape differs. Ignores scale and shift of the latents, which belong to the weights.
fn other_shape(old: &Config, new: &Config) -> Option<&'static str> {
    let mut vae = old.vae.clone();
    vae.scaling_factor = new.vae.scaling_factor;
    vae.shift_factor = new.vae.shift_factor;
    let checks = [
        ("autoencoder", vae == new.vae),
        ("text encoder", old.text_encoder == new.text_encoder),
        ("transformer", old.transformer == new.transformer),
    ];
    checks
        .into_iter()
        .find(|check| !check.1)
        .map(|check| check.0)
}

/// Reads the progress of the stages that trained a folder's weights; empty if the file is missing.
///
/// # Errors
/// [`Error::Format`] when the file is corrupt.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, Progress>> {
    let path = folder.join(TRAINING);
    let file = path.display().to_string();
    match std::fs::read(&path) {
        Ok(bytes) => config::parse(&file, &bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(Error::format(file, e)),
    }
}

/// Records the progress of the stage that trained the weights in a run's folder.
///
/// # Errors
/// [`Error::Format`] when the file is corrupt or cannot be written.
pub(super) fn record(run: &Path, stage: &str, progress: Progress) -> Result<()> {
    let mut stages = read(run)?;
    stages.insert(stage.to_owned(), progress);
    write(run, &stages)
}

fn write(folder: &Path, stages: &BTreeMap<String, Progress>) -> Result<()> {
    let json = serde_json::to_string_pretty(stages).expect("numbers and names are JSON");
    checkpoint::write(&folder.join(TRAINING), (json + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_recorded_for_each_stage() {
        let run = tempfile::tempdir().unwrap();
        assert!(read(run.path()).unwrap().is_empty());
        let progress = |steps| Progress {
            steps,
            samples: 8 * steps,
            seconds: 1.5,
            done: steps > 5,
        };
        record(run.path(), "images", progress(9)).unwrap();
        record(run.path(), "mixed", progress(3)).unwrap();
        record(run.path(), "mixed", progress(4)).unwrap();
        let found = read(run.path()).unwrap();
        assert_eq!(found["images"], progress(9));
        assert_eq!(found["mixed"], progress(4));
        std::fs::write(run.path().join(TRAINING), "{").unwrap();
        let damaged = read(run.path()).unwrap_err().to_string();
        assert!(damaged.contains(TRAINING), "{damaged}");
    }

    #[test]
    fn latent_statistics_are_not_part_of_the_shape() {
        let new = Config::tiny();
        let mut old = new.clone();
        old.vae.scaling_factor = 1.7;
        old.vae.shift_factor = Some(0.3);
        old.index.sample_size += 8;
        assert_eq!(other_shape(&old, &new), None);
        old.transformer.num_layers += 1;
        assert_eq!(other_shape(&old, &new), Some("transformer"));
        old.vae.latent_channels += 1;
        assert_eq!(other_shape(&old, &new), Some("autoencoder"));
    }
}
