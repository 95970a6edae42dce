//! `unireal evaluate reconstruct`: encodes and decodes held-out frames of the tabletop with the autoencoder of a pack or of a
//! training run. The autoencoder limits the quality of the objects that a transformer can draw, so the report gives the peak
//! signal-to-noise ratio (PSNR) inside objects beside that of whole frames.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Serialize;

use super::super::float_weights;
use super::cases::EDITS;
use super::metrics::decibels;
use super::statistics::Interval;
use crate::data::ordered::ordered;
use crate::data::tabletop::{self, HELD_OUT};
use crate::frame::Frame;
use unireal::Image;
use unireal::internals::config::Config;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Result};
use unireal_tabletop::EditKind;

/// Maximum number of pairs on a contact sheet, and pairs per row.
const SHEET: (usize, usize) = (40, 4);

/// Maximum side of a frame in pixels.
const MAX_SIDE: u32 = 1024;

/// Options of `unireal evaluate reconstruct`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder of a pack or of a training run
    #[arg(long, value_name = "DIR")]
    pub pack: PathBuf,
    /// Side of the frames in pixels
    #[arg(long, value_name = "PX", default_value_t = 128)]
    pub size: u32,
    /// Number of held-out scenes; each gives its canvas and the ground truth of its edits, five to seven frames
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub cases: usize,
    /// Index of the first held-out scene
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u64,
    /// Write originals beside their reconstructions as one image
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// A rendered frame with its object masks.
pub(crate) struct HeldOutFrame {
    /// The scene's seed; frames of one scene are not independent.
    scene: u64,
    image: Image,
    /// The mask of all objects.
    objects: Vec<bool>,
    /// In a recolouring's ground truth: the mask of the recoloured objects.
    recoloured: Option<Vec<bool>>,
}

/// PSNR in dB of a set of frames: the mean over frames of each frame's ratio, with 95 % bounds of a bootstrap over scenes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Side of the frames in pixels.
    pub(crate) size: u32,
    /// Number of scenes and frames.
    pub(crate) scenes: usize,
    pub(crate) frames: usize,
    /// Over all pixels of a frame.
    pub(crate) whole_db: Option<Interval>,
    /// Over the pixels of any object.
    pub(crate) objects_db: Option<Interval>,
    /// Over the pixels of the recoloured objects, only in the ground truths of recolourings.
    pub(crate) recoloured_db: Option<Interval>,
}

/// Measures the reconstruction and prints the report.
///
/// # Errors
/// [`Error::Request`] for a size that the autoencoder does not accept, [`Error::Format`] for a folder without an autoencoder.
pub fn run(options: &Options) -> Result<()> {
    let device = Device::flex();
    let autoencoder = open(&options.pack, options.size, &device)?;
    let frames = frames(HELD_OUT + options.first, options.cases, options.size)?;
    let results = reconstruct(&autoencoder, &frames, &device)?;
    let report = Report::new(&frames, &results);
    if options.json {
        let json = serde_json::to_string_pretty(&report);
        say!("{}", json.map_err(|e| Error::Internal(e.to_string()))?);
    } else {
        print(&report)
    }
    match &options.sheet {
        Some(path) => sheet(&frames, &results)?.save(path),
        None => Ok(()),
    }
}

/// Opens the autoencoder of a pack or a run, in f32.
fn open(folder: &Path, size: u32, device: &Device) -> Result<Autoencoder> {
    let config = Config::read(folder)?;
    let stride = config.vae.stride() as u32;
    if !size.is_multiple_of(stride) || !(stride..=MAX_SIDE).contains(&size) {
        return Err(Error::Request(format!(
            "--size: {size}, expected a multiple of {stride} from {stride} to {MAX_SIDE}"
        )));
    }
    let autoencoder = Autoencoder::new(&config.vae, Encoding::F32, device);
    float_weights::load(autoencoder, vae::NAMES, &folder.join("vae"), device)
}

/// Renders the frames of `scenes` scenes from the seed `first` on: each scene's canvas, and the ground truths of its edits of
/// the kinds that `evaluate world` compares.
///
/// # Errors
/// [`Error::Request`] when `scenes` is 0.
pub(crate) fn frames(first: u64, scenes: usize, size: u32) -> Result<Vec<HeldOutFrame>> {
    if scenes == 0 {
        return Err(Error::Request("--cases: 0, expected 1 or more".into()));
    }
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut all = Vec::new();
    let render = |i| Ok(scene_frames(first + i as u64, size));
    ordered(threads, scenes, render, |_, frames| {
        all.extend(frames?);
        Ok(())
    })?;
    Ok(all)
}

fn scene_frames(seed: u64, size: u32) -> Vec<HeldOutFrame> {
    let shoot = tabletop::shoot(seed, size);
    let frame = |frame: &Frame, recoloured| HeldOutFrame {
        scene: seed,
        image: frame.image.clone(),
        objects: frame.ids.iter().map(|&id| id > 0).collect(),
        recoloured,
    };
    let (scene, before) = &shoot.base;
    let mut all = vec![frame(before, None)];
    for edited in &shoot.edits {
        let kind = edited.edit.kind();
        if EDITS.contains(&kind.name()) {
            let changed = || tabletop::changed(&edited.edit, scene, before, &edited.frame);
            let recoloured = (kind == EditKind::Recolour).then(changed);
            all.push(frame(&edited.frame, recoloured));
        }
    }
    all
}

/// Encodes each frame and decodes the mean of its latent.
///
/// # Errors
/// As [`Image::from_tensor`].
pub(crate) fn reconstruct(
    autoencoder: &Autoencoder,
    frames: &[HeldOutFrame],
    device: &Device,
) -> Result<Vec<Image>> {
    let one = |frame: &HeldOutFrame| {
        let latent = autoencoder.encode(frame.image.to_tensor(device), None);
        pollster::block_on(Image::from_tensor(autoencoder.decode(latent, None)))
    };
    frames.iter().map(one).collect()
}

impl Report {
    /// Compares frames with their reconstructions.
    pub(crate) fn new(frames: &[HeldOutFrame], results: &[Image]) -> Report {
        let names: Vec<String> = frames.iter().map(|f| f.scene.to_string()).collect();
        let over = |mask: &dyn Fn(&HeldOutFrame) -> Option<Vec<bool>>| {
            let pairs = frames.iter().zip(results).zip(&names);
            Interval::of(pairs.filter_map(|((frame, result), name)| {
                let mask = mask(frame)?;
                let ratio = decibels(&frame.image, result, |i| mask[i])?;
                Some((name.as_str(), ratio))
            }))
        };
        let mut scenes = names.clone();
        scenes.dedup();
        Report {
            size: frames.first().map_or(0, |frame| frame.image.width),
            scenes: scenes.len(),
            frames: frames.len(),
            whole_db: over(&|frame| Some(vec![true; frame.objects.len()])),
            objects_db: over(&|frame| Some(frame.objects.clone())),
            recoloured_db: over(&|frame| frame.recoloured.clone()),
        }
    }
}

/// Returns a sheet of originals beside their reconstructions: the first frame of every scene, then the second, until it is
/// full.
///
/// # Errors
/// As [`Image::sheet`].
pub(crate) fn sheet(frames: &[HeldOutFrame], results: &[Image]) -> Result<Image> {
    let mut order = Vec::new();
    let mut index_in_scene = 0;
    for (i, frame) in frames.iter().enumerate() {
        let follows = i > 0 && frames[i - 1].scene == frame.scene;
        index_in_scene = if follows { index_in_scene + 1 } else { 0 };
        order.push((index_in_scene, i));
    }
    order.sort_unstable();
    order.truncate(SHEET.0);
    let pair = |&(_, i): &(usize, usize)| [Some(&frames[i].image), Some(&results[i])];
    let pairs: Vec<[Option<&Image>; 2]> = order.iter().map(pair).collect();
    Image::sheet(&pairs, SHEET.1)
}

fn print(report: &Report) {
    say!(
        "{} held-out frames of {} scenes at {} px",
        report.frames,
        report.scenes,
        report.size
    );
    say!("\n| PSNR over | dB |\n|---|---|");
    for (name, interval) in [
        ("whole frames", &report.whole_db),
        ("objects", &report.objects_db),
        ("recoloured objects", &report.recoloured_db),
    ] {
        let text = interval.as_ref().map(|interval| interval.text(1));
        say!("| {name} | {} |", text.unwrap_or_default());
    }
    say!("\nMeans over frames; in brackets: 95% of bootstrap resamples of the scenes.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::initialise;
    use unireal::internals::weights::manifest::MAX_SHARD;
    use unireal::internals::weights::module::collect;
    use unireal::internals::weights::save::Writer;

    /// With an error of 10 inside objects only, the ratio there is the known value.
    #[test]
    fn psnr_is_computed_inside_the_masks() {
        let frames = frames(HELD_OUT + 3, 2, 32).unwrap();
        assert!(frames.len() > 4);
        let spoil = |frame: &HeldOutFrame| {
            let mut image = frame.image.clone();
            for (i, pixel) in image.rgb.chunks_exact_mut(3).enumerate() {
                if frame.objects[i] {
                    pixel
                        .iter_mut()
                        .for_each(|c| *c = if *c < 128 { *c + 10 } else { *c - 10 });
                }
            }
            image
        };
        let results: Vec<Image> = frames.iter().map(spoil).collect();
        let report = Report::new(&frames, &results);
        let objects = report.objects_db.unwrap();
        assert!((objects.mean - 28.1308).abs() < 1e-3, "{objects:?}");
        assert!(report.whole_db.unwrap().mean > objects.mean + 1.0);
        assert_eq!(
            (report.size, report.scenes, report.frames),
            (32, 2, frames.len())
        );
        let originals: Vec<Image> = frames.iter().map(|f| f.image.clone()).collect();
        assert_eq!(
            Report::new(&frames, &originals).whole_db.unwrap().mean,
            60.0
        );
        let sheet = sheet(&frames, &originals).unwrap();
        assert!(sheet.width >= 2 * 32 && sheet.height >= 32);
    }

    /// A run's plain f32 file and its pack give the same results.
    #[test]
    fn packs_and_runs_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let config = Config::tiny();
        config.write(folder.path()).unwrap();
        let autoencoder = initialise::autoencoder(&config.vae, &device);
        let mut writer = Writer::new(folder.path(), "vae", Encoding::F32, MAX_SHARD).unwrap();
        for tensor in collect(&autoencoder, vae::NAMES).unwrap() {
            writer.add(&tensor, false).unwrap();
        }
        writer.finish().unwrap();
        let frames = frames(HELD_OUT, 1, 32).unwrap();
        let expected = reconstruct(&autoencoder, &frames, &device).unwrap();
        let pack = open(folder.path(), 32, &device).unwrap();
        assert_eq!(reconstruct(&pack, &frames, &device).unwrap(), expected);
        let index = folder.path().join("vae/model.safetensors.index.json");
        std::fs::remove_file(index).unwrap();
        let run = open(folder.path(), 32, &device).unwrap();
        assert_eq!(reconstruct(&run, &frames, &device).unwrap(), expected);

        let refused = open(folder.path(), 30, &device).unwrap_err().to_string();
        assert!(
            refused.contains("--size: 30, expected a multiple of"),
            "{refused}"
        );
        std::fs::remove_file(folder.path().join("vae/model-00001.safetensors")).unwrap();
        let missing = open(folder.path(), 32, &device).unwrap_err().to_string();
        assert!(
            missing.contains("vae: holds no .safetensors file"),
            "{missing}"
        );
    }
}
