//! Converts images to the rows of patches that an image tower reads.

use super::super::features::Preprocess;
use super::super::resample::{pillow_bicubic, torch_bicubic};
use super::config::Vision;
use unireal::Image;

/// Mean and standard deviation of each channel, for pixels in 0..1.
struct Statistics {
    mean: [f32; 3],
    deviation: [f32; 3],
}

const CLIP: Statistics = Statistics {
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

const IMAGENET: Statistics = Statistics {
    mean: [0.485, 0.456, 0.406],
    deviation: [0.229, 0.224, 0.225],
};

/// Returns the resized and cropped pixels in 0..1 before normalisation, row-major `[side, side, 3]`.
pub fn pixels(image: &Image, preprocess: Preprocess, side: u32) -> Vec<f32> {
    let unit = |rgb: &[u8]| rgb.iter().map(|&v| f32::from(v) / 255.0).collect();
    match preprocess {
        Preprocess::OpenAiClip => unit(&centre_crop(&resize_shorter(image, side), side).rgb),
        Preprocess::Dino => {
            let larger = (f64::from(side) * 8.0 / 7.0).round() as u32;
            unit(&centre_crop(&resize_shorter(image, larger), side).rgb)
        }
        Preprocess::Square => {
            let values: Vec<f32> = unit(&image.rgb);
            let from = [image.height as usize, image.width as usize];
            torch_bicubic(&values, 3, from, [side as usize; 2])
        }
    }
}

/// Returns normalised pixels as rows of patches `[(side / patch)^2, 3 patch^2]`, each patch in the layout of convolution
/// weights `[3, patch, patch]`.
pub(super) fn patches(
    image: &Image,
    preprocess: Preprocess,
    side: usize,
    patch: usize,
) -> Vec<f32> {
    let Statistics { mean, deviation } = match preprocess {
        Preprocess::OpenAiClip | Preprocess::Square => CLIP,
        Preprocess::Dino => IMAGENET,
    };
    let pixels = pixels(image, preprocess, side as u32);
    let grid = side / patch;
    let mut rows = vec![0f32; grid * grid * 3 * patch * patch];
    for (number, row) in rows.chunks_exact_mut(3 * patch * patch).enumerate() {
        let (top, left) = (number / grid * patch, number % grid * patch);
        for y in 0..patch {
            let start = 3 * ((top + y) * side + left);
            let line = pixels[start..start + 3 * patch].as_chunks::<3>().0;
            for (x, pixel) in line.iter().enumerate() {
                for c in 0..3 {
                    row[(c * patch + y) * patch + x] = (pixel[c] - mean[c]) / deviation[c];
                }
            }
        }
    }
    rows
}

/// Returns the [`patches`] of the whole image for a tower of this shape.
pub(crate) fn square_patches(image: &Image, shape: &Vision) -> Vec<f32> {
    let square = Preprocess::Square;
    patches(image, square, shape.image_size, shape.patch_size)
}

/// Resizes as torchvision's `Resize(side)`: the shorter side becomes `side`, the longer one is truncated to whole pixels.
fn resize_shorter(image: &Image, side: u32) -> Image {
    let (short, long) = (image.width.min(image.height), image.width.max(image.height));
    let long = (u64::from(side) * u64::from(long) / u64::from(short)) as u32;
    if image.width <= image.height {
        pillow_bicubic(image, side, long)
    } else {
        pillow_bicubic(image, long, side)
    }
}

/// Crops as torchvision's `CenterCrop(side)`; half-pixel offsets round to even, as in Python.
fn centre_crop(image: &Image, side: u32) -> Image {
    let offset = |length: u32| (f64::from(length - side) / 2.0).round_ties_even() as usize;
    let (left, top) = (offset(image.width), offset(image.height));
    let (stride, side_bytes) = (3 * image.width as usize, 3 * side as usize);
    let rows = (top..top + side as usize).map(|y| y * stride + 3 * left);
    let rgb = rows.flat_map(|start| image.rgb[start..start + side_bytes].iter().copied());
    Image {
        width: side,
        height: side,
        rgb: rgb.collect(),
    }
}
