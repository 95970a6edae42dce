//! Opens the feature networks of the metrics from a folder with one subfolder each.

use std::path::Path;

use burn::tensor::Device;
use sha2::{Digest, Sha256};

use super::backbone::{Backbone, Encoder};
use super::benchmark::scores::direction;
use super::cases::Case;
use super::features::Features;
use super::metrics::cosine;
use super::profile::Direction;
use super::score::Score;
use unireal::Image;
use unireal::internals::weights::source::hex;
use unireal::{Error, Result};

/// Returns the name of a backbone's folder.
///
/// # Errors
/// [`Error::Internal`] if the backbone has no name, which cannot happen.
pub(super) fn name(backbone: Backbone) -> Result<String> {
    let value = serde_json::to_value(backbone).map_err(|e| Error::Internal(e.to_string()))?;
    let name = value.as_str().map(str::to_owned);
    name.ok_or_else(|| Error::Internal(format!("name of {backbone:?}: {value}, expected text")))
}

/// Opens a backbone from its subfolder of `folder`; returns it with a hash of its weights.
///
/// # Errors
/// As [`Encoder::open`].
pub(super) fn open(folder: &Path, backbone: Backbone) -> Result<(Encoder, String)> {
    let folder = folder.join(name(backbone)?);
    let encoder = Encoder::open(&folder, backbone, &Device::flex())?;
    let fail = |e: std::io::Error| Error::io(&folder, e);
    let mut hash = Sha256::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        files.push(entry.map_err(fail)?.path());
    }
    files.sort();
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
    {
        let mut file = std::fs::File::open(path).map_err(fail)?;
        std::io::copy(&mut file, &mut Hashed(&mut hash)).map_err(fail)?;
    }
    Ok((encoder, hex(&hash.finalize())))
}

/// A writer that hashes the bytes.
struct Hashed<'a>(&'a mut Sha256);

impl std::io::Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The networks trained on the tabletop world: `clip` and `dino`.
pub(super) struct Tabletop {
    clip: Encoder,
    dino: Encoder,
}

impl Tabletop {
    /// Opens both.
    ///
    /// # Errors
    /// As [`open`].
    pub(super) fn open(folder: &Path) -> Result<Self> {
        Ok(Tabletop {
            clip: open(folder, Backbone::Clip)?.0,
            dino: open(folder, Backbone::Dino)?.0,
        })
    }

    /// Adds the feature metrics of EMU Edit to the score of an edit, computed against the ground truth.
    ///
    /// # Errors
    /// Errors of the networks.
    pub(super) fn features(&self, case: &Case, result: &Image, score: &mut Score) -> Result<()> {
        let Some([before, after]) = &case.captions else {
            return Ok(());
        };
        let images = [
            case.inputs[0].0.clone(),
            case.ground_truth.clone(),
            result.clone(),
        ];
        let clip = self.clip.images(&images, Backbone::Clip.preprocess())?;
        let dino = self
            .dino
            .images(&images[1..], Backbone::Dino.preprocess())?;
        let texts = self.clip.texts(&[before.clone(), after.clone()])?;
        let ([input, ground_truth, result_features], [before, after]) = (&clip[..], &texts[..])
        else {
            return Err(Error::Internal(format!(
                "CLIP features: {} of images and {} of captions, expected 3 and 2",
                clip.len(),
                texts.len()
            )));
        };
        let coding = Direction::NormaliseFirst;
        score.clip_direction = Some(direction(coding, [input, result_features], [before, after]));
        score.clip_image = Some(cosine(result_features, ground_truth));
        score.clip_text = Some(cosine(result_features, after));
        score.dino = Some(cosine(&dino[0], &dino[1]));
        Ok(())
    }
}
