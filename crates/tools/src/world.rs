//! `unireal world`: writes clips of the tabletop world with their ground truth, videos, and contact sheets of edits.

use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::data::mask::bounds;
use super::data::tabletop::{EditCase, RenderedClip, clip, mask, shoot};
use crate::frame::{Frame, render};
use unireal::Image;
use unireal::{Error, Result};
use unireal_tabletop::edit_case::edit_cases;
use unireal_tabletop::{Scene, Settings, Solid, Wording, film, text};

mod video;

/// Depth values of a 16-bit depth map per table unit.
const DEPTH_SCALE: f32 = 1000.0;
/// Step between the mask values of two objects: object `i` has the value `MASK_STEP * (i + 1)`, and 0 is no object. The
/// authors' toolkit writes masks this way.
const MASK_STEP: u8 = 20;

/// Options of `unireal world`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Output folder: one folder per seed with frames, masks, depth, edits and truth.json
    #[arg(long, value_name = "DIR", required_unless_present = "sheet")]
    pub out: Option<PathBuf>,
    /// Number of clips
    #[arg(long, default_value_t = 4)]
    pub count: u64,
    /// Seed of the first clip; the others count up from it
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Image side in pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=1024))]
    pub size: u32,
    /// Number of frames per clip
    #[arg(long, requires = "out", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub frames: u32,
    /// Frames per second
    #[arg(long, requires = "out", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub rate: u32,
    /// Paths per pixel; more is slower and less noisy
    #[arg(long, requires = "out", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub samples: Option<u32>,
    /// Output image with a grid of edits, before beside after
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
    /// Also write every clip as a video, DIR/NNNNNN.mp4, with the ffmpeg program
    #[arg(long, requires = "out")]
    pub video: bool,
    /// Use held-out wordings, which training never uses
    #[arg(long)]
    pub held_out: bool,
}

impl Options {
    fn wording(&self) -> Wording {
        if self.held_out {
            Wording::HeldOut
        } else {
            Wording::Training
        }
    }

    fn settings(&self) -> Settings {
        let default = Settings::square(self.size);
        Settings {
            samples: self.samples.unwrap_or(default.samples),
            ..default
        }
    }
}

/// Writes clips of the world, a contact sheet of edits, or both. The same options write the same files.
///
/// # Errors
/// [`Error::Format`] or [`Error::Io`] with the file that cannot be written; [`Error::Unsupported`] when `--video` finds no
/// ffmpeg.
pub fn run(options: &Options) -> Result<()> {
    let seeds = options.seed..options.seed.saturating_add(options.count);
    if options.video {
        video::check()?;
    }
    let bar = ProgressBar::new(options.count);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} clips, {eta} left") {
        bar.set_style(style);
    }
    let mut pairs = Vec::new();
    for seed in seeds {
        if let Some(out) = &options.out {
            write_clip(out, seed, options)?;
        }
        if options.sheet.is_some() {
            let clip = clip(seed, options.size, options.wording());
            pairs.extend(clip.edits.into_iter().map(|edit| (edit.before, edit.after)));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Some(path) = &options.sheet else {
        return Ok(());
    };
    let groups: Vec<_> = pairs.iter().map(|(a, b)| [Some(a), Some(b)]).collect();
    let columns = (groups.len() as f64 / 2.0).sqrt().ceil() as usize;
    Image::sheet(&groups, columns)?.save(path)
}

/// Writes the frames, masks, depth maps, edits and ground truth of one seed, and its video on request.
fn write_clip(out: &Path, seed: u64, options: &Options) -> Result<()> {
    let folder = out.join(format!("{seed:06}"));
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let scenes = film(seed, options.frames as usize, f64::from(options.rate));
    let frames: Vec<Frame> = scenes
        .iter()
        .map(|scene| render(scene, &options.settings()))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let frame_truths = std::iter::zip(&scenes, &frames)
        .enumerate()
        .map(|(i, (scene, frame))| {
            let stem = format!("frame-{i:03}");
            save_frame(&folder, &stem, frame)?;
            let caption = text::caption(scene, options.wording(), &mut rng);
            Ok(frame_ground_truth(&stem, scene, frame, &caption))
        })
        .collect::<Result<Vec<Value>>>()?;
    let ground_truth = json!({
        "seed": seed,
        "rate": options.rate,
        "caption": text::clip_caption(&scenes, options.wording(), &mut rng),
        "depth_scale": DEPTH_SCALE,
        "mask_step": MASK_STEP,
        "frames": frame_truths,
        "edits": write_edits(&folder, seed, options)?,
    });
    let path = folder.join("truth.json");
    let text = serde_json::to_string_pretty(&ground_truth).expect("the keys are strings");
    std::fs::write(&path, text).map_err(|e| Error::io(&path, e))?;
    if options.video {
        let images = frames.iter().map(|frame| &frame.image);
        video::write(&out.join(format!("{seed:06}.mp4")), images, options.rate)
    } else {
        Ok(())
    }
}

/// Writes the edits that the data engine makes from the seed, and returns their ground truth.
fn write_edits(folder: &Path, seed: u64, options: &Options) -> Result<Vec<Value>> {
    let RenderedClip { base, edits, .. } = shoot(seed, options.size);
    let (scene, before) = &base;
    save_frame(folder, "edit-before", before)?;
    let instructions = edit_cases(seed).instructions(seed, options.wording());
    let ground_truth = |(i, (case, instruction)): (usize, (&EditCase, _))| {
        let stem = format!("edit-{i}-after");
        save_frame(folder, &stem, &case.frame)?;
        let solids = case.edit.solids(scene);
        Ok(json!({
            "kind": case.edit.kind().name(),
            "instruction": instruction,
            "edit": case.edit,
            "solids_before": solids.before,
            "solids_after": solids.after,
            "before": frame_ground_truth("edit-before", scene, before, ""),
            "after": frame_ground_truth(&stem, &case.scene, &case.frame, ""),
        }))
    };
    let cases = std::iter::zip(&edits, instructions).enumerate();
    cases.map(ground_truth).collect()
}

/// Returns the ground truth of a frame. Boxes are left, top, right and bottom, 0 to 1.
fn frame_ground_truth(stem: &str, scene: &Scene, frame: &Frame, caption: &str) -> Value {
    let object = |(i, solid): (usize, &Solid)| {
        let mask = mask(frame, &[i]);
        json!({
            "name": format!("{} {} {} {}", solid.size.name(), solid.material.name(), solid.colour.name(), solid.shape.name()),
            "mask_value": MASK_STEP * (i as u8 + 1),
            "pixels": mask.iter().filter(|&&on| on).count(),
            "box": relative_bounds(&mask, frame.image.width as usize),
            "stands_on": scene.bearer(i),
            "state": solid,
        })
    };
    let objects: Vec<Value> = scene.solids.iter().enumerate().map(object).collect();
    json!({
        "picture": format!("{stem}.png"),
        "mask": format!("{stem}-mask.png"),
        "depth": format!("{stem}-depth.png"),
        "caption": caption,
        "solids": objects,
        "scene": Scene { solids: Vec::new(), ..scene.clone() },
    })
}

/// Returns the bounding box of a mask, relative to the image size; `None` for an empty mask.
fn relative_bounds(mask: &[bool], width: usize) -> Option<[f64; 4]> {
    let b = bounds(mask, width)?;
    let (w, h) = (width as f64, (mask.len() / width) as f64);
    Some([
        b.left as f64 / w,
        b.top as f64 / h,
        b.right as f64 / w,
        b.bottom as f64 / h,
    ])
}

/// Writes `STEM.png`, `STEM-mask.png` (8 bits) and `STEM-depth.png` (16 bits).
fn save_frame(folder: &Path, stem: &str, frame: &Frame) -> Result<()> {
    frame.image.save(folder.join(format!("{stem}.png")))?;
    let mask: Vec<u8> = frame.ids.iter().map(|&id| MASK_STEP * id).collect();
    let size = (frame.image.width, frame.image.height);
    let path = folder.join(format!("{stem}-mask.png"));
    save_grey(&path, &mask, size, ExtendedColorType::L8)?;
    let depth: Vec<u8> = frame
        .depth
        .iter()
        .flat_map(|&depth| ((depth * DEPTH_SCALE).round().clamp(0.0, 65535.0) as u16).to_ne_bytes())
        .collect();
    let path = folder.join(format!("{stem}-depth.png"));
    save_grey(&path, &depth, size, ExtendedColorType::L16)
}

fn save_grey(path: &Path, bytes: &[u8], size: (u32, u32), bits: ExtendedColorType) -> Result<()> {
    let file = std::fs::File::create(path).map_err(|e| Error::io(path, e))?;
    PngEncoder::new(std::io::BufWriter::new(file))
        .write_image(bytes, size.0, size.1, bits)
        .map_err(|e| Error::format(path.display().to_string(), e))
}

#[cfg(test)]
mod tests;
