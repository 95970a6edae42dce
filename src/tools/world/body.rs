//! Solids as rays meet them: one closed form a shape. All are convex and stand on the table.

use super::render::Camera;
use super::scene::{Shape, Solid};

/// x to the right, y up, z towards the camera.
pub(super) type V3 = [f32; 3];

pub(super) fn dot(a: V3, b: V3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn along(o: V3, d: V3, t: f32) -> V3 {
    [o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]]
}

pub(super) fn unit(a: V3) -> V3 {
    let s = 1.0 / dot(a, a).sqrt();
    a.map(|v| v * s)
}

/// Hits nearer than this are the surface that the ray starts from.
const NEAR: f32 = 1e-4;

/// Where a ray first meets a solid: the distance in units of the direction, and the normal there.
pub(super) type Hit = Option<(f32, V3)>;

/// A solid, ready to be hit.
pub(super) struct Body {
    shape: Shape,
    pub(super) at: [f32; 2],
    /// Cosine and sine of the yaw.
    turn: [f32; 2],
    pub(super) radius: f32,
    pub(super) height: f32,
    /// A sphere about it, for shadows: its centre's height and its radius.
    pub(super) bound: [f32; 2],
    /// The box in the frame.
    pub(super) frame: [f32; 4],
    pub(super) albedo: V3,
}

impl Body {
    pub(super) fn new(solid: &Solid) -> Body {
        let (radius, height) = solid.extent();
        let half = height / 2.0;
        let bound = match solid.shape {
            Shape::Sphere => radius,
            _ => half.hypot(solid.footprint()),
        };
        let base = solid.colour.albedo();
        Body {
            shape: solid.shape,
            at: solid.position(),
            turn: [solid.yaw.cos(), solid.yaw.sin()],
            radius,
            height,
            bound: [half, bound],
            frame: Camera::outline(solid),
            albedo: std::array::from_fn(|c| (base[c] * solid.tint[c]).min(0.92)),
        }
    }

    /// The first hit in front of `o` along `d`. The undersides are left out: they lie on the table, where no ray arrives.
    pub(super) fn hit(&self, o: V3, d: V3) -> Hit {
        let o = [o[0] - self.at[0], o[1], o[2] - self.at[1]];
        let (r, h) = (self.radius, self.height);
        match self.shape {
            Shape::Sphere => sphere([o[0], o[1] - r, o[2]], d, r),
            Shape::Cube => {
                let [c, s] = self.turn;
                let into = |v: V3| [c * v[0] + s * v[2], v[1], c * v[2] - s * v[0]];
                let (t, n) = cube(into([o[0], o[1] - r, o[2]]), into(d), r)?;
                Some((t, [c * n[0] - s * n[2], n[1], s * n[0] + c * n[2]]))
            }
            Shape::Cylinder => cylinder(o, d, r, h),
            Shape::Cone => cone(o, d, r, h),
        }
    }
}

/// A sphere about the origin; `d` is a unit vector.
fn sphere(o: V3, d: V3, r: f32) -> Hit {
    let b = dot(o, d);
    let disc = b * b - dot(o, o) + r * r;
    let t = -b - disc.max(0.0).sqrt();
    (disc > 0.0 && t > NEAR).then(|| (t, along(o, d, t).map(|v| v / r)))
}

/// A cube of side `2 r` about the origin: the part of the ray that lies between all three pairs of faces.
fn cube(o: V3, d: V3, r: f32) -> Hit {
    let (mut enter, mut leave, mut axis) = (f32::MIN, f32::MAX, 0);
    for i in 0..3 {
        let inverse = 1.0 / d[i];
        let (middle, half) = (-o[i] * inverse, r * inverse.abs());
        if middle - half > enter {
            (enter, axis) = (middle - half, i);
        }
        leave = leave.min(middle + half);
    }
    (enter < leave && enter > NEAR).then(|| {
        let mut n = [0.0; 3];
        n[axis] = -d[axis].signum();
        (enter, n)
    })
}

/// The side and the top of a cylinder that stands on the origin.
fn cylinder(o: V3, d: V3, r: f32, h: f32) -> Hit {
    let top = (h - o[1]) / d[1];
    let lid = along(o, d, top);
    if d[1] < 0.0 && top > NEAR && lid[0] * lid[0] + lid[2] * lid[2] < r * r {
        return Some((top, [0.0, 1.0, 0.0]));
    }
    let a = d[0] * d[0] + d[2] * d[2];
    let b = o[0] * d[0] + o[2] * d[2];
    let disc = b * b - a * (o[0] * o[0] + o[2] * o[2] - r * r);
    let t = (-b - disc.max(0.0).sqrt()) / a;
    let p = along(o, d, t);
    (disc > 0.0 && t > NEAR && (0.0..=h).contains(&p[1])).then(|| (t, [p[0] / r, 0.0, p[2] / r]))
}

/// The side of a cone that stands on the origin: `x^2 + z^2 = k (h - y)^2` with `k = (r / h)^2`.
fn cone(o: V3, d: V3, r: f32, h: f32) -> Hit {
    let k = (r / h) * (r / h);
    let down = h - o[1];
    let a = d[0] * d[0] + d[2] * d[2] - k * d[1] * d[1];
    let b = o[0] * d[0] + o[2] * d[2] + k * down * d[1];
    let disc = b * b - a * (o[0] * o[0] + o[2] * o[2] - k * down * down);
    if disc <= 0.0 {
        return None;
    }
    // Either root may lie on the mirror image above the apex, or below the table.
    let root = disc.sqrt();
    let t = [(-b - root) / a, (-b + root) / a]
        .into_iter()
        .filter(|&t| t > NEAR && (0.0..=h).contains(&(o[1] + t * d[1])))
        .fold(f32::MAX, f32::min);
    let p = along(o, d, t);
    (t < f32::MAX).then(|| (t, unit([p[0], k * (h - p[1]), p[2]])))
}
