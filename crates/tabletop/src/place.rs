//! Where solids stand: their extents, what bears what, and how much of each the camera sees. Estimates of visibility take
//! every solid for an upright ellipsoid, which is enough to draw scenes; truth about pixels comes from the renderer.

use super::camera::{HALF, View};
use super::scene::{Camera, Pose, Primitive, Scene, Shape, Solid};
use super::vector::{V3, along, axes, dot};

/// Gap that is left between solids, so that contact shadows stay apart.
const GAP: f32 = 0.06;

impl Pose {
    /// A solid of this shape at rest as [`Shape`] says, its centre at height 0, turned by `yaw` about the vertical.
    pub fn upright(shape: Shape, yaw: f32) -> Pose {
        let (sin, cos) = (yaw / 2.0).sin_cos();
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let rotation = match shape {
            // A quarter turn about z lays the axis along x, then the yaw.
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
    /// The direction of the solid's own axis.
    pub fn axis(&self) -> [f32; 3] {
        axes(self.pose.rotation)[1]
    }

    /// Heights of the lowest and of the highest point above the table.
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

    /// Whether it would stay as it is turned on a level table.
    pub(crate) fn is_balanced(&self) -> bool {
        let upright = self.axis()[1];
        match self.primitive() {
            Primitive::Sphere(_) => true,
            Primitive::Cube(_) => {
                let faces = axes(self.pose.rotation).map(|face| face[1].abs());
                faces.iter().any(|&face| face > 0.99)
            }
            Primitive::Cylinder(..) => upright.abs() > 0.99 || upright.abs() < 0.1,
            // On its side the axis points down by half the angle at the apex.
            Primitive::Cone(radius, half) => {
                upright > 0.99 || (upright + radius / radius.hypot(2.0 * half)).abs() < 0.08
            }
            Primitive::Torus(..) => upright.abs() > 0.99,
            Primitive::Capsule(..) => upright.abs() < 0.1,
        }
    }

    /// Radius of an upright cylinder about the centre that holds the solid as it lies.
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

    /// Puts it, turned as it is, over a point of the table so that its lowest point is at height `base`.
    pub fn put(&mut self, [x, z]: [f32; 2], base: f32) {
        self.pose.position = [x, self.pose.position[1], z];
        self.pose.position[1] += base - self.heights().0;
    }

    /// Radius of the flat top on which others can stand, if it has one.
    pub fn top(&self) -> Option<f32> {
        match self.primitive() {
            Primitive::Cube(half) if self.axis()[1].abs() > 0.99 => Some(half),
            Primitive::Cylinder(radius, _) if self.axis()[1].abs() > 0.99 => Some(radius),
            _ => None,
        }
    }

    /// Whether `other` could stand on it, over its centre or nearly so.
    pub fn bears(&self, other: &Solid) -> bool {
        self.top()
            .is_some_and(|top| other.footprint() <= 1.4 * top && self.distance(other) <= 0.5 * top)
    }

    /// Distance between the centres, seen from above.
    pub fn distance(&self, other: &Solid) -> f32 {
        let (a, b) = (self.pose.position, other.pose.position);
        (a[0] - b[0]).hypot(a[2] - b[2])
    }

    /// Whether it stands on `other`.
    pub fn stands_on(&self, other: &Solid) -> bool {
        let (bottom, top) = (self.heights().0, other.heights().1);
        bottom > 0.1 && (bottom - top).abs() < 0.06 && self.distance(other) < other.footprint()
    }

    /// Whether the two come too near to each other; cautious, by their upright cylinders.
    pub fn collides(&self, other: &Solid) -> bool {
        let (a, b) = (self.heights(), other.heights());
        a.0 < b.1 - 0.01
            && b.0 < a.1 - 0.01
            && self.distance(other) < self.footprint() + other.footprint() + GAP
    }

    /// Whether the two have the same shape, colour, size and material, so that words cannot tell them apart.
    pub fn resembles(&self, other: &Solid) -> bool {
        (self.shape, self.colour, self.size, self.material)
            == (other.shape, other.colour, other.size, other.material)
    }
}

impl Scene {
    /// The solid that solid `index` stands on, if any.
    pub fn bearer(&self, index: usize) -> Option<usize> {
        let solid = &self.solids[index];
        (0..self.solids.len()).find(|&i| i != index && solid.stands_on(&self.solids[i]))
    }

    /// Whether every solid lies on the table or on another as it would lie alone: nothing is in the air or leans on a
    /// neighbour, so that a neighbour can be taken away.
    pub fn is_at_rest(&self) -> bool {
        (0..self.solids.len()).all(|i| {
            let solid = &self.solids[i];
            let borne = solid.heights().0.abs() < 0.05 || self.bearer(i).is_some();
            borne && solid.is_balanced()
        })
    }

    /// Whether the whole of solid `index` lies within a square picture.
    pub fn is_in_view(&self, index: usize) -> bool {
        let solid = &self.solids[index];
        let view = self.camera.view();
        let [u, v, depth] = self.camera.project(1.0, solid.pose.position);
        let [across, up] = half_extents(&view, solid).map(|e| 0.5 * e / (HALF * depth));
        let margin = 0.01;
        [u - across, v - up].iter().all(|&edge| edge > margin)
            && [u + across, v + up].iter().all(|&edge| edge < 1.0 - margin)
    }

    /// About which part of solid `index` is not hidden by others, 0 to 1.
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

/// Half the solid's width and height as the camera sees it.
fn half_extents(view: &View, solid: &Solid) -> [f32; 2] {
    let (low, high) = solid.heights();
    let (flat, tall) = (solid.footprint(), (high - low) / 2.0);
    let tilt = view.up[1];
    let rise = (tall * tilt).hypot(flat * (1.0 - tilt * tilt).max(0.0).sqrt());
    [flat, rise]
}

/// Whether the ellipsoid that stands for `solid` crosses the way from `eye` to `point`.
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
    /// How far a point of the table lies to the right of the middle as the camera sees it, and how far towards the camera.
    pub fn table_axes(&self, position: [f32; 3]) -> [f32; 2] {
        let (sin, cos) = self.azimuth.sin_cos();
        let [x, _, z] = position;
        [x * cos - z * sin, x * sin + z * cos]
    }

    /// The table's x and z of a point given as [`Camera::table_axes`] gives it.
    pub fn table_point(&self, [across, towards]: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.azimuth.sin_cos();
        [across * cos + towards * sin, towards * cos - across * sin]
    }
}
