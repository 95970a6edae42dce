//! Renders scenes to images with ground truth per pixel.

use super::sampling::{self, Decisions, MAX_BOUNCES, Rotations};
use super::scene::Scene;
use super::stage::Stage;
use super::trace;
use super::vector::{V3, add, scale};
use image::RgbImage;

/// Upper limits of the settings; larger values are clamped.
pub(crate) const MAX: Settings = Settings {
    width: 4096,
    height: 4096,
    samples: 4096,
    bounces: MAX_BOUNCES as u32,
};

/// Render settings. Values out of range are clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Width in pixels, 1 to 4096.
    pub width: u32,
    /// Height in pixels, 1 to 4096.
    pub height: u32,
    /// Paths per pixel, 1 to 4096.
    pub samples: u32,
    /// Diffuse bounces of a path after the first surface, at most 8.
    pub bounces: u32,
}

impl Settings {
    /// Returns the settings of the training data for square images. 24 paths are the fewest with noise below 2 of 255 at 64
    /// pixels (root mean square over random scenes: 5.4 with 4 paths, 3.5 with 8, 2.4 with 16, 1.9 with 24, 1.5 with 32, 1.0
    /// with 64). One bounce, with the ambient light at its end, differs by 0.5 of 255 from six bounces.
    pub fn square(side: u32) -> Settings {
        Settings {
            width: side,
            height: side,
            samples: 24,
            bounces: 1,
        }
    }

    pub(crate) fn clamped(self) -> Settings {
        Settings {
            width: self.width.clamp(1, MAX.width),
            height: self.height.clamp(1, MAX.height),
            samples: self.samples.clamp(1, MAX.samples),
            bounces: self.bounces.min(MAX.bounces),
        }
    }

    /// Returns width over height.
    pub(crate) fn aspect(self) -> f32 {
        self.width as f32 / self.height as f32
    }
}

/// A rendered image with ground truth per pixel.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The image, 8-bit sRGB.
    pub image: RgbImage,
    /// Object at each pixel's centre, rows from the top: 0 for none, `i + 1` for object `i` of the scene.
    pub ids: Vec<u8>,
    /// Depth at each pixel's centre along the view axis, in table units; the sky has the maximum, 100.
    pub depth: Vec<f32>,
}

/// Converts linear light to 8-bit sRGB, after a filmic curve (Narkowicz's fit of ACES).
pub(crate) fn develop(light: V3) -> [u8; 3] {
    light.map(|c| (255.0 * tone(c) + 0.5) as u8)
}

fn tone(light: f32) -> f32 {
    let x = 0.5 * light.clamp(0.0, 1e4);
    let filmic = (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0.0, 1.0);
    if filmic <= 0.003_130_8 {
        12.92 * filmic
    } else {
        1.055 * filmic.powf(1.0 / 2.4) - 0.055
    }
}

/// Renders `scene` on one CPU core. The same scene and settings give the same bytes. The noise of a pixel depends only on its
/// position, so that two scenes differ only where their light does. Safe to call from many threads.
pub fn render(scene: &Scene, settings: &Settings) -> Frame {
    let settings = settings.clamped();
    let stage = Stage::new(scene);
    let (width, height) = (settings.width, settings.height);
    let (across, down) = (1.0 / width as f32, 1.0 / height as f32);
    let ground_truth = |x: u32, y: u32| {
        let (u, v) = ((x as f32 + 0.5) * across, (y as f32 + 0.5) * down);
        trace::ground_truth(&stage, stage.view.direction(settings.aspect(), u, v))
    };
    let (ids, depth) = pixels(width, height)
        .map(|(x, y)| ground_truth(x, y))
        .unzip();
    let rgb = linear(&stage, settings).into_iter().flat_map(develop);
    let image = RgbImage::from_raw(width, height, rgb.collect()).expect("3 bytes per pixel");
    Frame { image, ids, depth }
}

/// Returns the mean light of each pixel's paths.
pub(crate) fn linear(stage: &Stage, settings: Settings) -> Vec<V3> {
    let Settings {
        width,
        height,
        samples,
        bounces,
    } = settings;
    let points = sampling::points(samples, bounces);
    let (across, down) = (1.0 / width as f32, 1.0 / height as f32);
    let pixel = |x: u32, y: u32| {
        let rotations = Rotations::new(x, y, bounces);
        let mut sum = [0.0; 3];
        for points in points.chunks_exact(sampling::decisions(bounces)) {
            let decisions = Decisions {
                points,
                rotations: &rotations,
                bounces,
            };
            let [dx, dy] = decisions.pixel_offset();
            let (u, v) = ((x as f32 + dx) * across, (y as f32 + dy) * down);
            let d = stage.view.direction(settings.aspect(), u, v);
            sum = add(sum, trace::radiance(stage, &decisions, stage.view.eye, d));
        }
        scale(sum, 1.0 / samples as f32)
    };
    pixels(width, height).map(|(x, y)| pixel(x, y)).collect()
}

/// Iterates over the pixels as (x, y), row by row.
fn pixels(width: u32, height: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
}
