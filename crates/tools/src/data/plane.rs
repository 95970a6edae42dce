//! Greyscale images of floats, with sampling and box blur.

use unireal::Image;

/// A greyscale image with values in 0..1.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Brightness in row-major order.
    pub values: Vec<f32>,
}

impl Plane {
    /// Returns an image's brightness (Rec. 601).
    pub fn new(image: &Image) -> Self {
        let luma = |p: &[u8]| {
            (0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])) / 255.0
        };
        Plane {
            width: image.width as usize,
            height: image.height as usize,
            values: image.rgb.chunks_exact(3).map(luma).collect(),
        }
    }

    /// Returns an image of the same size with these values.
    pub(super) fn with_values(&self, values: Vec<f32>) -> Self {
        Plane {
            width: self.width,
            height: self.height,
            values,
        }
    }

    /// Returns the pixel, or the nearest border pixel.
    pub(super) fn at(&self, x: isize, y: isize) -> f32 {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.values[y * self.width + x]
    }

    /// Samples bilinearly, with the border repeated.
    pub(super) fn sample(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        let (left, top) = (left as isize, top as isize);
        let row = |y: isize| self.at(left, y) * (1.0 - fx) + self.at(left + 1, y) * fx;
        row(top) * (1.0 - fy) + row(top + 1) * fy
    }

    /// Box-blurs over squares of `2 radius + 1` pixels a side, with the border reflected.
    pub fn blurred(&self, radius: usize) -> Plane {
        self.mean_of_rows(radius)
            .transposed()
            .mean_of_rows(radius)
            .transposed()
    }

    /// Box-blurs the rows over `2 radius + 1` pixels, with the border reflected.
    pub fn mean_of_rows(&self, radius: usize) -> Plane {
        let r = radius as isize;
        let mut values = Vec::with_capacity(self.values.len());
        for row in self.values.chunks_exact(self.width) {
            let last = self.width as isize - 1;
            let at = |x: isize| {
                let mirrored = if x < 0 {
                    -x - 1
                } else {
                    x.min(2 * last + 1 - x)
                };
                f64::from(row[mirrored.clamp(0, last) as usize])
            };
            let mut sum: f64 = (-r - 1..r).map(at).sum();
            for x in 0..self.width as isize {
                sum += at(x + r) - at(x - r - 1);
                values.push((sum / (2 * r + 1) as f64) as f32);
            }
        }
        self.with_values(values)
    }

    /// Returns the transpose.
    pub fn transposed(&self) -> Plane {
        let values = (0..self.values.len())
            .map(|i| self.values[i % self.height * self.width + i / self.height]);
        Plane {
            width: self.height,
            height: self.width,
            values: values.collect(),
        }
    }

    /// Halves the size; each pixel is the mean of four.
    pub(super) fn half(&self) -> Plane {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let pixel = |i: usize| {
            let (x, y) = ((i % width * 2) as isize, (i / width * 2) as isize);
            (self.at(x, y) + self.at(x + 1, y) + self.at(x, y + 1) + self.at(x + 1, y + 1)) / 4.0
        };
        Plane {
            width,
            height,
            values: (0..width * height).map(pixel).collect(),
        }
    }
}
