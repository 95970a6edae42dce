//! Path tracing from the camera.
//!
//! At every diffuse surface the path samples the lamp (next-event estimation) and continues with one cosine-weighted bounce.
//! The first clear coat splits the path: the Fresnel reflection is traced as well as the diffuse part, which gives less noise
//! than choosing one. After a diffuse bounce a coat counts as diffuse, and mirrors no longer show the lamp, because caustics
//! would be noise. The stage's ambient light replaces the rest of a truncated path.

use super::sampling::Decisions;
use super::stage::{FAR, Intersection, Stage, Target};
use super::vector::{V3, add, along, dot, mix, mul, reflect, scale};

/// Height above a surface at which rays leave it.
pub(crate) const RAY_OFFSET: f32 = 5e-4;
/// Maximum number of mirrors in a path.
pub(crate) const MAX_MIRRORS: u32 = 4;
/// Maximum brightness of the visible lamp in a path; more would only make the edges of highlights jagged.
pub(crate) const MAX_GLARE: f32 = 6.0;

/// The current ray of a path.
#[derive(Clone, Copy)]
struct Ray {
    o: V3,
    d: V3,
    /// Throughput: the share of the light found that reaches the camera.
    through: V3,
    /// Diffuse bounces so far.
    bounces: u32,
    /// Mirror reflections so far.
    mirrors: u32,
}

/// Schlick's approximation of the Fresnel reflectance.
#[inline(always)]
fn fresnel(normal: f32, facing: f32) -> f32 {
    let rest = (1.0 - facing).clamp(0.0, 1.0);
    let square = rest * rest;
    normal + (1.0 - normal) * square * square * rest
}

/// The state of a path.
struct Path<'a> {
    stage: &'a Stage,
    decisions: &'a Decisions<'a>,
    ray: Ray,
    /// Light found so far.
    light: V3,
    /// Reflection at the first coat, traced after the rest of the path has ended.
    reflection: Option<Ray>,
    split: bool,
}

/// Returns the light that reaches the camera along a ray from `o` in direction `d`.
pub(crate) fn radiance(stage: &Stage, decisions: &Decisions<'_>, o: V3, d: V3) -> V3 {
    let mut path = Path {
        stage,
        decisions,
        ray: Ray {
            o,
            d,
            through: [1.0; 3],
            bounces: 0,
            mirrors: 0,
        },
        light: [0.0; 3],
        reflection: None,
        split: false,
    };
    loop {
        let continues = match stage.intersect(path.ray.o, path.ray.d) {
            Some(intersection) => path.hit_surface(&intersection),
            None => path.leave_scene(),
        };
        if !continues {
            match path.reflection.take() {
                Some(reflection) => path.ray = reflection,
                None => return path.light,
            }
        }
    }
}

impl Path<'_> {
    #[inline(always)]
    fn add_light(&mut self, light: V3) {
        self.light = add(self.light, mul(self.ray.through, light));
    }

    /// Handles a ray that hits nothing; returns whether the path continues.
    #[inline(always)]
    fn leave_scene(&mut self) -> bool {
        self.add_light(self.stage.sky(self.ray.d));
        if self.ray.bounces == 0 {
            let glare = mul(self.ray.through, self.stage.lamp.glare(self.ray.d));
            self.light = add(self.light, glare.map(|c| c.min(MAX_GLARE)));
        }
        false
    }

    /// Handles a hit of a surface; returns whether the path continues.
    #[inline(always)]
    fn hit_surface(&mut self, intersection: &Intersection) -> bool {
        let ray = &mut self.ray;
        let normal = intersection.normal;
        let point = along(ray.o, ray.d, intersection.distance);
        let surface = self.stage.surface(point, intersection.target);
        let facing = -dot(normal, ray.d);
        let mirrored = reflect(ray.d, normal);
        ray.o = along(point, normal, RAY_OFFSET);
        if surface.mirror {
            ray.through = mul(
                ray.through,
                mix(surface.albedo, [1.0; 3], fresnel(0.0, facing)),
            );
            ray.d = mirrored;
            ray.mirrors += 1;
            if ray.mirrors > MAX_MIRRORS {
                self.add_light(self.stage.sky(mirrored));
                return false;
            }
            return true;
        }
        if surface.coat > 0.0 && !self.split && ray.bounces == 0 {
            let share = fresnel(surface.coat, facing);
            self.split = true;
            self.reflection = Some(Ray {
                d: mirrored,
                through: scale(ray.through, share),
                ..*ray
            });
            ray.through = scale(ray.through, 1.0 - share);
        }
        ray.through = mul(ray.through, surface.albedo);
        self.scatter(normal)
    }

    /// Scatters at a diffuse surface; returns whether the path continues.
    #[inline(always)]
    fn scatter(&mut self, normal: V3) -> bool {
        let bounces = self.ray.bounces;
        let place = self.decisions.lamp(bounces);
        self.add_light(lamp_light(self.stage, self.ray.o, normal, place));
        if bounces == self.decisions.bounces {
            self.add_light(self.stage.ambient(normal));
            return false;
        }
        self.ray.d = self.decisions.bounce(bounces, normal);
        self.ray.bounces += 1;
        true
    }
}

/// Estimates the lamp's light on a white surface from one point of the lamp.
#[inline(always)]
fn lamp_light(stage: &Stage, start: V3, normal: V3, place: [f32; 2]) -> V3 {
    let towards = stage.lamp.towards(place);
    let facing = dot(normal, towards);
    if facing <= 0.0 || stage.shadowed(start, towards) {
        return [0.0; 3];
    }
    scale(stage.lamp.key, facing)
}

/// Returns the ground truth for a ray from the eye: the object's index plus 1, or 0 for none, and the depth along `forward`.
pub(crate) fn ground_truth(stage: &Stage, d: V3) -> (u8, f32) {
    let Some(nearest) = stage.intersect(stage.view.eye, d) else {
        return (0, FAR);
    };
    let id = match nearest.target {
        Target::Solid(i) => i as u8 + 1,
        Target::Ground | Target::Wall => 0,
    };
    (id, nearest.distance * dot(d, stage.view.forward))
}
