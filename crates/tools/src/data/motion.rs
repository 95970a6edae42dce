//! Motion between two images: dense optical flow (pyramidal Lucas-Kanade) and the camera motion in it.

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

    fn with(&self, values: Vec<f32>) -> Self {
        Plane {
            width: self.width,
            height: self.height,
            values,
        }
    }

    /// Returns the pixel, or the nearest border pixel.
    fn at(&self, x: isize, y: isize) -> f32 {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.values[y * self.width + x]
    }

    /// Samples bilinearly, with the border repeated.
    fn sample(&self, x: f32, y: f32) -> f32 {
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
        self.with(values)
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
    fn half(&self) -> Plane {
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

/// Optical flow: the displacement of each pixel from one image to another.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Displacement to the right, in pixels.
    pub x: Vec<f32>,
    /// Displacement down, in pixels.
    pub y: Vec<f32>,
}

/// Radius of the window in which motion is assumed constant, in pixels.
const WINDOW: usize = 3;
/// Iterations on each level of the pyramid.
const ITERATIONS: usize = 4;
/// Minimum shorter side of the pyramid's coarser levels, in pixels.
const COARSEST: usize = 12;
/// Ridge regularisation, which keeps windows without texture near the coarser level's estimate.
const RIDGE: f32 = 1e-4;

/// Estimates the flow from `a` to `b`, which have one size.
pub fn flow(a: &Plane, b: &Plane) -> Flow {
    assert_eq!(
        (a.width, a.height),
        (b.width, b.height),
        "pictures of one size"
    );
    let mut levels = vec![(a.clone(), b.clone())];
    while levels
        .last()
        .is_some_and(|(a, _)| a.width.min(a.height) >= 2 * COARSEST)
    {
        let (a, b) = levels.last().expect("there is a first level");
        levels.push((a.half(), b.half()));
    }
    let (coarsest, _) = levels.last().expect("there is a first level");
    let mut found = Flow::edit_cases(coarsest.width, coarsest.height);
    for (a, b) in levels.iter().rev() {
        found = found.scaled(a.width, a.height);
        for _ in 0..ITERATIONS {
            found.refine(a, b);
        }
    }
    found
}

impl Flow {
    fn edit_cases(width: usize, height: usize) -> Flow {
        Flow {
            width,
            height,
            x: vec![0.0; width * height],
            y: vec![0.0; width * height],
        }
    }

    /// Upsamples the flow to the next finer level; a flow of that size is returned unchanged.
    fn scaled(self, width: usize, height: usize) -> Flow {
        if (self.width, self.height) == (width, height) {
            return self;
        }
        let (w, h) = (self.width, self.height);
        let up = |values: Vec<f32>| {
            let coarse = Plane {
                width: w,
                height: h,
                values,
            };
            let pixel = |i: usize| {
                let (x, y) = (
                    (i % width) as f32 / 2.0 - 0.25,
                    (i / width) as f32 / 2.0 - 0.25,
                );
                2.0 * coarse.sample(x, y)
            };
            (0..width * height).map(pixel).collect()
        };
        Flow {
            width,
            height,
            x: up(self.x),
            y: up(self.y),
        }
    }

    /// Applies one Gauss-Newton step to every window.
    fn refine(&mut self, a: &Plane, b: &Plane) {
        let warped = self.warped(b);
        let n = a.values.len();
        let mut products: [Vec<f32>; 5] = Default::default();
        for i in 0..n {
            let (x, y) = ((i % a.width) as isize, (i / a.width) as isize);
            let slope = |p: &Plane, dx: isize, dy: isize| {
                (p.at(x + dx, y + dy) - p.at(x - dx, y - dy)) / 2.0
            };
            let gx = (slope(a, 1, 0) + slope(&warped, 1, 0)) / 2.0;
            let gy = (slope(a, 0, 1) + slope(&warped, 0, 1)) / 2.0;
            let gt = warped.values[i] - a.values[i];
            let here = [gx * gx, gx * gy, gy * gy, gx * gt, gy * gt];
            for (values, value) in products.iter_mut().zip(here) {
                values.push(value);
            }
        }
        let sums: Vec<Plane> = products
            .into_iter()
            .map(|values| a.with(values).blurred(WINDOW))
            .collect();
        for i in 0..n {
            let [xx, xy, yy, xt, yt]: [f32; 5] = std::array::from_fn(|k| sums[k].values[i]);
            let (xx, yy) = (xx + RIDGE, yy + RIDGE);
            let determinant = xx * yy - xy * xy;
            self.x[i] -= ((yy * xt - xy * yt) / determinant).clamp(-1.0, 1.0);
            self.y[i] -= ((xx * yt - xy * xt) / determinant).clamp(-1.0, 1.0);
        }
        self.x = a.with(std::mem::take(&mut self.x)).blurred(1).values;
        self.y = a.with(std::mem::take(&mut self.y)).blurred(1).values;
    }

    /// Warps `b` to `a` along the flow.
    pub fn warped(&self, b: &Plane) -> Plane {
        let pixel = |i: usize| {
            let (x, y) = ((i % self.width) as f32, (i / self.width) as f32);
            b.sample(x + self.x[i], y + self.y[i])
        };
        b.with((0..b.values.len()).map(pixel).collect())
    }

    /// Estimates the camera motion: the affine motion of most of the image.
    pub fn camera(&self) -> Camera {
        let mut weights = vec![1f32; self.x.len()];
        let mut camera = Camera::default();
        // Iteratively reweighted least squares (Cauchy weights) suppresses objects that move on their own.
        for _ in 0..12 {
            let Some(fitted) = Camera::fit(self, &weights) else {
                return camera;
            };
            camera = fitted;
            let off: Vec<f32> = self.against(&camera);
            let mut sorted = off.clone();
            let middle = sorted.len() / 2;
            let (_, median, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
            let scale = median.max(0.05);
            weights = off
                .iter()
                .map(|off| 1.0 / (1.0 + (off / scale).powi(2)))
                .collect();
        }
        camera
    }

    /// Returns the distance of each pixel's displacement from the camera motion, in pixels.
    pub fn against(&self, camera: &Camera) -> Vec<f32> {
        let off = |i: usize| {
            let [x, y] = camera.at((i % self.width) as f32, (i / self.width) as f32);
            (self.x[i] - x).hypot(self.y[i] - y)
        };
        (0..self.x.len()).map(off).collect()
    }
}

/// Affine motion of the whole image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Camera {
    /// Displacement to the right: a constant, then the change per pixel to the right and per pixel down.
    pub x: [f32; 3],
    /// Displacement down, likewise.
    pub y: [f32; 3],
}

impl Camera {
    /// Returns the displacement of a pixel.
    pub fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let along = |p: &[f32; 3]| p[0] + p[1] * x + p[2] * y;
        [along(&self.x), along(&self.y)]
    }

    /// Maps a point to its place after the motion.
    pub fn forward(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let [dx, dy] = self.at(x, y);
        [x + dx, y + dy]
    }

    /// Maps a point to its place before the motion, the inverse of [`Camera::forward`].
    pub fn back(&self, to: [f32; 2]) -> [f32; 2] {
        // A few fixed-point iterations suffice, as the displacement changes little from pixel to pixel.
        let mut from = to;
        for _ in 0..4 {
            let [dx, dy] = self.at(from[0], from[1]);
            from = [to[0] - dx, to[1] - dy];
        }
        from
    }

    /// Returns the mean length of the displacements over an image, in pixels.
    pub fn length(&self, width: usize, height: usize) -> f32 {
        const SIDE: usize = 8;
        let length = |i: usize| {
            let [x, y] = self.at(
                ((i % SIDE) * width.saturating_sub(1)) as f32 / (SIDE - 1) as f32,
                ((i / SIDE) * height.saturating_sub(1)) as f32 / (SIDE - 1) as f32,
            );
            x.hypot(y)
        };
        (0..SIDE * SIDE).map(length).sum::<f32>() / (SIDE * SIDE) as f32
    }

    /// Fits the motion by weighted least squares; `None` when the system is singular.
    fn fit(flow: &Flow, weights: &[f32]) -> Option<Camera> {
        let (mut m, mut x, mut y) = ([[0f64; 3]; 3], [0f64; 3], [0f64; 3]);
        for (i, &weight) in weights.iter().enumerate() {
            let terms = [1.0, (i % flow.width) as f64, (i / flow.width) as f64];
            for r in 0..3 {
                let term = f64::from(weight) * terms[r];
                (0..3).for_each(|c| m[r][c] += term * terms[c]);
                x[r] += term * f64::from(flow.x[i]);
                y[r] += term * f64::from(flow.y[i]);
            }
        }
        Some(Camera {
            x: solve(m, x)?,
            y: solve(m, y)?,
        })
    }
}

/// Solves a 3 x 3 linear system by Gauss-Jordan elimination with pivoting; `None` when it is singular.
fn solve(mut m: [[f64; 3]; 3], mut v: [f64; 3]) -> Option<[f32; 3]> {
    for k in 0..3 {
        let pivot = (k..3).max_by(|&a, &b| m[a][k].abs().total_cmp(&m[b][k].abs()))?;
        m.swap(k, pivot);
        v.swap(k, pivot);
        if m[k][k].abs() < 1e-9 {
            return None;
        }
        for r in 0..3 {
            if r != k {
                let factor = m[r][k] / m[k][k];
                (0..3).for_each(|c| m[r][c] -= factor * m[k][c]);
                v[r] -= factor * v[k];
            }
        }
    }
    Some(std::array::from_fn(|k| (v[k] / m[k][k]) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a smooth texture that is defined between pixels.
    fn texture(x: f32, y: f32) -> f32 {
        let wave = |a: f32, b: f32, c: f32| (a * x + b * y + c).sin();
        0.5 + 0.15 * (wave(0.31, 0.12, 0.0) + wave(-0.17, 0.27, 1.0) + wave(0.05, -0.41, 2.0))
    }

    fn plane(width: usize, height: usize, value: impl Fn(f32, f32) -> f32) -> Plane {
        let values = (0..width * height)
            .map(|i| value((i % width) as f32, (i / width) as f32))
            .collect();
        Plane {
            width,
            height,
            values,
        }
    }

    /// Returns the mean distance from the expected displacement, away from the border.
    fn error(flow: &Flow, expected: impl Fn(f32, f32) -> [f32; 2]) -> f32 {
        let (mut sum, mut count) = (0.0, 0.0);
        for y in 10..flow.height - 10 {
            for x in 10..flow.width - 10 {
                let [u, v] = expected(x as f32, y as f32);
                let i = y * flow.width + x;
                sum += (flow.x[i] - u).hypot(flow.y[i] - v);
                count += 1.0;
            }
        }
        sum / count
    }

    #[test]
    fn a_known_shift_is_found() {
        let a = plane(96, 72, texture);
        for (u, v) in [(0.0, 0.0), (0.4, -0.3), (3.0, 2.0), (-5.5, 4.25)] {
            let b = plane(96, 72, |x, y| texture(x - u, y - v));
            let found = flow(&a, &b);
            let off = error(&found, |_, _| [u, v]);
            assert!(off < 0.12, "{u}, {v}: off by {off}");
        }
    }

    #[test]
    fn a_known_zoom_is_the_cameras() {
        let a = plane(96, 72, texture);
        let zoom = |x: f32, y: f32| [0.05 * (x - 48.0), 0.05 * (y - 36.0)];
        let b = plane(96, 72, |x, y| {
            texture(48.0 + (x - 48.0) / 1.05, 36.0 + (y - 36.0) / 1.05)
        });
        let found = flow(&a, &b);
        assert!(error(&found, zoom) < 0.12);
        let camera = found.camera();
        for (x, y) in [(20.0, 20.0), (70.0, 50.0), (48.0, 36.0)] {
            let [u, v] = camera.at(x, y);
            let [p, q] = zoom(x, y);
            assert!((u - p).hypot(v - q) < 0.12, "{x},{y}: {u},{v} for {p},{q}");
            let [x_again, y_again] = camera.back(camera.forward([x, y]));
            assert!((x_again - x).hypot(y_again - y) < 1e-2);
        }
    }

    #[test]
    fn a_thing_that_moves_on_its_own_stands_out_from_the_camera() {
        let inside = |x: f32, y: f32| (30.0..50.0).contains(&x) && (25.0..45.0).contains(&y);
        let thing = |x: f32, y: f32| 0.5 + 0.4 * ((0.8 * x).sin() * (0.7 * y).cos());
        let a = plane(96, 72, |x, y| {
            if inside(x, y) {
                thing(x, y)
            } else {
                texture(x, y)
            }
        });
        // The camera shifts everything by 2, 1; the object moves 5 to the right of that.
        let b = plane(96, 72, |x, y| {
            if inside(x - 7.0, y - 1.0) {
                thing(x - 7.0, y - 1.0)
            } else {
                texture(x - 2.0, y - 1.0)
            }
        });
        let found = flow(&a, &b);
        let camera = found.camera();
        let [u, v] = camera.at(80.0, 60.0);
        assert!((u - 2.0).hypot(v - 1.0) < 0.3, "camera {u}, {v}");
        let off = found.against(&camera);
        let mean = |keep: &dyn Fn(f32, f32) -> bool| {
            let chosen: Vec<f32> = (0..off.len())
                .filter(|i| keep((i % 96) as f32, (i / 96) as f32))
                .map(|i| off[i])
                .collect();
            chosen.iter().sum::<f32>() / chosen.len() as f32
        };
        let there = mean(&|x, y| (34.0..46.0).contains(&x) && (29.0..41.0).contains(&y));
        let elsewhere = mean(&|x, y| !(22.0..66.0).contains(&x) && (8.0..64.0).contains(&y));
        assert!(there > 3.0 && elsewhere < 0.5, "{there} and {elsewhere}");
    }

    #[test]
    fn nothing_to_see_is_no_motion_and_tiny_pictures_are_taken() {
        for (w, h) in [(1, 1), (1, 9), (30, 2), (40, 40)] {
            let grey = plane(w, h, |_, _| 0.5);
            let found = flow(&grey, &grey);
            assert!(found.x.iter().chain(&found.y).all(|d| d.abs() < 1e-6));
            assert!(found.camera().length(w, h) < 1e-4);
        }
    }
}
