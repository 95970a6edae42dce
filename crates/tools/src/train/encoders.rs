//! Trains small encoders for the tabletop with the architecture of the published ones, so that their metrics are meaningful on its
//! images: a CLIP on captioned images (Radford et al., 2021), and a ViT with DINO's architecture without labels.
//!
//! Choice: the ViT uses SimCLR's objective (Chen et al., 2020) instead of DINO's: two crops, from two moments of a clip if there
//! are several, should be nearer to each other than to all other images. It needs neither a teacher nor a queue, and gives useful
//! features after minutes on a CPU. There is no colour augmentation, because colours distinguish the objects of the tabletop.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use burn::module::Module;
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::data::Watch;
use super::settings::{Mixture, Settings, Stage};
use super::stage::{Losses, Task};
use super::{checkpoint, vocabulary};
use crate::data::shard::{self, Picture};
use crate::evaluate::backbone::clip::Clip;
use crate::evaluate::backbone::config::{ClipShape, Vision};
use crate::evaluate::backbone::vit::VisionTower;
use crate::evaluate::backbone::{Captions, publish, square_patches};
use unireal::Image;
use unireal::internals::model::linear::{Bias, Linear};
use unireal::internals::model::text::HIDDEN;
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Result};

/// Maximum size of the encoded images in memory, in bytes; later images are ignored.
const HELD: usize = 512 << 20;

/// Maximum number of captions on which the tokenizer is trained.
const CORPUS: usize = 20_000;

/// Number of micro-batches of held-out samples, and of samples in each.
const HELD_OUT: [usize; 2] = [4, 32];

/// Temperature by which the ViT's objective divides cosine similarities before the softmax.
const TEMPERATURE: f64 = 0.1;

/// A sample: its output images and paraphrases of their caption.
struct Entry {
    captions: Vec<String>,
    pictures: Vec<Picture>,
}

/// A growing set of samples, grouped by the parts of the stage's mixture.
struct Gallery {
    mixture: Mixture,
    parts: Arc<RwLock<Vec<Vec<Arc<Entry>>>>>,
    _watch: Watch,
}

impl Gallery {
    fn open(patterns: &[PathBuf], mixture: Mixture, count: usize) -> Result<Self> {
        let parts: Vec<Vec<Arc<Entry>>> = mixture.0.iter().map(|_| Vec::new()).collect();
        let parts = Arc::new(RwLock::new(parts));
        let (into, wanted) = (parts.clone(), mixture.clone());
        let mut bytes = 0;
        let take = move |path: &Path, stop: &AtomicBool| {
            for sample in shard::encoded(path)? {
                if stop.load(Ordering::Relaxed) || bytes > HELD {
                    return Ok(());
                }
                let sample = sample?;
                let Some(part) = wanted.part(sample.kind, &sample.variant) else {
                    continue;
                };
                bytes += sample.outputs.iter().map(|p| p.bytes.len()).sum::<usize>();
                let entry = Arc::new(Entry {
                    captions: sample.prompts,
                    pictures: sample.outputs,
                });
                into.write().unwrap_or_else(|e| e.into_inner())[part].push(entry);
            }
            Ok(())
        };
        let watch = Watch::start(patterns.to_vec(), take)?;
        let there = || {
            let parts = parts.read().unwrap_or_else(|e| e.into_inner());
            parts.iter().map(Vec::len).sum()
        };
        watch.wait(count, there, "samples of the stage's kinds")?;
        Ok(Gallery {
            mixture,
            parts,
            _watch: watch,
        })
    }

    /// Draws `count` samples; parts are drawn by weight.
    fn draw(&self, count: usize, rng: &mut impl Rng) -> Vec<Arc<Entry>> {
        let parts = self.parts.read().unwrap_or_else(|e| e.into_inner());
        let there: Vec<(&Vec<Arc<Entry>>, f64)> = parts
            .iter()
            .zip(&self.mixture.0)
            .filter(|(entries, _)| !entries.is_empty())
            .map(|(entries, part)| (entries, part.weight))
            .collect();
        let draw = |_| {
            let (entries, _) = there.choose_weighted(rng, |(_, weight)| *weight).ok()?;
            entries.choose(rng).cloned()
        };
        (0..count).filter_map(draw).collect()
    }

    fn captions(&self) -> Vec<String> {
        let parts = self.parts.read().unwrap_or_else(|e| e.into_inner());
        let entries = parts.iter().flatten();
        let captions = entries.flat_map(|entry| entry.captions.iter().cloned());
        captions.take(CORPUS).collect()
    }
}

/// Opens the training and held-out samples of a stage.
fn galleries(settings: &Settings, stage: &Stage) -> Result<(Gallery, Option<Gallery>)> {
    let mixture = stage
        .mixture()
        .map_err(|reason| Error::Request(format!("stage {:?}: {reason}", stage.name)))?;
    let held_out = if settings.held_out.is_empty() {
        None
    } else {
        Some(Gallery::open(&settings.held_out, mixture.clone(), 64)?)
    };
    let gallery = Gallery::open(settings.data(stage), mixture, settings.first_samples)?;
    Ok((gallery, held_out))
}

fn tensor(rows: Vec<f32>, count: usize, vision: &Vision, device: &Device) -> Tensor<3> {
    let (grid, patch) = (vision.image_size / vision.patch_size, vision.patch_size);
    let shape = [count, grid * grid, 3 * patch * patch];
    Tensor::from_data(TensorData::new(rows, shape), device)
}

/// Normalises rows to length 1.
fn directions(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).add_scalar(1e-12).sqrt();
    x / length
}

/// Returns for each row the cross-entropy of its own column, and 1 if another column has a higher logit, else 0.
///
/// # Shapes
/// `logits [n, m]`, `own [n, m]` with one 1 in each row, to `[n]` twice.
fn chosen(logits: Tensor<2>, own: Tensor<2>) -> [Tensor<1>; 2] {
    let at = |x: Tensor<2>| (x * own.clone()).sum_dim(1).squeeze_dim::<1>(1);
    let loss = at(log_softmax(logits.clone(), 1)).neg();
    let most = logits.clone().max_dim(1).squeeze_dim::<1>(1);
    let wrong = most.greater(at(logits)).float();
    [loss, wrong]
}

/// Returns a matrix `[rows, rows]` with a 1 in column `column(row)` of each row.
fn marked(rows: usize, column: impl Fn(usize) -> usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0f32; rows * rows];
    (0..rows).for_each(|row| values[row * rows + column(row)] = 1.0);
    Tensor::from_data(TensorData::new(values, [rows, rows]), device)
}

/// A micro-batch of images with their captions.
pub(super) struct Pairs {
    patches: Vec<f32>,
    ids: Vec<i32>,
    ends: Vec<usize>,
}

/// Trains CLIP on captioned images.
pub(super) struct ClipTask {
    stage: Stage,
    shape: ClipShape,
    device: Device,
    captions: Captions,
    gallery: Gallery,
    held_out: Option<Gallery>,
    tokenizer: String,
}

impl ClipTask {
    pub(super) fn new(
        run: &Path,
        settings: &Settings,
        stage: &Stage,
        device: &Device,
    ) -> Result<Self> {
        let (gallery, held_out) = galleries(settings, stage)?;
        let shape = ClipShape::small(stage.size as usize);
        let path = run.join("clip/tokenizer.json");
        if !path.exists() {
            let size = shape.text_config.vocab_size;
            let json = vocabulary::vocabulary(&gallery.captions(), size)?;
            checkpoint::write(&path, json.as_bytes())?;
        }
        let file = path.display().to_string();
        let tokenizer = std::fs::read_to_string(&path).map_err(|e| Error::format(file, e))?;
        Ok(ClipTask {
            stage: stage.clone(),
            captions: Captions::open(&run.join("clip"), shape.text_config.clone())?,
            shape,
            device: device.clone().autodiff(),
            gallery,
            held_out,
            tokenizer,
        })
    }

    fn pairs(&self, gallery: &Gallery, count: usize, rng: &mut ChaCha8Rng) -> Result<Pairs> {
        let (mut patches, mut captions) = (Vec::new(), Vec::new());
        for entry in gallery.draw(count, rng) {
            let picture = entry.pictures.choose(rng);
            let caption = entry.captions.choose(rng);
            let (Some(picture), Some(caption)) = (picture, caption) else {
                continue;
            };
            let image = picture.decode("a picture of the shards")?;
            patches.extend(square_patches(&image, &self.shape.vision_config));
            captions.push(caption.clone());
        }
        let (ids, ends) = self.captions.ids(&captions)?;
        Ok(Pairs { patches, ids, ends })
    }
}

impl Task for ClipTask {
    type Module = Clip;
    type MicroBatch = Pairs;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> Clip {
        Clip::new(&self.shape, &self.device)
    }

    fn published(&self, run: &Path) -> Result<Option<Clip>> {
        publish::load_clip(self.fresh(), &self.shape, &run.join("clip"), &self.device)
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Pairs>> {
        let each = self.stage.batch / self.stage.groups / count;
        (0..count)
            .map(|_| self.pairs(&self.gallery, each, rng))
            .collect()
    }

    fn losses(&self, clip: &Clip, batch: &Pairs, on: &Device) -> Result<Losses> {
        let count = batch.ends.len();
        let patches = tensor(batch.patches.clone(), count, &self.shape.vision_config, on);
        let ids = TensorData::new(batch.ids.clone(), [count, batch.ids.len() / count]);
        let texts = clip.texts(Tensor::<2, Int>::from_data(ids, on), &batch.ends);
        let images = directions(clip.images(patches));
        let scale = clip.logit_scale.val().clamp_max(100f64.ln()).exp();
        let logits = images.matmul(directions(texts).transpose()) * scale.unsqueeze();
        let own = marked(count, |i| i, on);
        let [by_picture, _] = chosen(logits.clone(), own.clone());
        let [by_caption, wrong] = chosen(logits.transpose(), own);
        Ok(Losses {
            losses: (by_picture + by_caption) * 0.5,
            shown: wrong,
            names: vec!["retrieval-error".into(); count],
        })
    }

    fn held_out(&self) -> Result<Vec<Pairs>> {
        let Some(gallery) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        (0..HELD_OUT[0])
            .map(|_| self.pairs(gallery, HELD_OUT[1], &mut rng))
            .collect()
    }

    fn preview(&self, _: &Clip) -> Result<Option<Image>> {
        Ok(None)
    }

    fn publish(&self, averaged: &Clip, run: &Path) -> Result<()> {
        let folder = run.join("clip");
        checkpoint::write(&folder.join("tokenizer.json"), self.tokenizer.as_bytes())?;
        publish::save_clip(averaged, &self.shape, &folder)
    }
}

/// A vision tower and its projection head, which only training uses.
#[derive(Module, Debug)]
pub(super) struct Projected {
    tower: VisionTower,
    first: Linear,
    second: Linear,
}

/// Patches of two views of each sample, all first views first; number of samples.
pub(super) struct Views(Vec<f32>, usize);

/// Trains a ViT on views of images.
pub(super) struct DinoTask {
    stage: Stage,
    vision: Vision,
    device: Device,
    gallery: Gallery,
    held_out: Option<Gallery>,
}

impl DinoTask {
    pub(super) fn new(settings: &Settings, stage: &Stage, device: &Device) -> Result<Self> {
        let (gallery, held_out) = galleries(settings, stage)?;
        Ok(DinoTask {
            stage: stage.clone(),
            vision: Vision::small(stage.size as usize),
            device: device.clone().autodiff(),
            gallery,
            held_out,
        })
    }

    fn views(&self, gallery: &Gallery, count: usize, rng: &mut ChaCha8Rng) -> Result<Views> {
        let entries = gallery.draw(count, rng);
        let mut patches = Vec::new();
        for _ in 0..2 {
            for entry in &entries {
                let picture = entry.pictures.choose(rng);
                let picture = picture.ok_or_else(|| Error::Internal("no picture".into()))?;
                let image = view(&picture.decode("a picture of the shards")?, rng)?;
                patches.extend(square_patches(&image, &self.vision));
            }
        }
        Ok(Views(patches, entries.len()))
    }
}

/// Returns a random square crop, of 40 % to 100 % of the area of the largest square, mirrored with probability 0.5.
fn view(image: &Image, rng: &mut impl Rng) -> Result<Image> {
    let short = image.width.min(image.height);
    let side = f64::from(short) * rng.random_range(0.4f64..=1.0).sqrt();
    let side = (side.round() as u32).clamp(1, short);
    let left = rng.random_range(0..=image.width - side) as usize;
    let top = rng.random_range(0..=image.height - side) as usize;
    let (width, length) = (image.width as usize, side as usize);
    let mirrored = rng.random_bool(0.5);
    let mut rgb = Vec::with_capacity(3 * length * length);
    for y in top..top + length {
        let start = 3 * (y * width + left);
        let row = image.rgb[start..start + 3 * length].chunks_exact(3);
        if mirrored {
            rgb.extend(row.rev().flatten())
        } else {
            rgb.extend(row.flatten())
        }
    }
    Image::from_rgb(side, side, rgb)
}

impl Task for DinoTask {
    type Module = Projected;
    type MicroBatch = Views;

    fn device(&self) -> &Device {
        &self.device
    }

    fn fresh(&self) -> Projected {
        let d = self.vision.tower.hidden_size;
        let linear = |o| Linear::new(d, o, Bias::Yes, Encoding::F32, &self.device);
        Projected {
            tower: VisionTower::small(&self.vision, &self.device),
            first: linear(d),
            second: linear(d),
        }
    }

    fn published(&self, run: &Path) -> Result<Option<Projected>> {
        let fresh = self.fresh();
        let folder = run.join("dino");
        let tower = publish::load_dino(fresh.tower.clone(), &self.vision, &folder, &self.device)?;
        Ok(tower.map(|tower| Projected { tower, ..fresh }))
    }

    fn micro_batches(&self, count: usize, rng: &mut ChaCha8Rng) -> Result<Vec<Views>> {
        let each = self.stage.batch / self.stage.groups / count;
        (0..count)
            .map(|_| self.views(&self.gallery, each, rng))
            .collect()
    }

    fn losses(
        &self,
        module: &Projected,
        Views(rows, count): &Views,
        on: &Device,
    ) -> Result<Losses> {
        let patches = tensor(rows.clone(), 2 * count, &self.vision, on);
        let state = module.tower.forward(patches);
        let z = module.second.forward(relu(module.first.forward(state)));
        let z = directions(z.squeeze_dim::<2>(1));
        let itself = marked(2 * count, |i| i, on) * HIDDEN;
        let logits = z.clone().matmul(z.transpose()) / TEMPERATURE + itself;
        let own = marked(2 * count, |i| (i + count) % (2 * count), on);
        let of_each = |x: Tensor<1>| x.reshape([2, *count]).mean_dim(0).squeeze_dim::<1>(0);
        let [losses, wrong] = chosen(logits, own).map(of_each);
        Ok(Losses {
            losses,
            shown: wrong,
            names: vec!["retrieval-error".into(); *count],
        })
    }

    fn held_out(&self) -> Result<Vec<Views>> {
        let Some(gallery) = &self.held_out else {
            return Ok(Vec::new());
        };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        (0..HELD_OUT[0])
            .map(|_| self.views(gallery, HELD_OUT[1], &mut rng))
            .collect()
    }

    fn preview(&self, _: &Projected) -> Result<Option<Image>> {
        Ok(None)
    }

    fn publish(&self, averaged: &Projected, run: &Path) -> Result<()> {
        publish::save_dino(&averaged.tower, &self.vision, &run.join("dino"))
    }
}
