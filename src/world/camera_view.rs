//! The camera's axes and its projection onto a square picture.

use super::place::cross;
use super::scene::Camera;

/// Tangent of half the field of view.
const HALF_VIEW: f32 = 0.245;
/// What the camera looks at.
const TARGET: [f32; 3] = [0.0, 0.25, 0.0];

/// A camera's place and axes.
pub(crate) struct View {
    /// Where it stands.
    pub(crate) eye: [f32; 3],
    /// To the right of the picture.
    pub(crate) right: [f32; 3],
    /// To the top of the picture.
    pub(crate) up: [f32; 3],
    forward: [f32; 3],
}

impl View {
    pub(crate) fn new(camera: &Camera) -> View {
        let (sin, cos) = camera.azimuth.sin_cos();
        let (rise, flat) = camera.elevation.sin_cos();
        let back = [flat * sin, rise, flat * cos];
        let right = [cos, 0.0, -sin];
        let forward = back.map(|v| -v);
        View {
            eye: [0, 1, 2].map(|i| TARGET[i] + camera.distance * back[i]),
            right,
            up: cross(right, forward),
            forward,
        }
    }

    /// u and v of a point, 0 to 1 from the top left, and its depth.
    pub(crate) fn project(&self, point: [f32; 3]) -> [f32; 3] {
        let from = [0, 1, 2].map(|i| point[i] - self.eye[i]);
        let along = |axis: [f32; 3]| super::place::dot(from, axis);
        let depth = along(self.forward);
        let scale = self.scale(depth);
        [
            0.5 + scale * along(self.right),
            0.5 - scale * along(self.up),
            depth,
        ]
    }

    /// The part of the picture's side that a unit of length takes at this depth.
    pub(crate) fn scale(&self, depth: f32) -> f32 {
        0.5 / (HALF_VIEW * depth.max(1e-3))
    }
}
