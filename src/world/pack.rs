//! The stage as the GPU reads it. The places and constants that `shaders/path_trace.wgsl` repeats are all named here, and a
//! test holds the two against each other.

use super::render::Settings;
use super::sampling;
use super::scene::{Form, Scene};
use super::stage::{Body, Stage};
use super::vector::V3;

/// Places before the first body, and of each body.
const BODIES: usize = 14;
const BODY: usize = 6;

/// A picture's work as the GPU takes it.
#[derive(Debug)]
pub(crate) struct Job {
    /// See [`pack`].
    pub(crate) scene: Vec<f32>,
    /// See [`sampling::points`].
    pub(crate) points: Vec<f32>,
    /// Width, height, samples, bounces, solids, ground, backdrop.
    pub(crate) sizes: [usize; 7],
}

impl Job {
    /// The work of rendering `scene`.
    pub(crate) fn new(scene: &Scene, settings: Settings) -> Job {
        let settings = settings.clamped();
        let Settings {
            width,
            height,
            samples,
            bounces,
        } = settings;
        let stage = Stage::new(scene);
        let numbers = [
            width,
            height,
            samples,
            bounces,
            stage.bodies.len() as u32,
            stage.ground as u32,
            stage.backdrop as u32,
        ];
        Job {
            scene: pack(&stage, settings.aspect()),
            points: sampling::points(samples, bounces)
                .into_iter()
                .flatten()
                .collect(),
            sizes: numbers.map(|number| number as usize),
        }
    }
}

/// The stage in fours, at the places that the shader names.
fn pack(stage: &Stage, aspect: f32) -> Vec<f32> {
    let view = &stage.view;
    let lamp = &stage.lamp;
    let head: [(V3, f32); BODIES] = [
        (view.eye, aspect),
        (view.right, 0.0),
        (view.up, 0.0),
        (view.forward, 0.0),
        (lamp.direction, 0.0),
        (lamp.side, 0.0),
        (lamp.up, 0.0),
        (lamp.key, 0.0),
        (stage.sky[0], 0.0),
        (stage.sky[1], 0.0),
        (stage.ambient[0], 0.0),
        (stage.ambient[1], 0.0),
        (stage.ground_albedo, 0.0),
        (stage.backdrop_albedo, 0.0),
    ];
    let bodies = stage.bodies.iter().enumerate();
    let bodies = bodies.flat_map(|(i, body)| {
        let bounds = &stage.bounds;
        pack_body(body, bounds.centre(i), bounds.radius[i])
    });
    let fours = head.into_iter().chain(bodies);
    fours.flat_map(|([x, y, z], w)| [x, y, z, w]).collect()
}

fn pack_body(body: &Body, centre: V3, radius: f32) -> [(V3, f32); BODY] {
    let (kind, first, second) = match body.form {
        Form::Sphere(radius) => (0, radius, 0.0),
        Form::Cube(half) => (1, half, 0.0),
        Form::Cylinder(radius, half) => (2, radius, half),
        Form::Cone(radius, half) => (3, radius, half),
        Form::Torus(ring, tube) => (4, ring, tube),
        Form::Capsule(radius, half) => (5, radius, half),
    };
    let [x, y, z] = body.axes;
    [
        (centre, radius),
        (x, kind as f32),
        (y, first),
        (z, second),
        (body.albedo, body.coat),
        ([f32::from(body.mirror), 0.0, 0.0], 0.0),
    ]
}

#[cfg(test)]
pub(crate) mod names {
    use super::super::scene::{Backdrop, Ground};
    use super::super::{camera, stage, trace};
    use super::{BODIES, BODY};

    /// What the shader names, with the values that it must have.
    pub(crate) const NAMES: &[(&str, f64)] = &[
        ("BODIES", BODIES as f64),
        ("BODY", BODY as f64),
        ("SPHERE", 0.0),
        ("CUBE", 1.0),
        ("CYLINDER", 2.0),
        ("CONE", 3.0),
        ("TORUS", 4.0),
        ("CAPSULE", 5.0),
        ("TILES", Ground::Tiles as u8 as f64),
        ("WOOD", Ground::Wood as u8 as f64),
        ("GLASS", Ground::Glass as u8 as f64),
        ("STRIPES", Backdrop::Stripes as u8 as f64),
        ("OPEN_SKY", Backdrop::Sky as u8 as f64),
        ("HALF", camera::HALF as f64),
        ("BACK", stage::BACK as f64),
        ("WALL", stage::WALL as f64),
        ("LAMP", stage::LAMP as f64),
        ("FAR", stage::FAR as f64),
        ("LIFT", trace::LIFT as f64),
        ("GLARE", trace::GLARE as f64),
        ("MIRRORS", trace::MIRRORS as f64),
    ];
}
