//! Camera motion: the affine motion of the whole image.

use super::Flow;

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
        // The displacement is affine, so a coarse grid gives the mean.
        const GRID: usize = 8;
        let along =
            |i: usize, pixels: usize| (i * pixels.saturating_sub(1)) as f32 / (GRID - 1) as f32;
        let length = |i: usize| {
            let [x, y] = self.at(along(i % GRID, width), along(i / GRID, height));
            x.hypot(y)
        };
        (0..GRID * GRID).map(length).sum::<f32>() / (GRID * GRID) as f32
    }

    /// Fits the motion by weighted least squares; `None` when the system is singular.
    pub(super) fn fit(flow: &Flow, weights: &[f32]) -> Option<Camera> {
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
