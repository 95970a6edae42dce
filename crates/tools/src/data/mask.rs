//! Operations on row-major masks as in [`Entity`](super::Entity): measures, morphology, cut-outs and inpainting.

use unireal::Image;

/// Fill colour of a hole whose content the prompt describes.
const GREY: [u8; 3] = [128; 3];

/// A bounding box in whole pixels; the ends are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Left edge.
    pub left: usize,
    /// Top edge.
    pub top: usize,
    /// One past the right edge.
    pub right: usize,
    /// One past the bottom edge.
    pub bottom: usize,
}

impl Bounds {
    /// Returns the width.
    pub fn width(&self) -> usize {
        self.right - self.left
    }

    /// Returns the height.
    pub fn height(&self) -> usize {
        self.bottom - self.top
    }

    /// Returns left, top, right and bottom as fractions of an image of this width and height.
    pub fn fractions(&self, (width, height): (u32, u32)) -> [f32; 4] {
        let (w, h) = (width as f32, height as f32);
        [
            self.left as f32 / w,
            self.top as f32 / h,
            self.right as f32 / w,
            self.bottom as f32 / h,
        ]
    }

    /// Returns whether a pixel is inside.
    pub fn contains(&self, x: usize, y: usize) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }
}

/// Returns the fraction of the image that a mask covers, 0..1.
pub fn share(mask: &[bool]) -> f32 {
    mask.iter().filter(|&&on| on).count() as f32 / mask.len().max(1) as f32
}

/// Returns the bounding box of a mask; `None` for an empty one.
pub fn bounds(mask: &[bool], width: usize) -> Option<Bounds> {
    let mut found: Option<Bounds> = None;
    for (i, _) in mask.iter().enumerate().filter(|(_, on)| **on) {
        let (x, y) = (i % width, i / width);
        let b = found.get_or_insert(Bounds {
            left: x,
            top: y,
            right: x + 1,
            bottom: y + 1,
        });
        b.left = b.left.min(x);
        b.right = b.right.max(x + 1);
        b.bottom = y + 1;
    }
    found
}

/// Dilates a mask by `radius` pixels on every side.
pub fn grown(mask: &[bool], width: usize, radius: usize) -> Vec<bool> {
    let height = mask.len() / width;
    let mut rows = vec![false; mask.len()];
    for (i, on) in mask.iter().enumerate() {
        if *on {
            let (x, row) = (i % width, i / width * width);
            rows[row + x.saturating_sub(radius)..row + (x + radius + 1).min(width)].fill(true);
        }
    }
    let mut grown = vec![false; mask.len()];
    for (i, on) in rows.iter().enumerate() {
        if *on {
            let (x, y) = (i % width, i / width);
            for y in y.saturating_sub(radius)..(y + radius + 1).min(height) {
                grown[y * width + x] = true;
            }
        }
    }
    grown
}

/// Returns the bounding box of a mask as a mask.
pub fn boxed(mask: &[bool], width: usize) -> Vec<bool> {
    let Some(b) = bounds(mask, width) else {
        return mask.to_vec();
    };
    (0..mask.len())
        .map(|i| b.contains(i % width, i / width))
        .collect()
}

/// Returns the intersection over union; 0 when both are empty.
pub fn overlap(a: &[bool], b: &[bool]) -> f32 {
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count();
    let any = a.iter().zip(b).filter(|(a, b)| **a || **b).count();
    both as f32 / any.max(1) as f32
}

/// Returns the connected components of a mask (8 neighbours), the largest first.
pub fn regions(mask: &[bool], width: u32) -> Vec<Vec<bool>> {
    let height = mask.len() as u32 / width.max(1);
    let values = mask.iter().map(|&on| if on { 255 } else { 0 }).collect();
    let Some(grey) = image::GrayImage::from_raw(width, height, values) else {
        return Vec::new();
    };
    let connectivity = imageproc::region_labelling::Connectivity::Eight;
    let labels =
        imageproc::region_labelling::connected_components(&grey, connectivity, image::Luma([0u8]));
    let labels = labels.into_raw();
    let mut sizes = vec![0usize; labels.iter().max().map_or(0, |&max| max as usize + 1)];
    labels.iter().for_each(|&label| sizes[label as usize] += 1);
    let mut order: Vec<u32> = (1..sizes.len() as u32).collect();
    order.sort_by_key(|&label| std::cmp::Reverse(sizes[label as usize]));
    let region = |label: u32| labels.iter().map(|&l| l == label).collect();
    order.into_iter().map(region).collect()
}

/// Fills the holes of a mask: the pixels outside it that are not connected to the border.
pub fn filled(mask: &[bool], width: u32) -> Vec<bool> {
    let outside: Vec<bool> = mask.iter().map(|on| !on).collect();
    let (w, h) = (width as usize, mask.len() / width as usize);
    let mut filled = vec![true; mask.len()];
    for region in regions(&outside, width) {
        let at_border = |i: usize| [0, w - 1].contains(&(i % w)) || [0, h - 1].contains(&(i / w));
        if (0..mask.len()).any(|i| region[i] && at_border(i)) {
            filled
                .iter_mut()
                .zip(&region)
                .for_each(|(on, out)| *on &= !out);
        }
    }
    filled
}

/// Draws a mask white on black. The image has the size `width` x `mask.len() / width`.
pub fn to_image(mask: &[bool], width: u32) -> Image {
    let value = |&on: &bool| [if on { 255 } else { 0 }; 3];
    Image {
        width,
        height: mask.len() as u32 / width,
        rgb: mask.iter().flat_map(value).collect(),
    }
}

/// Returns the image with the masked pixels in grey.
pub fn hole(image: &Image, mask: &[bool]) -> Image {
    let mut image = image.clone();
    for (pixel, _) in masked_pixels(&mut image, mask) {
        pixel.copy_from_slice(&GREY);
    }
    image
}

/// Cuts out an object and centres it on a white image of the frame's size. The object is scaled to fill 0.9 of the image, to
/// at most twice its size, so that the result does not reveal its position in the frame. Returns `None` for an empty mask.
pub fn cut_out(image: &Image, mask: &[bool]) -> Option<Image> {
    let (width, height) = (image.width as usize, image.height as usize);
    let b = bounds(mask, width)?;
    let mut rgb = Vec::with_capacity(3 * b.width() * b.height());
    for y in b.top..b.bottom {
        let row = y * width + b.left..y * width + b.right;
        for (i, on) in row.clone().zip(&mask[row]) {
            if *on {
                rgb.extend(&image.rgb[3 * i..3 * i + 3])
            } else {
                rgb.extend([255; 3])
            }
        }
    }
    let object = Image {
        width: b.width() as u32,
        height: b.height() as u32,
        rgb,
    };
    let fits = |side: usize, of: usize| 0.9 * of as f32 / side as f32;
    let scale = fits(b.width(), width)
        .min(fits(b.height(), height))
        .min(2.0);
    let side = |side: usize, of: usize| ((side as f32 * scale).round() as u32).clamp(1, of as u32);
    let object = object.resize(side(b.width(), width), side(b.height(), height));
    Some(centred(&object, image.width, image.height))
}

fn centred(object: &Image, width: u32, height: u32) -> Image {
    let mut rgb = vec![255; 3 * (width * height) as usize];
    let (left, top) = ((width - object.width) / 2, (height - object.height) / 2);
    let row = 3 * object.width as usize;
    for (y, pixels) in object.rgb.chunks_exact(row).enumerate() {
        let at = 3 * ((top as usize + y) * width as usize + left as usize);
        rgb[at..at + row].copy_from_slice(pixels);
    }
    Image { width, height, rgb }
}

/// Inpaints the masked part smoothly from its surroundings (pull-push through a pyramid), so that no edge of the object
/// remains.
pub fn erased(image: &Image, mask: &[bool]) -> Image {
    let known: Vec<[f32; 4]> = image
        .rgb
        .chunks_exact(3)
        .zip(mask)
        .map(|(p, &hidden)| {
            if hidden {
                [0.0; 4]
            } else {
                [f32::from(p[0]), f32::from(p[1]), f32::from(p[2]), 1.0]
            }
        })
        .collect();
    let filled = pull_push(known, image.width as usize, image.height as usize);
    let mut image = image.clone();
    for (pixel, i) in masked_pixels(&mut image, mask) {
        for (c, value) in pixel.iter_mut().enumerate() {
            *value = filled[i][c].round() as u8;
        }
    }
    image
}

/// Fills every pixel of weight below 1. Colours are premultiplied by their weight, the fourth channel.
fn pull_push(fine: Vec<[f32; 4]>, width: usize, height: usize) -> Vec<[f32; 4]> {
    if fine.iter().all(|p| p[3] >= 1.0) || fine.len() == 1 {
        return fine;
    }
    let (w, h) = (width.div_ceil(2), height.div_ceil(2));
    let mut coarse = vec![[0f32; 4]; w * h];
    for (i, p) in fine.iter().enumerate() {
        let sum = &mut coarse[i / width / 2 * w + i % width / 2];
        (0..4).for_each(|c| sum[c] += p[c]);
    }
    for p in &mut coarse {
        let weight = p[3].max(1.0);
        p.iter_mut().for_each(|value| *value /= weight);
    }
    let coarse = pull_push(coarse, w, h);
    let mut fine = fine;
    for (i, p) in fine.iter_mut().enumerate().filter(|(_, p)| p[3] < 1.0) {
        let (x, y) = (
            (i % width) as f32 / 2.0 - 0.25,
            (i / width) as f32 / 2.0 - 0.25,
        );
        let below = bilinear(&coarse, w, h, x, y);
        let missing = 1.0 - p[3];
        (0..3).for_each(|c| p[c] += missing * below[c]);
        p[3] = 1.0;
    }
    fine
}

fn bilinear(values: &[[f32; 4]], width: usize, height: usize, x: f32, y: f32) -> [f32; 4] {
    let (x, y) = (
        x.clamp(0.0, (width - 1) as f32),
        y.clamp(0.0, (height - 1) as f32),
    );
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (fx, fy) = (x.fract(), y.fract());
    std::array::from_fn(|c| {
        let row =
            |y: usize| values[y * width + left][c] * (1.0 - fx) + values[y * width + right][c] * fx;
        row(top) * (1.0 - fy) + row(bottom) * fy
    })
}

/// Returns the masked pixels with their indices.
fn masked_pixels<'a>(
    image: &'a mut Image,
    mask: &'a [bool],
) -> impl Iterator<Item = (&'a mut [u8], usize)> {
    let pixels = image.rgb.chunks_exact_mut(3).zip(mask).enumerate();
    pixels
        .filter(|(_, (_, on))| **on)
        .map(|(i, (pixel, _))| (pixel, i))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a 40 x 30 image of a red disc of radius 6 on a ramp, and the disc's mask.
    fn scene() -> (Image, Vec<bool>) {
        let at = |i: usize| (i % 40, i / 40);
        let disc = |i: usize| {
            let (x, y) = at(i);
            (x as i32 - 12).pow(2) + (y as i32 - 15).pow(2) <= 36
        };
        let rgb = (0..1200).flat_map(|i| {
            if disc(i) {
                [200, 0, 0]
            } else {
                [4 * at(i).0 as u8, 4 * at(i).1 as u8, 100]
            }
        });
        let image = Image::from_rgb(40, 30, rgb.collect()).unwrap();
        (image, (0..1200).map(disc).collect())
    }

    #[test]
    fn an_erased_part_continues_its_surroundings() {
        let (image, mask) = scene();
        let erased = erased(&image, &mask);
        for (i, pixel) in erased.rgb.chunks_exact(3).enumerate() {
            let (x, y) = (i % 40, i / 40);
            let expected = [4 * x as u8, 4 * y as u8, 100];
            let off = pixel.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max();
            let allowed = if mask[i] { 20 } else { 0 };
            assert!(off <= Some(allowed), "{x},{y}: off by {off:?}");
        }
    }

    #[test]
    fn a_ring_is_filled_and_an_open_one_is_not() {
        let ring = |i: usize| {
            let away = ((i % 40) as f32 - 20.0).hypot((i / 40) as f32 - 15.0);
            (5.0..8.0).contains(&away)
        };
        let disc = |i: usize| ((i % 40) as f32 - 20.0).hypot((i / 40) as f32 - 15.0) < 8.0;
        let closed: Vec<bool> = (0..1200).map(ring).collect();
        let expected: Vec<bool> = (0..1200).map(disc).collect();
        assert_eq!(filled(&closed, 40), expected);
        let open: Vec<bool> = (0..1200)
            .map(|i| ring(i) && (i % 40 < 19 || i % 40 > 22))
            .collect();
        assert_eq!(filled(&open, 40), open);
    }

    #[test]
    fn all_hidden_is_filled_with_something() {
        let (image, _) = scene();
        assert_eq!(erased(&image, &[true; 1200]).rgb.len(), 3600);
    }

    #[test]
    fn a_cut_out_object_is_alone_centred_and_at_most_twice_its_size() {
        let (image, mask) = scene();
        let object = cut_out(&image, &mask).unwrap();
        assert_eq!((object.width, object.height), (40, 30));
        let red = |p: &[u8]| p[0] > 150 && p[1] < 90;
        let found: Vec<bool> = object.rgb.chunks_exact(3).map(red).collect();
        let b = bounds(&found, 40).unwrap();
        assert!(
            (24..=27).contains(&b.height()) && (24..=27).contains(&b.width()),
            "{b:?}"
        );
        assert!((b.left + b.right).abs_diff(40) <= 1, "{b:?}");
        assert_eq!(object.rgb[..3], [255; 3]);
        assert!(cut_out(&image, &[false; 1200]).is_none());
    }

    #[test]
    fn growing_agrees_with_distances() {
        let (_, mask) = scene();
        let grown = grown(&mask, 40, 3);
        for (i, &found) in grown.iter().enumerate() {
            let (x, y) = (i % 40, i / 40);
            let near = (0..1200usize)
                .any(|j| mask[j] && (j % 40).abs_diff(x) <= 3 && (j / 40).abs_diff(y) <= 3);
            assert_eq!(found, near, "{x},{y}");
        }
    }
}
