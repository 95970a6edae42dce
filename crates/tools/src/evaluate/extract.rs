//! `unireal evaluate features`: writes a backbone's feature vectors of images and captions to a safetensors file.

use std::path::{Path, PathBuf};
use std::time::Instant;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::backbone::{Backbone, Encoder};
use super::benchmark::is_image;
use super::features::{Features as _, Preprocess};
use crate::train::checkpoint::write;
use unireal::internals::gpu::device::Choice;
use unireal::internals::loader::open;
use unireal::{Error, Result};

/// Options of `unireal evaluate features`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Backbone folder: weights as published, config.json, tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// Architecture of the backbone
    #[arg(long, value_enum)]
    pub backbone: Backbone,
    /// Preprocessing of images; default: as the backbone's authors do, and the whole image for the tabletop's own backbones
    #[arg(long, value_enum)]
    pub preprocess: Option<Preprocess>,
    /// Folder of images, read in the order of their names
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// File with one caption per line
    #[arg(long, value_name = "FILE")]
    pub captions: Option<PathBuf>,
    /// Output file with the tensors `images` and `texts` and the names of the images
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// auto, cpu, gpu or gpu-f16
    #[arg(long, default_value = "cpu")]
    pub device: Choice,
}

/// Writes the feature vectors and prints a line of JSON with counts and seconds.
///
/// # Errors
/// [`Error::Request`] when neither images nor captions are given, [`Error::Format`] for invalid files.
pub fn run(options: &Options) -> Result<()> {
    if options.images.is_none() && options.captions.is_none() {
        let reason = "input: none, expected --images, --captions or both";
        return Err(Error::Request(reason.into()));
    }
    let paths = options
        .images
        .as_deref()
        .map_or(Ok(Vec::new()), image_files)?;
    let captions = options.captions.as_deref().map_or(Ok(Vec::new()), lines)?;
    let device = pollster::block_on(open(options.device))?.device;
    let encoder = Encoder::open(&options.weights, options.backbone, &device)?;
    let preprocess = options.preprocess.unwrap_or(options.backbone.preprocess());
    let start = Instant::now();
    let images = encoder.files(&paths, preprocess)?;
    let image_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let texts = if captions.is_empty() {
        Vec::new()
    } else {
        encoder.texts(&captions)?
    };
    let text_seconds = start.elapsed().as_secs_f64();
    save(&options.out, &paths, &images, &texts)?;
    say!(
        "{}",
        json!({
            "images": images.len(), "image_seconds": image_seconds, "texts": texts.len(), "text_seconds": text_seconds
        })
    );
    Ok(())
}

/// Returns the images of a folder, sorted by name.
fn image_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |e: &dyn std::fmt::Display| Error::format(folder.display().to_string(), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| fail(&e))? {
        let path = entry.map_err(|e| fail(&e))?.path();
        if is_image(&path) {
            found.push(path);
        }
    }
    found.sort();
    if found.is_empty() {
        Err(fail(&"images: none, expected png, jpg, jpeg or webp files"))
    } else {
        Ok(found)
    }
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn save(out: &Path, paths: &[PathBuf], images: &[Vec<f32>], texts: &[Vec<f32>]) -> Result<()> {
    let names: Vec<String> = paths
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let tensors = [("images", images), ("texts", texts)].map(|(name, rows)| {
        let bytes = rows.iter().flatten().flat_map(|v| v.to_le_bytes());
        (
            name,
            rows.first().map_or(0, Vec::len),
            rows.len(),
            bytes.collect::<Vec<u8>>(),
        )
    });
    let views = tensors.iter().filter(|(_, width, ..)| *width > 0);
    let views = views.map(|(name, width, count, bytes)| {
        let view = TensorView::new(Dtype::F32, vec![*count, *width], bytes)
            .expect("vectors of one backbone have one length");
        (*name, view)
    });
    let metadata = [("names".to_owned(), json!(names).to_string())].into();
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| Error::Internal(format!("writing safetensors: {e}")))?;
    write(out, &bytes)
}
