//! Metrics that compare an image with the ground truth.

use unireal::Image;
use unireal::{Error, Result};

/// Value of [`decibels`] for equal pixels, which keeps means finite.
pub(super) const PERFECT_DB: f64 = 60.0;

/// Returns the peak signal-to-noise ratio over the pixels selected by `counts`, at most [`PERFECT_DB`]; `None` if it selects
/// none.
pub(super) fn decibels(a: &Image, b: &Image, counts: impl Fn(usize) -> bool) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (i, (a, b)) in a.rgb.chunks_exact(3).zip(b.rgb.chunks_exact(3)).enumerate() {
        if counts(i) {
            count += 3.0;
            sum += squared(a, b);
        }
    }
    let mean = sum / count;
    let ratio = if mean > 0.0 {
        10.0 * (255f64.powi(2) / mean).log10()
    } else {
        PERFECT_DB
    };
    (count > 0.0).then_some(ratio.min(PERFECT_DB))
}

/// Returns the mean absolute difference of pixels in 0..1, over images of one size.
pub(super) fn mean_absolute(a: &Image, b: &Image) -> f64 {
    difference(a, b, |_| true) / 255.0
}

/// Returns the mean squared difference of pixels in 0..1, over images of one size.
pub(super) fn mean_squared(a: &Image, b: &Image) -> f64 {
    squared(&a.rgb, &b.rgb) / (255f64.powi(2) * a.rgb.len().max(1) as f64)
}

/// Window size of [`structural_similarity`].
const WINDOW: usize = 11;

/// Returns the structural similarity (Wang et al., 2004): Gaussian window of 11 pixels and deviation 1.5, biased variances,
/// constants 0.01 and 0.03, averaged over channels and over the pixels whose window lies inside. Equals scikit-image's
/// `structural_similarity` with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255`.
///
/// # Errors
/// [`Error::Request`] when sizes differ, or a side is shorter than the window.
pub(super) fn structural_similarity(a: &Image, b: &Image) -> Result<f64> {
    let (width, height) = (a.width as usize, a.height as usize);
    if (a.width, a.height) != (b.width, b.height) || width.min(height) < WINDOW {
        return Err(Error::Request(format!(
            "structural similarity: {width}x{height} and {}x{} pixels, expected one size of at least {WINDOW} per side",
            b.width, b.height
        )));
    }
    let weights: Vec<f64> = (0..WINDOW as i32)
        .map(|i| (-0.5 * (f64::from(i - WINDOW as i32 / 2) / 1.5).powi(2)).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.into_iter().map(|weight| weight / sum).collect();
    // Convolves only where the window fits, so the result is smaller.
    let smooth = |values: &[f64]| -> Vec<f64> {
        let across: Vec<f64> = values
            .chunks_exact(width)
            .flat_map(|row| row.windows(WINDOW).map(|near| dot(near, &weights)))
            .collect();
        let width = width - WINDOW + 1;
        (0..(height - WINDOW + 1) * width)
            .map(|i| {
                (0..WINDOW)
                    .map(|k| weights[k] * across[i + k * width])
                    .sum()
            })
            .collect()
    };
    let (c1, c2) = ((0.01 * 255f64).powi(2), (0.03 * 255f64).powi(2));
    let channel = |image: &Image, c: usize| -> Vec<f64> {
        image
            .rgb
            .iter()
            .skip(c)
            .step_by(3)
            .map(|&v| f64::from(v))
            .collect()
    };
    let product =
        |x: &[f64], y: &[f64]| -> Vec<f64> { std::iter::zip(x, y).map(|(x, y)| x * y).collect() };
    let mut total = 0.0;
    for c in 0..3 {
        let (x, y) = (channel(a, c), channel(b, c));
        let (mx, my) = (smooth(&x), smooth(&y));
        let (xx, yy, xy) = (
            smooth(&product(&x, &x)),
            smooth(&product(&y, &y)),
            smooth(&product(&x, &y)),
        );
        let at = |i: usize| {
            let (mx, my) = (mx[i], my[i]);
            let (vx, vy, vxy) = (xx[i] - mx * mx, yy[i] - my * my, xy[i] - mx * my);
            (2.0 * mx * my + c1) * (2.0 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        };
        total += (0..mx.len()).map(at).sum::<f64>() / mx.len() as f64;
    }
    Ok(total / 3.0)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    std::iter::zip(a, b).map(|(a, b)| a * b).sum()
}

/// Returns the sum of squared differences.
fn squared(a: &[u8], b: &[u8]) -> f64 {
    let pairs = a.iter().zip(b);
    pairs
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum()
}

/// Returns the mean absolute difference of the pixels selected by `counts`, 0 to 255; 0 if it selects none.
pub(super) fn difference(a: &Image, b: &Image, counts: impl Fn(usize) -> bool) -> f64 {
    let (mut sum, mut count) = (0.0, 0usize);
    for (i, (a, b)) in a.rgb.chunks_exact(3).zip(b.rgb.chunks_exact(3)).enumerate() {
        if counts(i) {
            count += 3;
            sum += a
                .iter()
                .zip(b)
                .map(|(a, b)| f64::from(a.abs_diff(*b)))
                .sum::<f64>();
        }
    }
    sum / count.max(1) as f64
}

/// Returns a mask of the pixels in which two images differ by more than `threshold` (0 to 255) in some channel: the whole
/// effect of an edit, with shadows and reflections.
pub(super) fn effect(before: &Image, after: &Image, threshold: u8) -> Vec<bool> {
    std::iter::zip(before.rgb.chunks_exact(3), after.rgb.chunks_exact(3))
        .map(|(a, b)| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > threshold))
        .collect()
}

/// Returns the intersection over union of a mask image's light pixels and the ground truth mask; 1 when both are empty.
pub(super) fn intersection_over_union(image: &Image, ground_truth: &[bool]) -> f64 {
    let (mut both, mut either) = (0usize, 0usize);
    for (pixel, &ground_truth) in image.rgb.chunks_exact(3).zip(ground_truth) {
        let light = pixel.iter().map(|&c| usize::from(c)).sum::<usize>() > 3 * 127;
        both += usize::from(light && ground_truth);
        either += usize::from(light || ground_truth);
    }
    match either {
        0 => 1.0,
        _ => both as f64 / either as f64,
    }
}

/// Returns the mean relative error of a depth map drawn in grey. The grey values are disparity (1 / depth) up to a scale and an
/// offset, which are fitted by least squares (Ranftl et al., 2022, section 5).
///
/// # Errors
/// [`Error::Request`] when the sizes differ.
pub(super) fn relative_depth_error(image: &Image, depth: &[f32]) -> Result<f64> {
    let grey: Vec<f64> = image
        .rgb
        .chunks_exact(3)
        .map(|p| p.iter().map(|&c| f64::from(c)).sum::<f64>() / 3.0)
        .collect();
    if grey.len() != depth.len() || depth.is_empty() {
        return Err(Error::Request(format!(
            "depth map: {} pixels, expected {}",
            grey.len(),
            depth.len()
        )));
    }
    let disparity: Vec<f64> = depth.iter().map(|&d| 1.0 / f64::from(d)).collect();
    let (scale, offset) = fit(&grey, &disparity);
    // A fitted disparity near zero would give an unbounded depth, so the estimate is at most the largest true depth.
    let min_disparity = disparity.iter().copied().fold(f64::MAX, f64::min);
    let errors = grey.iter().zip(&disparity).map(|(grey, ground_truth)| {
        let estimate = (scale * grey + offset).max(min_disparity);
        (1.0 / estimate - 1.0 / ground_truth).abs() * ground_truth
    });
    Ok(errors.sum::<f64>() / depth.len() as f64)
}

/// Fits a line by least squares; returns slope and offset.
fn fit(x: &[f64], y: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (mx, my) = (mean(x), mean(y));
    let spread: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
    let both: f64 = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum();
    let slope = if spread > 0.0 { both / spread } else { 0.0 };
    (slope, my - slope * mx)
}

/// Returns the cosine similarity of two vectors; 0 where one is zero, as torch's `cosine_similarity`.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        std::iter::zip(a, b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    let length = |a: &[f32]| dot(a, a).sqrt().max(1e-8);
    dot(a, b) / (length(a) * length(b))
}

/// Returns the mean; `None` when there are no values.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn grey(values: &[u8]) -> Image {
        let rgb = values.iter().flat_map(|&v| [v; 3]).collect();
        Image::from_rgb(values.len() as u32, 1, rgb).unwrap()
    }

    #[test]
    fn a_constant_error_has_the_expected_ratio() {
        let (a, b) = (grey(&[10, 20, 30, 40]), grey(&[20, 30, 40, 40]));
        // A mean squared error of 100.
        let ratio = decibels(&a, &b, |i| i < 3).unwrap();
        assert!((ratio - 28.1308).abs() < 1e-3, "{ratio}");
        assert_eq!(decibels(&a, &b, |i| i == 3), Some(PERFECT_DB));
        assert_eq!(decibels(&a, &b, |_| false), None);
        assert_eq!(difference(&a, &b, |_| true), 7.5);
        assert_eq!(effect(&a, &b, 9), [true, true, true, false]);
        assert_eq!(effect(&a, &b, 10), [false; 4]);
    }

    #[test]
    fn cosine_is_that_of_the_angle_and_0_for_zero_vectors() {
        let diagonal = cosine(&[2.0, 0.0], &[3.0, 3.0]);
        assert!((diagonal - 0.5f64.sqrt()).abs() < 1e-12, "{diagonal}");
        assert!((cosine(&[1e-3, 2e-3], &[-1.0, -2.0]) + 1.0).abs() < 1e-6);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
    }

    #[test]
    fn overlap_counts_light_pixels() {
        let mask = grey(&[255, 200, 100, 0]);
        assert_eq!(
            intersection_over_union(&mask, &[true, true, false, false]),
            1.0
        );
        assert_eq!(
            intersection_over_union(&mask, &[true, false, true, false]),
            1.0 / 3.0
        );
        assert_eq!(
            intersection_over_union(&grey(&[0, 0]), &[false, false]),
            1.0
        );
    }

    #[test]
    fn a_depth_map_in_any_linear_grey_of_disparity_has_no_error() {
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        let depth: Vec<f32> = (0..500).map(|_| rng.random_range(6.0..12.0)).collect();
        let disparity: Vec<u8> = depth
            .iter()
            .map(|d| (1200.0 / d + 20.0).round() as u8)
            .collect();
        let error = relative_depth_error(&grey(&disparity), &depth).unwrap();
        assert!(error < 0.005, "{error}");
        let flat = relative_depth_error(&grey(&vec![99; 500]), &depth).unwrap();
        assert!(flat > 0.1, "{flat}");
        assert!(relative_depth_error(&grey(&[1, 2]), &depth).is_err());
    }
}
