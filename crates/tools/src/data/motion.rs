//! Motion between two images: dense optical flow (pyramidal Lucas-Kanade) and the camera motion in it.

mod camera;

use super::plane::Plane;
pub use camera::Camera;

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
        "the images must have one size"
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
    let mut flow = Flow::zeros(coarsest.width, coarsest.height);
    for (a, b) in levels.iter().rev() {
        flow = flow.upsampled(a.width, a.height);
        for _ in 0..ITERATIONS {
            flow.refine(a, b);
        }
    }
    flow
}

impl Flow {
    fn zeros(width: usize, height: usize) -> Flow {
        Flow {
            width,
            height,
            x: vec![0.0; width * height],
            y: vec![0.0; width * height],
        }
    }

    /// Upsamples the flow to the next finer level; a flow of that size is returned unchanged.
    fn upsampled(self, width: usize, height: usize) -> Flow {
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
        // The structure tensor xx, xy, yy and its products with the temporal derivative, xt, yt.
        let mut products: [Vec<f32>; 5] = Default::default();
        for i in 0..n {
            let (x, y) = ((i % a.width) as isize, (i / a.width) as isize);
            let slope = |p: &Plane, dx: isize, dy: isize| {
                (p.at(x + dx, y + dy) - p.at(x - dx, y - dy)) / 2.0
            };
            let gx = (slope(a, 1, 0) + slope(&warped, 1, 0)) / 2.0;
            let gy = (slope(a, 0, 1) + slope(&warped, 0, 1)) / 2.0;
            let gt = warped.values[i] - a.values[i];
            let terms = [gx * gx, gx * gy, gy * gy, gx * gt, gy * gt];
            for (values, value) in products.iter_mut().zip(terms) {
                values.push(value);
            }
        }
        let sums: Vec<Plane> = products
            .into_iter()
            .map(|values| a.with_values(values).blurred(WINDOW))
            .collect();
        for i in 0..n {
            let [xx, xy, yy, xt, yt]: [f32; 5] = std::array::from_fn(|k| sums[k].values[i]);
            let (xx, yy) = (xx + RIDGE, yy + RIDGE);
            let determinant = xx * yy - xy * xy;
            self.x[i] -= ((yy * xt - xy * yt) / determinant).clamp(-1.0, 1.0);
            self.y[i] -= ((xx * yt - xy * xt) / determinant).clamp(-1.0, 1.0);
        }
        self.x = a.with_values(std::mem::take(&mut self.x)).blurred(1).values;
        self.y = a.with_values(std::mem::take(&mut self.y)).blurred(1).values;
    }

    /// Warps `b` to `a` along the flow.
    fn warped(&self, b: &Plane) -> Plane {
        let pixel = |i: usize| {
            let (x, y) = ((i % self.width) as f32, (i / self.width) as f32);
            b.sample(x + self.x[i], y + self.y[i])
        };
        b.with_values((0..b.values.len()).map(pixel).collect())
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
            let residuals = self.residuals(&camera);
            let mut sorted = residuals.clone();
            let middle = sorted.len() / 2;
            let (_, median, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
            let scale = median.max(0.05);
            let weight = |residual: &f32| 1.0 / (1.0 + (residual / scale).powi(2));
            weights = residuals.iter().map(weight).collect();
        }
        camera
    }

    /// Returns the distance of each pixel's displacement from the camera motion, in pixels.
    pub fn residuals(&self, camera: &Camera) -> Vec<f32> {
        let residual = |i: usize| {
            let [x, y] = camera.at((i % self.width) as f32, (i / self.width) as f32);
            (self.x[i] - x).hypot(self.y[i] - y)
        };
        (0..self.x.len()).map(residual).collect()
    }
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
    fn a_known_zoom_is_found_as_camera_motion() {
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
    fn a_moving_object_differs_from_the_camera_motion() {
        let inside = |x: f32, y: f32| (30.0..50.0).contains(&x) && (25.0..45.0).contains(&y);
        let object_texture = |x: f32, y: f32| 0.5 + 0.4 * ((0.8 * x).sin() * (0.7 * y).cos());
        let a = plane(96, 72, |x, y| {
            if inside(x, y) {
                object_texture(x, y)
            } else {
                texture(x, y)
            }
        });
        // The camera shifts everything by 2, 1; the object moves 5 to the right of that.
        let b = plane(96, 72, |x, y| {
            if inside(x - 7.0, y - 1.0) {
                object_texture(x - 7.0, y - 1.0)
            } else {
                texture(x - 2.0, y - 1.0)
            }
        });
        let found = flow(&a, &b);
        let camera = found.camera();
        let [u, v] = camera.at(80.0, 60.0);
        assert!((u - 2.0).hypot(v - 1.0) < 0.3, "camera {u}, {v}");
        let residuals = found.residuals(&camera);
        let mean = |within: &dyn Fn(f32, f32) -> bool| {
            let chosen: Vec<f32> = (0..residuals.len())
                .filter(|i| within((i % 96) as f32, (i / 96) as f32))
                .map(|i| residuals[i])
                .collect();
            chosen.iter().sum::<f32>() / chosen.len() as f32
        };
        let object = mean(&|x, y| (34.0..46.0).contains(&x) && (29.0..41.0).contains(&y));
        let background = mean(&|x, y| !(22.0..66.0).contains(&x) && (8.0..64.0).contains(&y));
        assert!(
            object > 3.0 && background < 0.5,
            "{object} and {background}"
        );
    }

    #[test]
    fn plain_and_tiny_images_have_no_motion() {
        for (w, h) in [(1, 1), (1, 9), (30, 2), (40, 40)] {
            let grey = plane(w, h, |_, _| 0.5);
            let found = flow(&grey, &grey);
            assert!(found.x.iter().chain(&found.y).all(|d| d.abs() < 1e-6));
            assert!(found.camera().length(w, h) < 1e-4);
        }
    }
}
