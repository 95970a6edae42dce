//! Feature networks of the published metrics: CLIP, DINO and DINOv2, with their published weights.

mod checkpoint;
pub mod clip;
pub mod config;
mod input;
pub(crate) mod publish;
pub mod vit;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::features::{Features, Preprocess};
use clip::Clip;
use config::{Shape, Text};
pub use input::pixels;
pub(crate) use input::square_patches;
use unireal::Image;
use unireal::{Error, Result};
use vit::VisionTower;

/// A feature network of the published metrics, or one of the same architecture for the tabletop world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Backbone {
    /// openai CLIP ViT-B/32.
    ClipB32,
    /// openai CLIP ViT-L/14.
    ClipL14,
    /// DINO ViT-S/16.
    DinoS16,
    /// DINO ViT-S/8.
    DinoS8,
    /// DINOv2 ViT-S/14.
    Dinov2Small,
    /// A CLIP with the shape given by its `config.json`.
    Clip,
    /// A DINO with the shape given by its `config.json`.
    Dino,
}

impl Backbone {
    /// Returns whether it encodes captions.
    pub fn has_text(self) -> bool {
        matches!(self, Backbone::ClipB32 | Backbone::ClipL14 | Backbone::Clip)
    }
}

impl Backbone {
    /// Returns the preprocessing of the original authors; the tabletop's own backbones read the whole image.
    pub fn preprocess(self) -> Preprocess {
        match self {
            Backbone::ClipB32 | Backbone::ClipL14 => Preprocess::OpenAiClip,
            Backbone::DinoS16 | Backbone::DinoS8 | Backbone::Dinov2Small => Preprocess::Dino,
            Backbone::Clip | Backbone::Dino => Preprocess::Square,
        }
    }
}

/// Maximum number of images or captions per batch of a thread.
const BATCH: usize = 16;

#[derive(Debug)]
enum Network {
    Clip(Box<Clip>),
    Dino(Box<VisionTower>),
}

/// A backbone with its weights.
#[derive(Debug)]
pub struct Encoder {
    backbone: Backbone,
    network: Network,
    captions: Option<Captions>,
    side: usize,
    patch: usize,
    device: Device,
}

/// The tokenizer of captions, or the path of the missing file.
#[derive(Debug)]
pub(crate) struct Captions {
    tokenizer: std::result::Result<Tokenizer, PathBuf>,
    shape: Text,
}

impl Encoder {
    /// Opens the weights in `folder`: a safetensors file as published, `config.json` (needed where the shape is not known, else
    /// checked), and `tokenizer.json` for captions.
    ///
    /// # Errors
    /// [`Error::Format`] that names the file and the field or tensor that is not this backbone's.
    pub fn open(folder: &Path, backbone: Backbone, device: &Device) -> Result<Encoder> {
        let shape = Shape::read(folder, backbone)?;
        let (vision, side) = shape.vision();
        let patch = vision.patch_size;
        let sides = [vision.image_size / patch, side / patch];
        let (network, captions) = match &shape {
            Shape::Clip(shape) => {
                let clip = Clip::new(shape, device);
                let clip = checkpoint::load(clip, &checkpoint::CLIP, folder, sides, device)?;
                let captions = Captions::open(folder, shape.text_config.clone())?;
                (Network::Clip(Box::new(clip)), Some(captions))
            }
            Shape::Dino(vision, family, side) => {
                let tower = VisionTower::new(vision, *side, *family, device);
                let tower = checkpoint::load(tower, &checkpoint::DINO, folder, sides, device)?;
                (Network::Dino(Box::new(tower)), None)
            }
        };
        Ok(Encoder {
            backbone,
            network,
            captions,
            side,
            patch,
            device: device.clone(),
        })
    }

    /// Returns the features of image files, as [`Features::images`]. Each batch is decoded just before it is encoded, which
    /// bounds memory.
    ///
    /// # Errors
    /// [`Error::Format`] with the name of a file that is not an image.
    pub fn files(&self, paths: &[PathBuf], preprocess: Preprocess) -> Result<Vec<Vec<f32>>> {
        in_threads(paths, &self.device, |batch| {
            let open = |path: &PathBuf| {
                let image = Image::open(path)?;
                check_aspect(&image).map_err(|e| Error::format(path.display().to_string(), e))?;
                Ok(image)
            };
            let images: Result<Vec<Image>> = batch.iter().map(open).collect();
            self.batch(&images?, preprocess)
        })
    }

    /// Encodes one batch of images.
    fn batch(&self, images: &[Image], preprocess: Preprocess) -> Result<Vec<Vec<f32>>> {
        let (side, patch) = (self.side, self.patch);
        let rows: Vec<f32> = images
            .iter()
            .flat_map(|image| input::patches(image, preprocess, side, patch))
            .collect();
        let shape = [images.len(), (side / patch).pow(2), 3 * patch * patch];
        let patches = Tensor::<3>::from_data(TensorData::new(rows, shape), &self.device);
        vectors(match &self.network {
            Network::Clip(clip) => clip.images(patches),
            Network::Dino(tower) => tower.forward(patches).squeeze_dim::<2>(1),
        })
    }
}

impl Features for Encoder {
    fn images(&self, images: &[Image], preprocess: Preprocess) -> Result<Vec<Vec<f32>>> {
        for (i, image) in images.iter().enumerate() {
            check_aspect(image).map_err(|reason| Error::Request(format!("image {i}: {reason}")))?;
        }
        in_threads(images, &self.device, |batch| self.batch(batch, preprocess))
    }

    fn texts(&self, captions: &[String]) -> Result<Vec<Vec<f32>>> {
        let (Network::Clip(clip), Some(known)) = (&self.network, &self.captions) else {
            return Err(Error::Request(format!(
                "captions: backbone {:?}, expected a CLIP",
                self.backbone
            )));
        };
        in_threads(captions, &self.device, |batch| {
            let (ids, ends) = known.ids(batch)?;
            let shape = [batch.len(), ids.len() / batch.len()];
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &self.device);
            vectors(clip.texts(ids, &ends))
        })
    }
}

/// Maximum aspect ratio of an image: resizing scales the shorter side up to the backbone's input, and the longer one with it.
const MAX_ASPECT: u32 = 256;

fn check_aspect(image: &Image) -> std::result::Result<(), String> {
    let (width, height) = (image.width, image.height);
    let short = width.min(height);
    if short > 0 && width.max(height) / short <= MAX_ASPECT {
        Ok(())
    } else {
        Err(format!(
            "{width}x{height} pixels, expected an aspect ratio of at most {MAX_ASPECT}"
        ))
    }
}

/// Results of a thread: batch indices with their vectors.
type IndexedBatches = Vec<(usize, Vec<Vec<f32>>)>;

/// Applies `compute` to batches of `all` and returns the results in order. On the CPU the batches run in parallel threads,
/// because most operations between the matrix products use one core.
fn in_threads<T: Sync>(
    all: &[T],
    device: &Device,
    compute: impl Fn(&[T]) -> Result<Vec<Vec<f32>>> + Sync,
) -> Result<Vec<Vec<f32>>> {
    let threads = if *device == Device::flex() {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        1
    };
    // Divides the items evenly among the threads.
    let size = all.len().div_ceil(threads).clamp(1, BATCH);
    let batches: Vec<&[T]> = all.chunks(size).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = IndexedBatches::new();
        while let Some((i, batch)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            batches.get(i).map(|batch| (i, batch))
        } {
            done.push((i, compute(batch)?));
        }
        Ok(done)
    };
    let results: Vec<Result<IndexedBatches>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(batches.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let panicked = |_| Err(Error::Internal("an encoding thread panicked".into()));
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().unwrap_or_else(panicked))
            .collect()
    });
    let mut done = IndexedBatches::new();
    for result in results {
        done.extend(result?);
    }
    done.sort_by_key(|(i, _)| *i);
    Ok(done.into_iter().flat_map(|(_, vectors)| vectors).collect())
}

/// Returns the rows of a tensor `[b, d]`.
fn vectors(x: Tensor<2>) -> Result<Vec<Vec<f32>>> {
    let [_, d] = x.dims();
    let data = x
        .try_into_data()
        .map_err(|e| Error::DeviceLost(format!("reading features: {e:?}")))?;
    let values: Vec<f32> = data.iter::<f32>().collect();
    Ok(values.chunks_exact(d).map(<[f32]>::to_vec).collect())
}

impl Captions {
    /// Opens the tokenizer in `folder` for a tower of this shape.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that is not a tokenizer or has more tokens than the tower.
    pub(crate) fn open(folder: &Path, shape: Text) -> Result<Captions> {
        let path = folder.join("tokenizer.json");
        let tokenizer = if path.exists() {
            let file = path.display().to_string();
            let tokenizer = Tokenizer::from_file(&path).map_err(|e| Error::format(&file, e))?;
            let tokens = tokenizer.get_vocab_size(true);
            if tokens > shape.vocab_size {
                let max = shape.vocab_size;
                let reason = format!("tokenizer: {tokens} tokens, expected at most {max}");
                return Err(Error::format(file, reason));
            }
            Ok(tokenizer)
        } else {
            Err(path)
        };
        Ok(Captions { tokenizer, shape })
    }

    /// Returns the ids of every caption, padded to the longest, and the position of each end token. Long captions are truncated
    /// before their end token, as openai's `truncate=True` and transformers do.
    ///
    /// # Errors
    /// [`Error::Request`] for a caption that cannot be tokenised, [`Error::Format`] when there is no tokenizer.
    pub(crate) fn ids(&self, captions: &[String]) -> Result<(Vec<i32>, Vec<usize>)> {
        let tokenizer = self.tokenizer.as_ref().map_err(|path| {
            Error::format(path.display().to_string(), "missing, expected for captions")
        })?;
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for caption in captions {
            let encoding = tokenizer
                .encode(caption.as_str(), true)
                .map_err(|e| Error::Request(format!("{caption:?} cannot be tokenised: {e}")))?;
            let mut ids = encoding.get_ids().to_vec();
            let max = self.shape.max_position_embeddings;
            if let (true, Some(&end)) = (ids.len() > max, ids.last()) {
                ids.truncate(max);
                ids[max - 1] = end;
            }
            let Some(end) = self.end(&ids) else {
                return Err(Error::Request(format!(
                    "caption {caption:?}: no end token, expected tokenizer.json to add token {}",
                    self.shape.eos_token_id
                )));
            };
            ends.push(end);
            all.push(ids);
        }
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let padded = all.iter().flat_map(|ids| {
            let padding = std::iter::repeat_n(0, longest - ids.len());
            ids.iter().map(|&id| id as i32).chain(padding)
        });
        Ok((padded.collect(), ends))
    }

    fn end(&self, ids: &[u32]) -> Option<usize> {
        let token = match self.shape.eos_token_id {
            // Openai's early configurations say 2; the actual end token is the largest id.
            2 if self.shape.vocab_size == 49408 => *ids.iter().max()?,
            token => token,
        };
        ids.iter().position(|&id| id == token)
    }
}
