//! A path of light, from the camera backwards.
//!
//! At every diffuse surface the lamp is sampled (next-event estimation) and one bounce goes on, cosine-weighted. A clear
//! coat splits the first path that meets it: the reflection by Fresnel's law is followed beside the diffuse part, which is
//! less noise than choosing between them. After a diffuse bounce a coat counts as diffuse, and a mirror shows the lamp no
//! more: caustics would be noise. Where a path is cut off, the stage's ambient light stands for the rest.
//! `shaders/path_trace.wgsl` is this file line by line.

use super::sampling::Decisions;
use super::stage::{FAR, Stage};
use super::vector::{V3, add, along, dot, mix, mul, reflect, scale};

/// Rays leave a surface this far above it.
pub(crate) const LIFT: f32 = 5e-4;
/// Most mirrors in a path.
const MIRRORS: u32 = 4;
/// Brightest lamp that a path may bring: more would only make the edges of highlights jagged.
const GLARE: f32 = 6.0;

/// A ray under way.
#[derive(Clone, Copy)]
struct Ray {
    o: V3,
    d: V3,
    /// The share of what it finds that reaches the camera.
    through: V3,
    /// Diffuse surfaces and mirrors so far.
    bounces: u32,
    mirrors: u32,
}

/// Schlick's approximation of Fresnel's law.
#[inline(always)]
fn fresnel(normal: f32, facing: f32) -> f32 {
    let rest = (1.0 - facing).clamp(0.0, 1.0);
    let square = rest * rest;
    normal + (1.0 - normal) * square * square * rest
}

/// The light that reaches the camera along a ray from `o` in direction `d`.
pub(crate) fn radiance(stage: &Stage, decisions: &Decisions<'_>, o: V3, d: V3) -> V3 {
    let mut ray = Ray {
        o,
        d,
        through: [1.0; 3],
        bounces: 0,
        mirrors: 0,
    };
    let mut light = [0.0; 3];
    // The reflection in the first coat; followed when the path has ended.
    let mut reflection: Option<Ray> = None;
    let mut split = false;
    loop {
        let Some(meeting) = stage.meet(ray.o, ray.d) else {
            light = add(light, mul(ray.through, stage.sky(ray.d)));
            if ray.bounces == 0 {
                let glare = mul(ray.through, stage.lamp.glare(ray.d));
                light = add(light, glare.map(|c| c.min(GLARE)));
            }
            match reflection.take() {
                Some(next) => ray = next,
                None => return light,
            }
            continue;
        };
        let normal = meeting.normal;
        let point = along(ray.o, ray.d, meeting.distance);
        let surface = stage.surface(point, meeting.thing);
        let start = along(point, normal, LIFT);
        let facing = -dot(normal, ray.d);
        if surface.mirror {
            let rest = fresnel(0.0, facing);
            ray.through = mul(ray.through, mix(surface.albedo, [1.0; 3], rest));
            ray.o = start;
            ray.d = reflect(ray.d, normal);
            ray.mirrors += 1;
            if ray.mirrors <= MIRRORS {
                continue;
            }
            light = add(light, mul(ray.through, stage.sky(ray.d)));
        } else {
            if surface.coat > 0.0 && !split && ray.bounces == 0 {
                let share = fresnel(surface.coat, facing);
                split = true;
                reflection = Some(Ray {
                    o: start,
                    d: reflect(ray.d, normal),
                    through: scale(ray.through, share),
                    ..ray
                });
                ray.through = scale(ray.through, 1.0 - share);
            }
            ray.through = mul(ray.through, surface.albedo);
            let point = decisions.lamp(ray.bounces);
            let arrives = lamp_light(stage, start, normal, point);
            light = add(light, mul(ray.through, arrives));
            if ray.bounces < decisions.bounces {
                ray.o = start;
                ray.d = decisions.bounce(ray.bounces, normal);
                ray.bounces += 1;
                continue;
            }
            light = add(light, mul(ray.through, stage.ambient(normal)));
        }
        match reflection.take() {
            Some(next) => ray = next,
            None => return light,
        }
    }
}

/// The lamp's light on a white surface, by one point of the lamp.
#[inline(always)]
fn lamp_light(stage: &Stage, start: V3, normal: V3, place: [f32; 2]) -> V3 {
    let towards = stage.lamp.towards(place);
    let facing = dot(normal, towards);
    if facing <= 0.0 || stage.shadowed(start, towards) {
        return [0.0; 3];
    }
    scale(stage.lamp.key, facing)
}

/// What the middle of a pixel shows: 0 or 1 more than the solid's place, and the depth along `forward`.
pub(crate) fn truth(stage: &Stage, d: V3) -> (u8, f32) {
    use super::stage::Thing;
    let meeting = stage.meet(stage.view.eye, d);
    let id = match meeting.map(|meeting| meeting.thing) {
        Some(Thing::Solid(i)) => i as u8 + 1,
        _ => 0,
    };
    let distance = meeting.map_or(FAR, |meeting| meeting.distance);
    let depth = distance * dot(d, stage.view.forward);
    (id, if meeting.is_some() { depth } else { FAR })
}
