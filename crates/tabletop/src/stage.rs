//! A scene prepared for ray tracing: the objects with their bounding spheres in SIMD layout, the table, the backdrop, the sky
//! and the lamp. Intersects rays, tests shadows, and gives the light of the sky and the lamp.

use super::camera::View;
use super::scene::{Backdrop, Ground, MAX_SOLIDS, Material, Primitive, Scene, Solid, Tone};
use super::surface::{self, Surface};
use super::vector::{V3, add, along, axes, cross, dot, mix, mul, scale, sub, unit};

/// Number of bounding spheres, which are tested four at a time.
pub(crate) const LANES: usize = 8;
/// z of the table's back edge, where the wall stands.
pub(crate) const TABLE_BACK: f32 = -3.0;
/// Height of the wall: above the view of any camera, below the light of the sky.
pub(crate) const WALL_HEIGHT: f32 = 4.0;
/// Radius of the lamp at distance 1 (the tangent of half its angular width): an object of height 1 gets a penumbra of about
/// 0.25.
pub(crate) const LAMP_RADIUS: f32 = 0.14;
/// Light of the lamp that a white surface facing it reflects, at strength 1.
const KEY: V3 = [2.45, 2.32, 2.12];
/// Light of the sky from low and from high directions.
const SKY: [V3; 2] = [[0.50, 0.52, 0.54], [0.32, 0.38, 0.48]];
/// Maximum distance along a ray.
pub(crate) const FAR: f32 = 100.0;

/// An object prepared for ray intersection.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) primitive: Primitive,
    /// Directions of its own x, y and z axes.
    pub(crate) axes: [V3; 3],
    pub(crate) albedo: V3,
    /// Reflectance of its coat at normal incidence; 0 without a coat.
    pub(crate) coat: f32,
    pub(crate) mirror: bool,
}

/// Bounding spheres of the bodies. An unused lane has a squared radius of -1, so that no ray hits it.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) x: [f32; LANES],
    pub(crate) y: [f32; LANES],
    pub(crate) z: [f32; LANES],
    pub(crate) radius: [f32; LANES],
    /// Squared radius.
    pub(crate) square: [f32; LANES],
}

/// The lamp: a disc of directions.
#[derive(Clone, Debug)]
pub(crate) struct Lamp {
    /// Unit vector towards its centre.
    pub(crate) direction: V3,
    /// Horizontal vector with the length of its radius.
    pub(crate) side: V3,
    /// Vector perpendicular to `side` with the length of its radius.
    pub(crate) up: V3,
    /// Light that a white surface facing it reflects.
    pub(crate) key: V3,
}

/// A scene prepared for ray tracing.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) view: View,
    pub(crate) bodies: Vec<Body>,
    pub(crate) bounds: Bounds,
    pub(crate) lamp: Lamp,
    pub(crate) ground: Ground,
    pub(crate) ground_albedo: V3,
    pub(crate) backdrop: Backdrop,
    pub(crate) backdrop_albedo: V3,
    /// Light of the sky from low and from high directions.
    pub(crate) sky: [V3; 2],
    /// Ambient light from below and from above, for the last surface of a path.
    pub(crate) ambient: [V3; 2],
}

/// What a ray can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The table.
    Ground,
    /// The wall behind it.
    Wall,
    /// An object, by its index in the scene.
    Solid(usize),
}

/// An intersection of a ray with the scene.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intersection {
    /// Distance along the ray.
    pub(crate) distance: f32,
    /// The outward normal.
    pub(crate) normal: V3,
    pub(crate) target: Target,
}

impl Body {
    fn new(solid: &Solid) -> Body {
        let base = solid.colour.albedo();
        let albedo = std::array::from_fn(|c| (base[c] * solid.tint[c]).clamp(0.0, 0.92));
        Body {
            primitive: solid.primitive(),
            axes: axes(solid.pose.rotation),
            albedo: match solid.material {
                Material::Mirror => metal(albedo),
                _ => albedo,
            },
            coat: match solid.material {
                Material::Glossy => 0.06,
                _ => 0.0,
            },
            mirror: solid.material == Material::Mirror,
        }
    }

    /// As [`Primitive::hit`], with `o` and `d` along the scene's axes and `o` relative to the body's centre. The normal is
    /// along the body's own axes.
    #[inline(always)]
    fn hit(&self, o: V3, d: V3, near: f32) -> Option<(f32, V3)> {
        let to_own = |v: V3| self.axes.map(|axis| dot(axis, v));
        self.primitive.hit(to_own(o), to_own(d), near)
    }

    /// Rotates a vector from the body's own axes to the scene's.
    #[inline(always)]
    fn to_scene(&self, v: V3) -> V3 {
        let [x, y, z] = self.axes;
        add(add(scale(x, v[0]), scale(y, v[1])), scale(z, v[2]))
    }
}

/// Returns the reflectance of a mirror: the lightest shade of its colour. A mirror reflects surroundings that are darker than a
/// lit surface, so without this a red mirror would look brown.
fn metal(albedo: V3) -> V3 {
    let brightest = albedo.into_iter().fold(0.0, f32::max);
    let lighter = scale(albedo, (0.95 / brightest.max(0.01)).min(2.5));
    mix(lighter, [1.0; 3], 0.05)
}

impl Bounds {
    fn new(solids: &[Solid]) -> Bounds {
        let lane = |value: &dyn Fn(&Solid) -> f32, none: f32| {
            std::array::from_fn(|i| solids.get(i).map_or(none, value))
        };
        Bounds {
            x: lane(&|s| s.pose.position[0], 0.0),
            y: lane(&|s| s.pose.position[1], 0.0),
            z: lane(&|s| s.pose.position[2], 0.0),
            radius: lane(&|s| 1.0001 * s.primitive().bound(), 0.0),
            square: lane(&|s| (1.0001 * s.primitive().bound()).powi(2), -1.0),
        }
    }

    /// Tests a ray against all bounding spheres. Returns a mask whose bit i says that the ray may hit body i, and the
    /// distance along the ray to the point nearest each centre.
    #[inline(always)]
    pub(crate) fn candidates(&self, o: V3, d: V3) -> (u32, [f32; LANES]) {
        let mut passes = [0.0; LANES];
        let mut mask = self.four_candidates(0, o, d, &mut passes);
        if self.square[4] > 0.0 {
            mask |= self.four_candidates(4, o, d, &mut passes);
        }
        (mask, passes)
    }

    /// As [`Bounds::candidates`], for four lanes from `first`: one SIMD vector.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "six arrays side by side")]
    fn four_candidates(&self, first: usize, o: V3, d: V3, passes: &mut [f32; LANES]) -> u32 {
        let mut mask = 0;
        for i in first..first + 4 {
            let [x, y, z] = [self.x[i] - o[0], self.y[i] - o[1], self.z[i] - o[2]];
            let pass = x * d[0] + y * d[1] + z * d[2];
            let miss = x * x + y * y + z * z - pass * pass;
            passes[i] = pass;
            mask |= u32::from((miss < self.square[i]) & (pass > -self.radius[i])) << i;
        }
        mask
    }

    #[inline(always)]
    pub(crate) fn centre(&self, i: usize) -> V3 {
        [self.x[i], self.y[i], self.z[i]]
    }
}

impl Lamp {
    fn new(light: &super::scene::Light) -> Lamp {
        let (sin, cos) = light.azimuth.sin_cos();
        let (rise, level) = light.elevation.sin_cos();
        let direction = [sin * level, rise, cos * level];
        let side = [cos, 0.0, -sin];
        Lamp {
            direction,
            side: scale(side, LAMP_RADIUS),
            up: scale(cross(direction, side), LAMP_RADIUS),
            key: scale(KEY, light.strength.max(0.0)),
        }
    }

    /// Returns the direction to a point of the lamp, given in a disc of radius 1.
    #[inline(always)]
    pub(crate) fn towards(&self, [x, y]: [f32; 2]) -> V3 {
        unit(along(along(self.direction, self.side, x), self.up, y))
    }

    /// Returns the brightness of the lamp if the direction `d` hits it, else 0.
    #[inline(always)]
    pub(crate) fn glare(&self, d: V3) -> V3 {
        let facing = dot(d, self.direction);
        if facing * facing * (1.0 + LAMP_RADIUS * LAMP_RADIUS) < 1.0 || facing < 0.0 {
            return [0.0; 3];
        }
        scale(
            self.key,
            (1.0 + LAMP_RADIUS * LAMP_RADIUS) / (LAMP_RADIUS * LAMP_RADIUS),
        )
    }
}

/// Returns the light of the sky from low and high directions: neutral and bluish with a wall, tinted by `tone` without.
fn sky(backdrop: Backdrop, tone: Tone) -> [V3; 2] {
    if backdrop != Backdrop::Sky {
        return SKY;
    }
    let tone = tone.albedo();
    let deep = |light: V3| add(scale(light, 0.35), mul(scale(light, 2.1), tone));
    [mix(SKY[0], deep(SKY[0]), 0.4), deep(SKY[1])]
}

impl Stage {
    /// Prepares a scene. Objects beyond [`MAX_SOLIDS`] are left out.
    pub(crate) fn new(scene: &Scene) -> Stage {
        let solids = &scene.solids[..scene.solids.len().min(MAX_SOLIDS)];
        let lamp = Lamp::new(&scene.light);
        let sky = sky(scene.backdrop, scene.backdrop_tone);
        let ground_albedo = scene.ground_tone.albedo();
        let above = mix(sky[0], sky[1], 0.8);
        // The table receives most of the sky's light, and the lamp's light at its angle.
        let lit = add(
            scale(above, 0.8),
            scale(lamp.key, 0.7 * lamp.direction[1].max(0.0)),
        );
        Stage {
            view: scene.camera.view(),
            bodies: solids.iter().map(Body::new).collect(),
            bounds: Bounds::new(solids),
            lamp,
            ground: scene.ground,
            ground_albedo,
            backdrop: scene.backdrop,
            backdrop_albedo: scene.backdrop_tone.albedo(),
            sky,
            ambient: [mul(ground_albedo, lit), scale(above, 0.8)],
        }
    }

    /// Returns the first intersection of a ray, if any.
    #[inline]
    pub(crate) fn intersect(&self, o: V3, d: V3) -> Option<Intersection> {
        let mut first = self.table_or_wall(o, d);
        let (mut candidates, passes) = self.bounds.candidates(o, d);
        while candidates != 0 {
            let i = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let pass = passes[i];
            let limit = first.map_or(FAR, |nearest| nearest.distance);
            // Start the ray at its point nearest the centre: small numbers give precise results.
            let start = sub(along(o, d, pass), self.bounds.centre(i));
            let body = &self.bodies[i];
            if let Some((t, normal)) = body.hit(start, d, -pass)
                && t + pass < limit
            {
                first = Some(Intersection {
                    distance: t + pass,
                    normal: body.to_scene(normal),
                    target: Target::Solid(i),
                });
            }
        }
        first
    }

    /// Intersects a ray with the table and the wall.
    #[inline(always)]
    fn table_or_wall(&self, o: V3, d: V3) -> Option<Intersection> {
        if d[1] < 0.0 && o[1] > 0.0 {
            let t = -o[1] / d[1];
            if t < FAR && o[2] + t * d[2] > TABLE_BACK {
                return Some(Intersection {
                    distance: t,
                    normal: [0.0, 1.0, 0.0],
                    target: Target::Ground,
                });
            }
        }
        // The wall is visible only from the front, so that a camera behind it sees the table.
        if self.backdrop != Backdrop::Sky && d[2] < 0.0 && o[2] > TABLE_BACK {
            let t = (TABLE_BACK - o[2]) / d[2];
            let y = o[1] + t * d[1];
            if t < FAR && (0.0..WALL_HEIGHT).contains(&y) {
                return Some(Intersection {
                    distance: t,
                    normal: [0.0, 0.0, 1.0],
                    target: Target::Wall,
                });
            }
        }
        None
    }

    /// Returns whether an object lies between `p` and a lamp in the direction `d`, or `d` points below the horizon. The wall
    /// casts no shadow: the lamp is on this side of it.
    #[inline]
    pub(crate) fn shadowed(&self, p: V3, d: V3) -> bool {
        let (mut candidates, passes) = self.bounds.candidates(p, d);
        while candidates != 0 {
            let i = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let start = sub(along(p, d, passes[i]), self.bounds.centre(i));
            if self.bodies[i].hit(start, d, -passes[i]).is_some() {
                return true;
            }
        }
        d[1] <= 0.0
    }

    /// Returns the surface of `target` at `point`.
    #[inline(always)]
    pub(crate) fn surface(&self, point: V3, target: Target) -> Surface {
        match target {
            Target::Ground => surface::ground(self.ground, self.ground_albedo, point),
            Target::Wall => surface::wall(self.backdrop, self.backdrop_albedo, point),
            Target::Solid(i) => Surface {
                albedo: self.bodies[i].albedo,
                coat: self.bodies[i].coat,
                mirror: self.bodies[i].mirror,
            },
        }
    }

    /// Returns the light of the sky in a direction. The gradient begins below the horizon, in the part that the camera sees.
    #[inline(always)]
    pub(crate) fn sky(&self, d: V3) -> V3 {
        mix(
            self.sky[0],
            self.sky[1],
            (1.25 * d[1] + 0.75).clamp(0.0, 1.0),
        )
    }

    /// Returns the mean light that arrives at a surface of this normal, for the end of a path.
    #[inline(always)]
    pub(crate) fn ambient(&self, normal: V3) -> V3 {
        mix(self.ambient[0], self.ambient[1], 0.5 + 0.5 * normal[1])
    }
}
