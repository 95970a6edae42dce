//! Measures behind tags and filters: the change between two frames, shot cuts, and the blur of a frame.

use super::motion::flow;
use super::plane::Plane;
use unireal::Image;
use unireal::Tag;

/// Measures of the change between two frames of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Mean squared difference of the brightness, which is in 0..1.
    pub difference: f32,
    /// Mean displacement by the camera motion, as a fraction of the image's diagonal.
    pub camera: f32,
    /// Fraction of the image that moves against the camera motion.
    pub moving: f32,
}

impl Change {
    /// Differences below this (a PSNR of 43 dB) count as no change.
    const MIN_DIFFERENCE: f32 = 5e-5;
    /// Displacements up to this, in pixels, are noise of the flow.
    const FLOW_NOISE: f32 = 0.5;

    /// Measures the change from `a` to `b`.
    pub fn between(a: &Image, b: &Image) -> Change {
        let (a, b) = (Plane::new(a), Plane::new(b));
        let flow = flow(&a, &b);
        let camera = flow.camera();
        let diagonal = (a.width as f32).hypot(a.height as f32);
        let threshold = Self::FLOW_NOISE.max(0.01 * diagonal);
        let residuals = flow.residuals(&camera);
        let moving = residuals.iter().filter(|&&r| r > threshold).count();
        Change {
            difference: mean_squared_difference(&a, &b),
            camera: camera.length(a.width, a.height) / diagonal,
            moving: moving as f32 / residuals.len() as f32,
        }
    }

    /// Returns whether the frames are practically equal.
    pub fn is_negligible(&self) -> bool {
        self.difference < Self::MIN_DIFFERENCE
    }

    /// Returns the tag for a static or a dynamic scenario.
    ///
    /// Choice: the paper names optical flow and pixel difference without thresholds. Here a pair is dynamic when the camera
    /// moves by more than 1 % of the diagonal, when more than a third of the image moves, or when the PSNR is below 17 dB.
    pub fn tag(&self) -> Tag {
        if self.camera > 0.01 || self.moving > 0.33 || self.difference > 0.02 {
            Tag::DynamicScenario
        } else {
            Tag::StaticScenario
        }
    }
}

fn mean_squared_difference(a: &Plane, b: &Plane) -> f32 {
    let pairs = a.values.iter().zip(&b.values);
    let sum: f32 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
    sum / a.values.len() as f32
}

/// Returns whether there is a shot cut between two frames of one size: both the pixels in place and the colour histogram
/// differ. It needs no optical flow, so that every frame of a video can be tested.
pub fn is_cut(a: &Image, b: &Image) -> bool {
    let pairs = a.rgb.iter().zip(&b.rgb);
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let difference = sum as f32 / a.rgb.len() as f32;
    // The histograms are only compared where the pixels differ.
    difference > 12.0 && {
        let distance = histogram_distance(a, b);
        distance > 0.4 || (difference > 40.0 && distance > 0.2)
    }
}

/// Returns the distance of the colour histograms of 4 x 4 x 4 cells, 0 for the same colours and 1 for no common colour: half
/// the L1 distance. Each pixel is spread over the cells around it, so that a slight change of light changes the histogram
/// slightly.
fn histogram_distance(a: &Image, b: &Image) -> f32 {
    let (a, b) = (histogram(a), histogram(b));
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0
}

fn histogram(image: &Image) -> [f32; 64] {
    let mut cells = [0f32; 64];
    let pixels = image.rgb.len() as f32 / 3.0;
    for pixel in image.rgb.chunks_exact(3) {
        let at: [(usize, f32); 3] = std::array::from_fn(|c| {
            let position = f32::from(pixel[c]) / 255.0 * 3.0;
            let cell = (position as usize).min(2);
            (cell, position - cell as f32)
        });
        for corner in 0..8usize {
            let (mut cell, mut weight) = (0, 1.0 / pixels);
            for (c, (low, fraction)) in at.iter().enumerate() {
                let high = corner >> c & 1;
                cell = 4 * cell + low + high;
                weight *= if high == 1 { *fraction } else { 1.0 - fraction };
            }
            cells[cell] += weight;
        }
    }
    cells
}

/// Returns the blur of an image, from 0 (sharp) to 1, by the measure of Crété et al. (2007): how little a further blur
/// weakens its edges. Equals scikit-image's `blur_effect`.
pub fn blur(image: &Image) -> f32 {
    let plane = Plane::new(image);
    blur_of_rows(&plane).max(blur_of_rows(&plane.transposed()))
}

/// Radius of the further blur.
const BLUR_RADIUS: usize = 5;

fn blur_of_rows(plane: &Plane) -> f32 {
    let sharp = edges(plane);
    let blurred = edges(&plane.mean_of_rows(BLUR_RADIUS));
    let (mut total, mut lost) = (0f64, 0f64);
    let (w, h) = (plane.width, plane.height);
    for y in 2..h.saturating_sub(1) {
        for i in y * w + 2..(y * w + w.saturating_sub(1)).max(y * w + 2) {
            total += f64::from(sharp[i]);
            lost += f64::from((sharp[i] - blurred[i]).max(0.0));
        }
    }
    // An image without edges counts as fully blurred.
    if total < 1e-6 * (w * h) as f64 {
        1.0
    } else {
        ((total - lost) / total) as f32
    }
}

/// Returns the absolute Sobel derivative along the rows, with the border reflected.
fn edges(plane: &Plane) -> Vec<f32> {
    let (w, h) = (plane.width, plane.height);
    let at = |x: usize, y: usize| plane.values[y * w + x];
    let pixel = |i: usize| {
        let (x, y) = (i % w, i / w);
        let (left, right) = (x.saturating_sub(1), (x + 1).min(w - 1));
        let (up, down) = (y.saturating_sub(1), (y + 1).min(h - 1));
        let slope = |y: usize| at(right, y) - at(left, y);
        (slope(up) + 2.0 * slope(y) + slope(down)).abs() / 4.0
    };
    (0..w * h).map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, value: impl Fn(f32, f32) -> [f32; 3]) -> Image {
        let pixel = |i: u32| value((i % width) as f32, (i / width) as f32);
        let rgb = (0..width * height)
            .flat_map(pixel)
            .map(|v| v.clamp(0.0, 255.0) as u8);
        Image::from_rgb(width, height, rgb.collect()).unwrap()
    }

    fn table(x: f32, y: f32) -> [f32; 3] {
        let wood = 20.0 * (0.5 * y + 0.3 * (0.2 * x).sin()).sin() + 6.0 * (1.9 * x + 0.7 * y).sin();
        [150.0 + wood, 110.0 + wood, 70.0 + wood]
    }

    fn with_ball(x: f32, y: f32, at: f32) -> [f32; 3] {
        if (x - at).hypot(y - 40.0) < 9.0 {
            [200.0, 30.0 + 3.0 * (x - at), 30.0]
        } else {
            table(x, y)
        }
    }

    #[test]
    fn one_ball_that_moves_is_static_and_a_camera_that_moves_is_dynamic() {
        let before = image(96, 80, |x, y| with_ball(x, y, 30.0));
        let ball = image(96, 80, |x, y| with_ball(x, y, 36.0));
        let change = Change::between(&before, &ball);
        assert!(!change.is_negligible() && !is_cut(&before, &ball));
        assert_eq!(change.tag(), Tag::StaticScenario, "{change:?}");
        let camera = image(96, 80, |x, y| with_ball(x + 4.0, y + 2.0, 30.0));
        let change = Change::between(&before, &camera);
        assert!(!change.is_negligible() && !is_cut(&before, &camera));
        assert_eq!(change.tag(), Tag::DynamicScenario, "{change:?}");
        let expected = 4f32.hypot(2.0) / 96f32.hypot(80.0);
        assert!(
            (change.camera - expected).abs() < 0.2 * expected,
            "{change:?}"
        );
    }

    #[test]
    fn the_same_frame_is_no_change_and_another_scene_is_a_cut() {
        let a = image(96, 80, |x, y| with_ball(x, y, 30.0));
        assert!(Change::between(&a, &a).is_negligible() && !is_cut(&a, &a));
        let other = image(96, 80, |x, y| {
            [20.0 + 60.0 * (0.2 * x * y).sin(), 90.0 + y, 200.0 - x]
        });
        assert!(is_cut(&a, &other) && is_cut(&other, &a));
    }

    #[test]
    fn histograms_tolerate_a_slight_change_of_light_but_not_of_colours() {
        let a = image(50, 50, table);
        let lighter = image(50, 50, |x, y| table(x, y).map(|v| v + 6.0));
        let blue = image(50, 50, |x, y| {
            let [r, g, b] = table(x, y);
            [b, g, r + 80.0]
        });
        let distance = |other: &Image| histogram_distance(&a, other);
        assert!(distance(&lighter) < 0.15, "{}", distance(&lighter));
        assert!(distance(&blue) > 0.5, "{}", distance(&blue));
        assert!(distance(&a) < 1e-6);
    }

    /// Expects the values of `skimage.measure.blur_effect` (scikit-image 0.26, h_size 11) for the same images.
    #[test]
    fn blur_is_that_of_scikit_image() {
        let bars = |sharp: f32| {
            image(64, 48, move |x, y| {
                let at = |p: f32, period: f32| {
                    let phase = (p / period).fract() - 0.5;
                    (127.5 + 127.5 * (sharp * phase).clamp(-1.0, 1.0)).round()
                };
                let v = ((at(x, 16.0) + at(y, 12.0)) / 2.0).round();
                [v; 3]
            })
        };
        for (sharp, expected) in [(60.0, 0.23377), (6.0, 0.34214), (2.0, 0.38178)] {
            let found = blur(&bars(sharp));
            assert!(
                (found - expected).abs() < 2e-3,
                "{sharp}: {found} for {expected}"
            );
        }
        assert_eq!(blur(&image(20, 20, |_, _| [90.0; 3])), 1.0);
        assert_eq!(blur(&image(1, 1, |_, _| [90.0; 3])), 1.0);
    }
}
