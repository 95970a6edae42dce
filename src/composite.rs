//! Composites a result onto its canvas: unchanged regions take the canvas's own pixels.
//!
//! The autoencoder is lossy, so a decoded image is softer everywhere, also in regions that the edit does not change. Where result
//! and canvas differ by no more than that softness, the canvas's pixels are used. This is not part of the paper;
//! `unireal evaluate world --no-composite` measures without it.

use crate::image::Image;

/// Thresholds of the smoothed difference, for values in 0..1: up to `SAME` the pixel is the canvas's, from `OTHER` on
/// the result's; between them the two are blended.
///
/// Chosen on held-out scenes outside the evaluation's (`--first 500`): PSNR outside the edit is 31 instead of 25 dB, inside
/// nothing is lost.
const SAME: f32 = 0.08;
const OTHER: f32 = 0.2;

/// Returns `result` with the canvas's pixels where nothing changed.
///
/// Both images have one size. `stride` is the autoencoder's, in pixels per latent cell; it sets the reach of the
/// smoothing.
///
/// # Panics
/// When the sizes differ.
pub(crate) fn composite_onto(canvas: &Image, result: &Image, stride: usize) -> Image {
    let size = (canvas.width, canvas.height);
    assert_eq!(size, (result.width, result.height), "one size");
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut change = vec![0f32; width * height];
    let weights = gaussian(stride as f32 / 4.0);
    for channel in 0..3 {
        let difference: Vec<f32> = std::iter::zip(&result.rgb, &canvas.rgb)
            .skip(channel)
            .step_by(3)
            .map(|(r, c)| (f32::from(*r) - f32::from(*c)) / 255.0)
            .collect();
        let sum = |near: &mut dyn Iterator<Item = f32>| {
            std::iter::zip(near, &weights)
                .map(|(x, weight)| x * weight)
                .sum()
        };
        let smooth = across(&difference, width, weights.len() / 2, sum);
        for (most, x) in std::iter::zip(&mut change, smooth) {
            *most = x.abs().max(*most);
        }
    }
    // Dilate the changed region to include the pixels at its edge.
    let most = |near: &mut dyn Iterator<Item = f32>| near.fold(0.0, f32::max);
    let change = across(&change, width, stride / 4, most);
    let mut rgb = Vec::with_capacity(result.rgb.len());
    let pixels = std::iter::zip(canvas.rgb.chunks_exact(3), result.rgb.chunks_exact(3));
    for ((before, after), change) in pixels.zip(change) {
        let part = ((change - SAME) / (OTHER - SAME)).clamp(0.0, 1.0);
        let part = part * part * (3.0 - 2.0 * part);
        rgb.extend(std::iter::zip(before, after).map(|(before, after)| {
            let (before, after) = (f32::from(*before), f32::from(*after));
            (before + (after - before) * part).round() as u8
        }));
    }
    Image {
        width: size.0,
        height: size.1,
        rgb,
    }
}

/// Returns normalised Gaussian weights of this standard deviation, out to three deviations on each side.
fn gaussian(deviation: f32) -> Vec<f32> {
    let reach = (3.0 * deviation).ceil() as i32;
    let weight = |x: i32| (-0.5 * (x as f32 / deviation.max(0.1)).powi(2)).exp();
    let weights: Vec<f32> = (-reach..=reach).map(weight).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Applies `of` to the values up to `reach` away, first along rows, then along columns. Edge values are repeated.
fn across(
    values: &[f32],
    width: usize,
    reach: usize,
    of: impl Fn(&mut dyn Iterator<Item = f32>) -> f32,
) -> Vec<f32> {
    let height = values.len() / width;
    let near = |at: usize, length: usize| {
        (at..=at + 2 * reach).map(move |i| i.saturating_sub(reach).min(length - 1))
    };
    let rows: Vec<f32> = (0..values.len())
        .map(|i| {
            let row = i / width * width;
            of(&mut near(i % width, width).map(|x| values[row + x]))
        })
        .collect();
    (0..values.len())
        .map(|i| of(&mut near(i / width, height).map(|y| rows[y * width + i % width])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u32, height: u32, of: impl Fn(u32, u32) -> [u8; 3]) -> Image {
        let rgb = (0..width * height).flat_map(|i| of(i % width, i / width));
        Image::from_rgb(width, height, rgb.collect()).expect("a size that fits")
    }

    #[test]
    fn what_is_only_softer_is_the_canvas() {
        // Fine stripes, and a flat grey close to their mean.
        let canvas = image(40, 24, |x, _| [if x % 2 == 0 { 90 } else { 110 }; 3]);
        let soft = image(40, 24, |_, _| [103; 3]);
        assert_eq!(composite_onto(&canvas, &soft, 8), canvas);
        assert_eq!(composite_onto(&canvas, &canvas, 8), canvas);
    }

    #[test]
    fn what_changed_is_the_result() {
        let canvas = image(48, 32, |x, y| [x as u8, y as u8, 50]);
        let disc = |x: u32, y: u32| x.abs_diff(20).pow(2) + y.abs_diff(16).pow(2) < 49;
        let edited = |x: u32, y: u32| {
            if disc(x, y) {
                [220, 30, 30]
            } else {
                [x as u8 + 4, y as u8, 54]
            }
        };
        let before = composite_onto(&canvas, &image(48, 32, edited), 8);
        for (i, pixel) in before.rgb.chunks_exact(3).enumerate() {
            let (x, y) = (i as u32 % 48, i as u32 / 48);
            let far = x.abs_diff(20).pow(2) + y.abs_diff(16).pow(2) > 18 * 18;
            if disc(x, y) {
                assert_eq!(pixel, [220, 30, 30], "{x} {y}");
            } else if far {
                assert_eq!(pixel, [x as u8, y as u8, 50], "{x} {y}");
            }
        }
    }

    #[test]
    fn a_new_image_is_the_result() {
        let canvas = image(33, 17, |x, y| [x as u8, y as u8, 9]);
        let other = image(33, 17, |x, y| [255 - x as u8, 200, 100 + y as u8]);
        assert_eq!(composite_onto(&canvas, &other, 8), other);
        // An image smaller than the filter's reach, and a stride of 1.
        assert_eq!(
            composite_onto(
                &image(1, 1, |_, _| [0; 3]),
                &image(1, 1, |_, _| [255; 3]),
                8
            )
            .rgb,
            [255; 3]
        );
        assert_eq!(composite_onto(&canvas, &canvas, 1), canvas);
    }
}
