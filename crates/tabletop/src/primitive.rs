//! Ray intersection with each `Primitive` in its own frame: centred at the origin, with its axis along y. The five convex
//! primitives have closed-form solutions. The torus is ray-marched by its exact distance, with a final Newton step.
//!
//! A ray hits a primitive where it enters it; a ray that starts inside must leave and enter again. Callers start rays near
//! the primitive (see `Stage`), where `f32` resolves 1e-6.

use super::scene::Primitive;
use super::vector::{V3, along, dot, unit};

/// The distance along the ray and the outward normal of a hit.
pub(crate) type Hit = Option<(f32, V3)>;

/// Distance to the torus at which ray marching ends.
const TOUCH: f32 = 2e-5;
/// Minimum marching step; without it, rays along the surface take ever shorter steps. The Newton step corrects an overshoot
/// into the torus; parts thinner than this are missed.
const SHORTEST: f32 = 2e-4;
/// Maximum number of marching steps; a ray that grazes the torus takes about forty.
const STEPS: u32 = 96;

impl Primitive {
    /// Returns the radius of the bounding sphere about the centre.
    pub(crate) fn bound(self) -> f32 {
        match self {
            Primitive::Sphere(radius) => radius,
            Primitive::Cube(half) => 3f32.sqrt() * half,
            Primitive::Cylinder(radius, half) | Primitive::Cone(radius, half) => radius.hypot(half),
            Primitive::Torus(ring, tube) => ring + tube,
            Primitive::Capsule(radius, half) => radius + half,
        }
    }

    /// Returns the first entry of the ray from `o` along the unit vector `d` beyond distance `near`, which may be negative.
    #[inline]
    pub(crate) fn hit(self, o: V3, d: V3, near: f32) -> Hit {
        match self {
            Primitive::Sphere(radius) => sphere(o, d, radius, near),
            Primitive::Cube(half) => cube(o, d, half, near),
            Primitive::Cylinder(radius, half) => cylinder(o, d, radius, half, near),
            Primitive::Cone(radius, half) => cone(o, d, radius, half, near),
            Primitive::Torus(ring, tube) => torus(o, d, ring, tube, near),
            Primitive::Capsule(radius, half) => capsule(o, d, radius, half, near),
        }
    }
}

/// Replaces a divisor near 0 by 1e-9.
#[inline(always)]
fn divisor(v: f32) -> f32 {
    if v.abs() < 1e-9 { 1e-9 } else { v }
}

fn sphere(o: V3, d: V3, radius: f32, near: f32) -> Hit {
    let b = dot(o, d);
    let square = b * b - dot(o, o) + radius * radius;
    if square <= 0.0 {
        return None;
    }
    let t = -b - square.sqrt();
    (t > near).then(|| (t, along(o, d, t).map(|v| v / radius)))
}

/// Intersects the ray's intervals between the three pairs of faces (slab method).
fn cube(o: V3, d: V3, half: f32, near: f32) -> Hit {
    let (mut enter, mut leave, mut axis) = (f32::MIN, f32::MAX, 0);
    for i in 0..3 {
        let inverse = 1.0 / divisor(d[i]);
        let (middle, width) = (-o[i] * inverse, half * inverse.abs());
        if middle - width > enter {
            (enter, axis) = (middle - width, i);
        }
        leave = leave.min(middle + width);
    }
    if enter >= leave || enter <= near {
        return None;
    }
    let mut normal = [0.0; 3];
    normal[axis] = if d[axis] > 0.0 { -1.0 } else { 1.0 };
    Some((enter, normal))
}

/// Intersects the ray's interval in the infinite cylinder with its interval between the two end planes.
fn cylinder(o: V3, d: V3, radius: f32, half: f32, near: f32) -> Hit {
    let a = (d[0] * d[0] + d[2] * d[2]).max(1e-12);
    let b = o[0] * d[0] + o[2] * d[2];
    let square = b * b - a * (o[0] * o[0] + o[2] * o[2] - radius * radius);
    if square <= 0.0 {
        return None;
    }
    let root = square.sqrt();
    let inverse = 1.0 / divisor(d[1]);
    let (middle, width) = (-o[1] * inverse, half * inverse.abs());
    let side = (-b - root) / a;
    let enter = side.max(middle - width);
    let leave = ((-b + root) / a).min(middle + width);
    if enter >= leave || enter <= near {
        return None;
    }
    if side < enter {
        return Some((enter, [0.0, if d[1] > 0.0 { -1.0 } else { 1.0 }, 0.0]));
    }
    let p = along(o, d, enter);
    Some((enter, [p[0] / radius, 0.0, p[2] / radius]))
}

/// Intersects the base, then the side `x^2 + z^2 = k (half - y)^2` with `k = (radius / height)^2` below the apex.
fn cone(o: V3, d: V3, radius: f32, half: f32, near: f32) -> Hit {
    let slope = radius / (2.0 * half);
    let k = slope * slope;
    let mut hit: Hit = None;
    // A ray enters the base from below.
    if d[1] > 1e-9 {
        let t = (-half - o[1]) / d[1];
        let p = along(o, d, t);
        if t > near && p[0] * p[0] + p[2] * p[2] < radius * radius {
            return Some((t, [0.0, -1.0, 0.0]));
        }
    }
    let down = half - o[1];
    let a = d[0] * d[0] + d[2] * d[2] - k * d[1] * d[1];
    let b = o[0] * d[0] + o[2] * d[2] + k * down * d[1];
    let c = o[0] * o[0] + o[2] * o[2] - k * down * down;
    let square = b * b - a * c;
    if square <= 0.0 {
        return None;
    }
    // The quadratic formula without cancellation; `a` is 0 for a ray as steep as the side.
    let q = -(b + if b < 0.0 {
        -square.sqrt()
    } else {
        square.sqrt()
    });
    for t in [q / divisor(a), c / divisor(q)] {
        let p = along(o, d, t);
        // The ray enters where the normal faces it. The height check excludes the mirrored cone above the apex.
        let normal = [p[0], k * (half - p[1]), p[2]];
        let first = hit.is_none_or(|(best, _)| t < best);
        if t > near && p[1].abs() <= half && dot(normal, d) < 0.0 && first {
            hit = Some((t, unit(normal)));
        }
    }
    hit
}

/// Intersects the infinite cylinder; where that hit is beyond the straight part, the sphere at that end.
fn capsule(o: V3, d: V3, radius: f32, half: f32, near: f32) -> Hit {
    let a = d[0] * d[0] + d[2] * d[2];
    let b = o[0] * d[0] + o[2] * d[2];
    let square = b * b - a * (o[0] * o[0] + o[2] * o[2] - radius * radius);
    if square <= 0.0 && a > 1e-9 {
        return None;
    }
    let mut end = if d[1] > 0.0 { -half } else { half };
    if a > 1e-9 {
        let t = (-b - square.sqrt()) / a;
        let y = o[1] + t * d[1];
        if y.abs() < half {
            let p = along(o, d, t);
            return (t > near).then(|| (t, [p[0] / radius, 0.0, p[2] / radius]));
        }
        end = if y > 0.0 { half } else { -half };
    }
    sphere([o[0], o[1] - end, o[2]], d, radius, near)
}

/// Returns the signed distance from a point to the torus, and its gradient.
#[inline(always)]
fn torus_distance(p: V3, ring: f32, tube: f32) -> (f32, V3) {
    let around = (p[0] * p[0] + p[2] * p[2]).max(1e-12).sqrt();
    let out = around - ring;
    let from = (out * out + p[1] * p[1]).max(1e-12).sqrt();
    let share = out / (around * from);
    (from - tube, [p[0] * share, p[1] / from, p[2] * share])
}

fn torus(o: V3, d: V3, ring: f32, tube: f32, near: f32) -> Hit {
    // Clip the ray to the bounding sphere and to the two planes that bound the torus.
    let b = dot(o, d);
    let outer = ring + tube;
    let square = b * b - dot(o, o) + outer * outer;
    if square <= 0.0 {
        return None;
    }
    let root = square.sqrt();
    let inverse = 1.0 / divisor(d[1]);
    let (middle, width) = (-o[1] * inverse, tube * inverse.abs());
    let leave = (-b + root).min(middle + width);
    let mut t = (-b - root).max(middle - width).max(near);
    for _ in 0..STEPS {
        if t >= leave {
            return None;
        }
        let p = along(o, d, t);
        let (distance, normal) = torus_distance(p, ring, tube);
        let towards = dot(normal, d);
        if distance < TOUCH && towards < 0.0 {
            // A Newton step covers the remaining distance. The slope is bounded, because it is near 0 at the outline.
            let exact = t - distance / towards.min(-0.02);
            let (_, normal) = torus_distance(along(o, d, exact), ring, tube);
            return (exact > near).then_some((exact, normal));
        }
        t += distance.max(SHORTEST);
    }
    None
}
