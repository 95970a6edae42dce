//! Scales sources to the samples' area and crops the centre to whole tokens. Images, masks and depth maps are treated alike.

use unireal::Image;
use unireal::{Error, Result};

/// Sides of samples are multiples of this, so that a VAE of factor 8 with 2x2 patches yields whole tokens.
pub const MULTIPLE: u32 = 16;
/// Longest side of a source, in pixels.
const MAX_SOURCE: u32 = 8192;

/// The scaling and cropping from a source's size to the sample's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Size of the source.
    pub source: (u32, u32),
    /// Size to which the source is scaled; it covers the sample.
    pub scaled: (u32, u32),
    /// The sample's size, the centre of the scaled source.
    pub size: (u32, u32),
}

impl Fit {
    /// Returns the fit to samples with the area of a square of `side` pixels, of about the source's aspect ratio or square.
    ///
    /// # Errors
    /// [`Error::Request`] for sides under 16 or over 2048, [`Error::Unsupported`] for a source without pixels, with a side
    /// over 8192, or more than four times as long as wide.
    pub fn new(source: (u32, u32), side: u32, square: bool) -> Result<Fit> {
        if !(MULTIPLE..=2048).contains(&side) {
            return Err(Error::Request(format!(
                "fitting samples: a side of {side} px, expected {MULTIPLE} to 2048"
            )));
        }
        let (w, h) = source;
        let (short, long) = (w.min(h), w.max(h));
        if short == 0 || long > MAX_SOURCE || long > 4 * short {
            return Err(Error::Unsupported(format!(
                "fitting an image: {w}x{h}, expected sides of 1 to {MAX_SOURCE} and at most four times as long as wide"
            )));
        }
        let whole = |length: f64| ((length / f64::from(MULTIPLE)).round() as u32).max(1) * MULTIPLE;
        let aspect = f64::from(w) / f64::from(h);
        let size = if square {
            (whole(side.into()), whole(side.into()))
        } else {
            (
                whole(f64::from(side) * aspect.sqrt()),
                whole(f64::from(side) / aspect.sqrt()),
            )
        };
        let scale = (f64::from(size.0) / f64::from(w)).max(f64::from(size.1) / f64::from(h));
        let cover = |length: u32, min: u32| ((f64::from(length) * scale).round() as u32).max(min);
        Ok(Fit {
            source,
            scaled: (cover(w, size.0), cover(h, size.1)),
            size,
        })
    }

    /// Returns the sample's left top corner in the scaled source.
    pub fn offset(&self) -> (u32, u32) {
        (
            (self.scaled.0 - self.size.0) / 2,
            (self.scaled.1 - self.size.1) / 2,
        )
    }

    /// Fits an image of the source, of any resolution; an image of the sample's size is returned unchanged.
    pub fn image(&self, image: &Image) -> Image {
        if (image.width, image.height) == self.size {
            return image.clone();
        }
        let scaled = image.resize(self.scaled.0, self.scaled.1);
        let (left, top) = self.offset();
        let mut rgb = Vec::with_capacity(3 * (self.size.0 * self.size.1) as usize);
        for y in top..top + self.size.1 {
            let at = 3 * (y * self.scaled.0 + left) as usize;
            rgb.extend(&scaled.rgb[at..at + 3 * self.size.0 as usize]);
        }
        Image {
            width: self.size.0,
            height: self.size.1,
            rgb,
        }
    }

    /// Fits a map of `width` x `height` values by nearest neighbour; a map of the sample's size is returned unchanged.
    pub fn map<T: Copy>(&self, map: &[T], width: u32, height: u32) -> Vec<T> {
        if (width, height) == self.size {
            return map.to_vec();
        }
        let (left, top) = self.offset();
        let nearest = |at: u32, scaled: u32, of: u32| {
            let position = (f64::from(at) + 0.5) * f64::from(of) / f64::from(scaled);
            (position as u32).min(of - 1)
        };
        let pixel = |i: u32| {
            let x = nearest(left + i % self.size.0, self.scaled.0, width);
            let y = nearest(top + i / self.size.0, self.scaled.1, height);
            map[(y * width + x) as usize]
        };
        (0..self.size.0 * self.size.1).map(pixel).collect()
    }

    /// Maps a point of the source to a point of the sample, both as fractions of the sides.
    pub fn point(&self, x: f32, y: f32) -> (f32, f32) {
        let (left, top) = self.offset();
        let along = |fraction: f32, scaled: u32, offset: u32, size: u32| {
            ((fraction * scaled as f32 - offset as f32) / size as f32).clamp(0.0, 1.0)
        };
        (
            along(x, self.scaled.0, left, self.size.0),
            along(y, self.scaled.1, top, self.size.1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_tokens_of_about_the_same_area() {
        for (w, h) in [
            (1920, 1080),
            (1080, 1920),
            (64, 64),
            (641, 480),
            (100, 399),
            (7, 5),
        ] {
            for (side, square) in [(64, false), (128, true), (256, false), (100, false)] {
                let fit = Fit::new((w, h), side, square).unwrap();
                let (x, y) = fit.size;
                assert!(x % MULTIPLE == 0 && y % MULTIPLE == 0);
                assert!(fit.scaled.0 >= x && fit.scaled.1 >= y);
                let area = f64::from(x * y) / f64::from(side * side);
                assert!((0.6..1.6).contains(&area), "{w}x{h} at {side}: {x}x{y}");
                assert!(!square || x == y);
            }
        }
        assert!(Fit::new((0, 5), 64, false).is_err());
        assert!(Fit::new((9000, 9000), 64, false).is_err());
        assert!(Fit::new((500, 100), 64, false).is_err());
        assert!(Fit::new((64, 64), 8, false).is_err());
    }

    #[test]
    fn images_maps_and_points_agree() {
        let (w, h) = (320u32, 200u32);
        let fit = Fit::new((w, h), 64, true).unwrap();
        let inside = |x: u32, y: u32| (140..200).contains(&x) && (60..120).contains(&y);
        let mask: Vec<bool> = (0..w * h).map(|i| inside(i % w, i / w)).collect();
        let image = fit.image(&crate::data::mask::to_image(&mask, w));
        let mapped = fit.map(&mask, w, h);
        let wrong = (0..mapped.len()).filter(|&i| (image.rgb[3 * i] > 127) != mapped[i]);
        assert!(wrong.count() <= 8);
        let bounds = crate::data::mask::bounds(&mapped, 64).unwrap();
        let (left, top) = fit.point(140.0 / 320.0, 60.0 / 200.0);
        assert!(
            (left * 64.0 - bounds.left as f32).abs() <= 1.0,
            "{bounds:?} {left}"
        );
        assert!(
            (top * 64.0 - bounds.top as f32).abs() <= 1.0,
            "{bounds:?} {top}"
        );
    }
}
