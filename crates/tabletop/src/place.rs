//! Extents, support, collisions and visibility of objects. The visibility estimates treat every object as an upright
//! ellipsoid, which is enough to draw scenes; the renderer gives the ground truth per pixel.

use super::camera::{TAN_HALF_FOV, View};
use super::scene::{Camera, Pose, Primitive, Scene, Shape, Solid};
use super::vector::{V3, along, axes, dot};

/// Minimum gap between objects, so that contact shadows stay apart.
const GAP: f32 = 0.06;

impl Pose {
    /// Returns the rest pose of this shape (see [`Shape`]), centred at the origin, turned by `yaw` about the vertical.
    pub fn upright(shape: Shape, yaw: f32) -> Pose {
        let (sin, cos) = (yaw / 2.0).sin_cos();
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let rotation = match shape {
            // A quarter turn about z lays the axis along x; the yaw follows.
            Shape::Capsule => [-sin * half, sin * half, -cos * half, cos * half],
            _ => [0.0, sin, 0.0, cos],
        };
        Pose {
            position: [0.0; 3],
            rotation,
        }
    }
}

impl Solid {
    /// Returns the direction of the object's own axis.
    pub fn axis(&self) -> [f32; 3] {
        axes(self.pose.rotation)[1]
    }

    /// Returns the heights of the lowest and the highest point above the table.
    pub fn heights(&self) -> (f32, f32) {
        let centre = self.pose.position[1];
        let along = self.axis()[1];
        let across = (1.0 - along * along).max(0.0).sqrt();
        let (down, up) = match self.primitive() {
            Primitive::Sphere(radius) => (radius, radius),
            Primitive::Cube(half) => {
                let reach = axes(self.pose.rotation).map(|side| side[1].abs());
                let extent = half * reach.iter().sum::<f32>();
                (extent, extent)
            }
            Primitive::Cylinder(radius, half) => {
                let extent = half * along.abs() + radius * across;
                (extent, extent)
            }
            Primitive::Cone(radius, half) => {
                let base = radius * across;
                let (apex, foot) = (half * along, -half * along);
                (-(foot - base).min(apex), (foot + base).max(apex))
            }
            Primitive::Torus(ring, tube) => (ring * across + tube, ring * across + tube),
            Primitive::Capsule(radius, half) => {
                let extent = half * along.abs() + radius;
                (extent, extent)
            }
        };
        (centre - down, centre + up)
    }

    /// Returns whether the object is stable in its orientation on a level table.
    pub(crate) fn is_balanced(&self) -> bool {
        let upright = self.axis()[1];
        match self.primitive() {
            Primitive::Sphere(_) => true,
            Primitive::Cube(_) => {
                let faces = axes(self.pose.rotation).map(|face| face[1].abs());
                faces.iter().any(|&face| face > 0.99)
            }
            Primitive::Cylinder(..) => upright.abs() > 0.99 || upright.abs() < 0.1,
            // For a cone on its side, the axis points down by half the apex angle.
            Primitive::Cone(radius, half) => {
                upright > 0.99 || (upright + radius / radius.hypot(2.0 * half)).abs() < 0.08
            }
            Primitive::Torus(..) => upright.abs() > 0.99,
            Primitive::Capsule(..) => upright.abs() < 0.1,
        }
    }

    /// Returns the radius of the vertical cylinder about the centre that contains the object in its orientation.
    pub fn footprint(&self) -> f32 {
        let upright = self.axis()[1].abs() > 0.97;
        match self.primitive() {
            Primitive::Sphere(radius) => radius,
            Primitive::Cube(half) => half * if upright { 2f32.sqrt() } else { 3f32.sqrt() },
            Primitive::Cylinder(radius, half) | Primitive::Cone(radius, half) => {
                if upright {
                    radius
                } else {
                    radius.hypot(half)
                }
            }
            Primitive::Torus(ring, tube) => ring + tube,
            Primitive::Capsule(radius, half) => radius + half,
        }
    }

    /// Moves the object over a point of the table, with its lowest point at height `base`; keeps its rotation.
    pub fn put(&mut self, [x, z]: [f32; 2], base: f32) {
        self.pose.position = [x, self.pose.position[1], z];
        self.pose.position[1] += base - self.heights().0;
    }

    /// Returns the radius of the flat top on which others can stand, if there is one.
    pub fn top(&self) -> Option<f32> {
        match self.primitive() {
            Primitive::Cube(half) if self.axis()[1].abs() > 0.99 => Some(half),
            Primitive::Cylinder(radius, _) if self.axis()[1].abs() > 0.99 => Some(radius),
            _ => None,
        }
    }

    /// Returns whether `other` can stand on it, above or near its centre.
    pub fn bears(&self, other: &Solid) -> bool {
        self.top()
            .is_some_and(|top| other.footprint() <= 1.4 * top && self.distance(other) <= 0.5 * top)
    }

    /// Returns the horizontal distance between the centres.
    pub fn distance(&self, other: &Solid) -> f32 {
        let (a, b) = (self.pose.position, other.pose.position);
        (a[0] - b[0]).hypot(a[2] - b[2])
    }

    /// Returns whether it stands on `other`.
    pub fn stands_on(&self, other: &Solid) -> bool {
        let (bottom, top) = (self.heights().0, other.heights().1);
        bottom > 0.1 && (bottom - top).abs() < 0.06 && self.distance(other) < other.footprint()
    }

    /// Returns whether two objects are too close; a conservative test of their vertical bounding cylinders.
    pub fn collides(&self, other: &Solid) -> bool {
        let (a, b) = (self.heights(), other.heights());
        a.0 < b.1 - 0.01
            && b.0 < a.1 - 0.01
            && self.distance(other) < self.footprint() + other.footprint() + GAP
    }

    /// Returns whether two objects have the same shape, colour, size and material, so that no description distinguishes them.
    pub fn resembles(&self, other: &Solid) -> bool {
        (self.shape, self.colour, self.size, self.material)
            == (other.shape, other.colour, other.size, other.material)
    }
}

impl Scene {
    /// Returns the object that object `index` stands on, if any.
    pub fn bearer(&self, index: usize) -> Option<usize> {
        let solid = &self.solids[index];
        (0..self.solids.len()).find(|&i| i != index && solid.stands_on(&self.solids[i]))
    }

    /// Returns whether every object rests on the table or on another and is stable by itself. None floats or leans on a
    /// neighbour, so that any neighbour can be removed.
    pub fn is_at_rest(&self) -> bool {
        (0..self.solids.len()).all(|i| {
            let solid = &self.solids[i];
            let borne = solid.heights().0.abs() < 0.05 || self.bearer(i).is_some();
            borne && solid.is_balanced()
        })
    }

    /// Returns whether all of object `index` lies within a square image.
    pub fn is_in_view(&self, index: usize) -> bool {
        let solid = &self.solids[index];
        let view = self.camera.view();
        let [u, v, depth] = self.camera.project(1.0, solid.pose.position);
        let [across, up] = half_extents(&view, solid).map(|e| 0.5 * e / (TAN_HALF_FOV * depth));
        let margin = 0.01;
        [u - across, v - up].iter().all(|&edge| edge > margin)
            && [u + across, v + up].iter().all(|&edge| edge < 1.0 - margin)
    }

    /// Estimates the share of object `index` that no other object hides, 0 to 1.
    pub fn visibility(&self, index: usize) -> f32 {
        const STEPS: i32 = 4;
        let solid = &self.solids[index];
        let view = self.camera.view();
        let depth = self.camera.project(1.0, solid.pose.position)[2];
        let [across, up] = half_extents(&view, solid).map(|e| 0.95 * e);
        let others: Vec<_> = (0..self.solids.len())
            .filter(|&i| i != index)
            .map(|i| &self.solids[i])
            .filter(|other| self.camera.project(1.0, other.pose.position)[2] < depth)
            .collect();
        let (mut seen, mut all) = (0, 0);
        for (i, j) in (-STEPS..=STEPS).flat_map(|i| (-STEPS..=STEPS).map(move |j| (i, j))) {
            if i * i + j * j > STEPS * STEPS {
                continue;
            }
            let (s, t) = (
                across * i as f32 / STEPS as f32,
                up * j as f32 / STEPS as f32,
            );
            let point = along(along(solid.pose.position, view.right, s), view.up, t);
            all += 1;
            seen += i32::from(!others.iter().any(|other| hides(view.eye, point, other)));
        }
        seen as f32 / all as f32
    }
}

/// Returns half the object's width and height as the camera sees it.
fn half_extents(view: &View, solid: &Solid) -> [f32; 2] {
    let (low, high) = solid.heights();
    let (flat, tall) = (solid.footprint(), (high - low) / 2.0);
    let tilt = view.up[1];
    let rise = (tall * tilt).hypot(flat * (1.0 - tilt * tilt).max(0.0).sqrt());
    [flat, rise]
}

/// Returns whether the ellipsoid of `solid` crosses the segment from `eye` to `point`.
fn hides(eye: V3, point: V3, solid: &Solid) -> bool {
    let (low, high) = solid.heights();
    let flat = 0.88 * solid.footprint();
    let scale = [flat, 0.97 * (high - low) / 2.0, flat];
    let centre = [
        solid.pose.position[0],
        (low + high) / 2.0,
        solid.pose.position[2],
    ];
    let from = [0, 1, 2].map(|i| (eye[i] - centre[i]) / scale[i]);
    let way = [0, 1, 2].map(|i| (point[i] - eye[i]) / scale[i]);
    let nearest = (-dot(from, way) / dot(way, way)).clamp(0.0, 1.0);
    let miss = [0, 1, 2].map(|i| from[i] + nearest * way[i]);
    dot(miss, miss) < 1.0
}

impl Camera {
    /// Converts a position to camera-aligned table coordinates: from the middle to the right, and towards the camera.
    pub fn table_axes(&self, position: [f32; 3]) -> [f32; 2] {
        let (sin, cos) = self.azimuth.sin_cos();
        let [x, _, z] = position;
        [x * cos - z * sin, x * sin + z * cos]
    }

    /// Returns the table's x and z of a point in the coordinates of [`Camera::table_axes`].
    pub fn table_point(&self, [across, towards]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.azimuth.sin_cos();
        [across * cos + towards * sin, towards * cos - across * sin]
    }
}
