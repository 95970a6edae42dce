//! The pinhole camera: rays through the frame, and projection of points into it.

use super::scene::Camera;
use super::vector::{V3, add, cross, dot, scale, sub, unit};

/// The point that the camera looks at.
pub(crate) const TARGET: V3 = [0.0, 0.25, 0.0];
/// Tangent of half the vertical field of view. At the default distance, about four table units are in view.
pub(crate) const TAN_HALF_FOV: f32 = 0.245;

impl Default for Camera {
    /// Looks from the front, 30 degrees above the table, 8 units away.
    fn default() -> Self {
        Camera {
            azimuth: 0.0,
            elevation: std::f32::consts::FRAC_PI_6,
            distance: 8.0,
        }
    }
}

/// The camera's position and orientation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Position of the pinhole.
    pub(crate) eye: V3,
    /// Unit vector to the right of the frame.
    pub(crate) right: V3,
    /// Unit vector to the top of the frame.
    pub(crate) up: V3,
    /// Unit vector along the view axis.
    pub(crate) forward: V3,
}

impl View {
    /// Returns the direction of the ray through `u` from the left and `v` from the top, both 0 to 1.
    #[inline(always)]
    pub(crate) fn direction(&self, aspect: f32, u: f32, v: f32) -> V3 {
        let (x, y) = (
            (2.0 * u - 1.0) * TAN_HALF_FOV * aspect,
            (1.0 - 2.0 * v) * TAN_HALF_FOV,
        );
        let sideways = add(scale(self.right, x), scale(self.up, y));
        unit(add(self.forward, sideways))
    }
}

impl Camera {
    /// Returns the camera's position and orientation.
    pub(crate) fn view(&self) -> View {
        let (sin, cos) = self.azimuth.sin_cos();
        let (rise, level) = self.elevation.sin_cos();
        let backward = [sin * level, rise, cos * level];
        let right = [cos, 0.0, -sin];
        View {
            eye: add(TARGET, scale(backward, self.distance)),
            right,
            up: cross(backward, right),
            forward: scale(backward, -1.0),
        }
    }

    /// Projects `point` into a frame of aspect ratio `aspect` (width over height). Returns its position from the left and
    /// from the top, 0 to 1 within the frame, and its depth along the view axis, in table units. A point beside or behind the
    /// camera has a depth of 0 or less and no valid position.
    pub fn project(&self, aspect: f32, point: [f32; 3]) -> [f32; 3] {
        let view = self.view();
        let from = sub(point, view.eye);
        let depth = dot(from, view.forward);
        let half = TAN_HALF_FOV * depth;
        [
            0.5 + 0.5 * dot(from, view.right) / (half * aspect),
            0.5 - 0.5 * dot(from, view.up) / half,
            depth,
        ]
    }

    /// Returns the eye and the direction of the ray through `u` from the left and `v` from the top, both 0 to 1.
    #[cfg(test)]
    pub(crate) fn ray(&self, aspect: f32, u: f32, v: f32) -> (V3, V3) {
        let view = self.view();
        (view.eye, view.direction(aspect, u, v))
    }
}
