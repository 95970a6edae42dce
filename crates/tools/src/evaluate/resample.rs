//! Resizing as in the published evaluation code, bit-exact or nearly so.
//!
//! No crate reproduces Pillow's bytes: `image` does not round between the two passes, and `fast_image_resize` has narrower
//! weights and rounds in another order, so that hard edges differ by many levels.

use unireal::Image;

/// Fraction bits of Pillow's fixed-point weights.
const BITS: u32 = 22;

/// The input pixels of an output pixel along one axis, with their weights.
struct Weights {
    first: usize,
    weights: Vec<i32>,
}

/// Resizes an 8-bit image as Pillow's `Image.resize((width, height), BICUBIC)`: antialiased, `a = -0.5`, rounded to 8 bits
/// between the two passes. As in version 13, the vertical pass comes first if it removes more than twice as many rows as the
/// horizontal pass removes columns; otherwise the horizontal pass comes first, as always in earlier versions.
/// <https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c>
pub fn pillow_bicubic(image: &Image, width: u32, height: u32) -> Image {
    let fewer = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let rows = fewer(image.height, height);
    let rows_first = rows > 0 && rows > 2 * fewer(image.width, width);
    let across = |rgb: Vec<u8>| {
        if image.width == width {
            rgb
        } else {
            across(&rgb, image.width as usize, &weights(image.width, width))
        }
    };
    let down = |rgb: Vec<u8>, columns: u32| {
        if image.height == height {
            rgb
        } else {
            down(&rgb, 3 * columns as usize, &weights(image.height, height))
        }
    };
    let rgb = if rows_first {
        across(down(image.rgb.clone(), image.width))
    } else {
        down(across(image.rgb.clone()), width)
    };
    Image { width, height, rgb }
}

fn weights(from: u32, to: u32) -> Vec<Weights> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let weights = (0..to).map(|i| {
        let centre = (f64::from(i) + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from as usize);
        let weight = |i| cubic((i as f64 - centre + 0.5) * (1.0 / stretch), -0.5);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let scaled = weight / sum * f64::from(1 << BITS);
            (scaled + 0.5f64.copysign(scaled)) as i32
        };
        Weights {
            first,
            weights: weights.into_iter().map(fixed).collect(),
        }
    });
    weights.collect()
}

/// Keys' cubic convolution kernel.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    match x {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (BITS - 1);

fn across(rgb: &[u8], width: usize, weights: &[Weights]) -> Vec<u8> {
    let mut result = Vec::with_capacity(rgb.len() / width * weights.len());
    for row in rgb.chunks_exact(3 * width) {
        for tap in weights {
            let mut sums = [HALF; 3];
            let pixels = row[3 * tap.first..].as_chunks::<3>().0;
            for (weight, pixel) in tap.weights.iter().zip(pixels) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(value);
                }
            }
            result.extend(sums.map(byte));
        }
    }
    result
}

fn down(rgb: &[u8], stride: usize, weights: &[Weights]) -> Vec<u8> {
    let mut result = Vec::with_capacity(stride * weights.len());
    let mut sums = vec![0i32; stride];
    for tap in weights {
        sums.fill(HALF);
        let rows = rgb[tap.first * stride..].chunks_exact(stride);
        for (weight, row) in tap.weights.iter().zip(rows) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(value);
            }
        }
        result.extend(sums.iter().map(|&sum| byte(sum)));
    }
    result
}

/// Resizes as torch's `interpolate(mode="bicubic", align_corners=False)`, on rows of `channels` interleaved values:
/// `a = -0.75`, no antialiasing, border pixels are repeated.
pub fn torch_bicubic(
    values: &[f32],
    channels: usize,
    [height, width]: [usize; 2],
    [to_height, to_width]: [usize; 2],
) -> Vec<f32> {
    if [height, width] == [to_height, to_width] {
        return values.to_vec();
    }
    let (rows, columns) = (four_inputs(height, to_height), four_inputs(width, to_width));
    let mut narrowed = Vec::with_capacity(height * to_width * channels);
    for row in values.chunks_exact(width * channels) {
        for (places, weights) in &columns {
            narrowed.extend((0..channels).map(|c| {
                let terms = places.iter().zip(weights);
                terms
                    .map(|(&x, weight)| row[x * channels + c] * weight)
                    .sum::<f32>()
            }));
        }
    }
    let stride = to_width * channels;
    let mut result = vec![0f32; to_height * stride];
    for ((places, weights), sums) in rows.iter().zip(result.chunks_exact_mut(stride)) {
        for (&y, weight) in places.iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(&narrowed[y * stride..]) {
                *sum += value * weight;
            }
        }
    }
    result
}

/// Returns the four input positions of each output position, with their weights.
fn four_inputs(from: usize, to: usize) -> Vec<([usize; 4], [f32; 4])> {
    let scale = from as f64 / to as f64;
    let around = |at| {
        let centre = scale * (at as f64 + 0.5) - 0.5;
        let base = centre.floor();
        let place = |i: usize| (base as i64 + i as i64 - 1).clamp(0, from as i64 - 1) as usize;
        let weight = |i: usize| cubic(centre - base + 1.0 - i as f64, -0.75) as f32;
        (std::array::from_fn(place), std::array::from_fn(weight))
    };
    (0..to).map(around).collect()
}
