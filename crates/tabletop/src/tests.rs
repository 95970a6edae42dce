//! Tests of the renderer against independently computed geometry and physics.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::render::{self, Settings, linear, render};
use super::sampling::{self, Decisions, Rotations};
use super::scene::*;
use super::stage::{FAR, Stage, Target};
use super::trace;
use super::vector::{V3, along, dot, scale, sub, unit};

/// A grey cloth in front of a light grey wall, lit from the right.
fn scene(solids: Vec<Solid>) -> Scene {
    Scene {
        solids,
        ground: Ground::Cloth,
        ground_tone: Tone::Grey,
        backdrop: Backdrop::Wall,
        backdrop_tone: Tone::Light,
        light: Light {
            azimuth: std::f32::consts::FRAC_PI_2,
            elevation: std::f32::consts::FRAC_PI_4,
            strength: 1.0,
        },
        camera: Camera::default(),
    }
}

fn solid(shape: Shape, material: Material, position: V3) -> Solid {
    Solid {
        shape,
        colour: Colour::Red,
        material,
        size: Size::Large,
        tint: [1.0; 3],
        pose: Pose {
            position,
            rotation: [0.0, 0.0, 0.0, 1.0],
        },
    }
}

fn random_rotation(random: &mut ChaCha8Rng) -> [f32; 4] {
    loop {
        let q: [f32; 4] = std::array::from_fn(|_| random.random_range(-1.0..1.0));
        let length = q.iter().map(|v| v * v).sum::<f32>().sqrt();
        if (0.1..1.0).contains(&length) {
            return q.map(|v| v / length);
        }
    }
}

fn random_direction(random: &mut ChaCha8Rng) -> V3 {
    loop {
        let d: V3 = std::array::from_fn(|_| random.random_range(-1.0..1.0));
        if (0.01..1.0).contains(&dot(d, d)) {
            return unit(d);
        }
    }
}

/// Returns whether a point lies in an object, by the definition of its primitive, in double precision.
fn inside(solid: &Solid, p: [f64; 3]) -> bool {
    // To the object's own frame: q* p q, a product of quaternions.
    let [x, y, z, w] = solid.pose.rotation.map(f64::from);
    let p: [f64; 3] = std::array::from_fn(|i| p[i] - f64::from(solid.pose.position[i]));
    let product = |a: [f64; 4], b: [f64; 4]| {
        [
            a[3] * b[0] + a[0] * b[3] + a[1] * b[2] - a[2] * b[1],
            a[3] * b[1] - a[0] * b[2] + a[1] * b[3] + a[2] * b[0],
            a[3] * b[2] + a[0] * b[1] - a[1] * b[0] + a[2] * b[3],
            a[3] * b[3] - a[0] * b[0] - a[1] * b[1] - a[2] * b[2],
        ]
    };
    let rotated = product(
        product([-x, -y, -z, w], [p[0], p[1], p[2], 0.0]),
        [x, y, z, w],
    );
    let [x, y, z, _] = rotated;
    let around = x.hypot(z);
    let own = f64::from;
    match solid.primitive() {
        Primitive::Sphere(r) => around.hypot(y) < own(r),
        Primitive::Cube(h) => x.abs().max(y.abs()).max(z.abs()) < own(h),
        Primitive::Cylinder(r, h) => around < own(r) && y.abs() < own(h),
        Primitive::Cone(r, h) => y > -own(h) && around < own(r) * (own(h) - y) / (2.0 * own(h)),
        Primitive::Torus(ring, tube) => (around - own(ring)).hypot(y) < own(tube),
        Primitive::Capsule(r, h) => around.hypot((y.abs() - own(h)).max(0.0)) < own(r),
    }
}

/// Finds where a ray first enters an object, by small steps and bisection; and the length of the ray inside.
fn march(solid: &Solid, o: V3, d: V3) -> Option<(f64, f64)> {
    const STEP: f64 = 1e-3;
    let at = |t: f64| std::array::from_fn(|i| f64::from(o[i]) + t * f64::from(d[i]));
    let mut t = 0.0;
    while t < 6.0 {
        if !inside(solid, at(t)) && inside(solid, at(t + STEP)) {
            let (mut out, mut within) = (t, t + STEP);
            for _ in 0..40 {
                let middle = (out + within) / 2.0;
                if inside(solid, at(middle)) {
                    within = middle
                } else {
                    out = middle
                }
            }
            let stays = (1..).find(|&i| !inside(solid, at(within + STEP * f64::from(i))));
            return Some((within, STEP * f64::from(stays.unwrap_or(i32::MAX))));
        }
        t += STEP;
    }
    None
}

#[test]
fn rays_hit_every_primitive() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for &shape in Shape::ALL {
        let (mut hits, mut misses) = (0, 0);
        for _ in 0..400 {
            let mut solid = solid(shape, Material::Matte, [0.0, 20.0, 0.0]);
            solid.pose.rotation = random_rotation(&mut random);
            solid.size = Size::ALL[random.random_range(0..2)];
            let reach = 1.1 * solid.primitive().bound();
            let aim: V3 = std::array::from_fn(|_| random.random_range(-reach..reach));
            let d = random_direction(&mut random);
            let o = along([aim[0], 20.0 + aim[1], aim[2]], d, -3.0);
            let stage = Stage::new(&scene(vec![solid.clone()]));
            let hit = stage
                .intersect(o, d)
                .filter(|hit| hit.target == Target::Solid(0));
            match (march(&solid, o, d), hit) {
                (Some((t, stays)), Some(hit)) => {
                    let error = (t - f64::from(hit.distance)).abs();
                    // The entry of a grazing ray is ill-conditioned.
                    assert!(
                        error < if stays < 0.02 { 2e-3 } else { 1e-4 },
                        "{shape:?}: {error}"
                    );
                    let p = along(o, d, hit.distance);
                    let off = |s: f32| along(p, hit.normal, s).map(f64::from);
                    assert!(
                        !inside(&solid, off(1e-3)),
                        "{shape:?}: the normal points inwards"
                    );
                    assert!(
                        inside(&solid, off(-1e-3)) || stays < 0.02,
                        "{shape:?}: no surface"
                    );
                    assert!((dot(hit.normal, hit.normal) - 1.0).abs() < 1e-4);
                    hits += 1;
                }
                (None, None) => misses += 1,
                // The march misses parts thinner than a step, and the renderer may miss barely thicker ones.
                (Some((_, stays)), None) => assert!(stays < 0.01, "{shape:?} missed, {stays} long"),
                (None, Some(hit)) => {
                    let within = along(o, d, hit.distance + 5e-3).map(f64::from);
                    assert!(!inside(&solid, within), "{shape:?}: a hit outside it");
                }
            }
        }
        assert!(
            hits > 60 && misses > 60,
            "{shape:?}: {hits} hits, {misses} misses"
        );
    }
}

#[test]
fn a_ray_that_leaves_a_surface_does_not_hit_it_again() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for &shape in Shape::ALL {
        let mut solid = solid(shape, Material::Matte, [0.3, 20.0, -0.2]);
        solid.pose.rotation = random_rotation(&mut random);
        let stage = Stage::new(&scene(vec![solid]));
        for _ in 0..2000 {
            let d = random_direction(&mut random);
            let Some(hit) = stage.intersect(along([0.3, 20.0, -0.2], d, -3.0), d) else {
                continue;
            };
            let p = along(along([0.3, 20.0, -0.2], d, -3.0), d, hit.distance);
            let start = along(p, hit.normal, trace::RAY_OFFSET);
            let away = random_direction(&mut random);
            let away = if dot(away, hit.normal) < 0.0 {
                scale(away, -1.0)
            } else {
                away
            };
            let again = stage
                .intersect(start, away)
                .filter(|hit| hit.target == Target::Solid(0));
            // Only the inner side of the torus faces another part of itself.
            assert!(
                again.is_none_or(|hit| shape == Shape::Torus && hit.distance > 0.02),
                "{shape:?}"
            );
        }
    }
}

/// White furnace test: in uniform light of 1, white objects of any material show 1; no light is lost or created.
#[test]
fn a_white_furnace_stays_white() {
    for (ground, backdrop) in [
        (Ground::Cloth, Backdrop::Sky),
        (Ground::Glass, Backdrop::Wall),
    ] {
        let materials = [Material::Matte, Material::Glossy, Material::Mirror];
        let solids = Shape::ALL.iter().enumerate().map(|(i, &shape)| {
            let at = [i as f32 * 0.8 - 2.0, 0.5, (i % 2) as f32 - 0.5];
            solid(shape, materials[i % 3], at)
        });
        let mut scene = scene(solids.collect());
        (scene.ground, scene.backdrop) = (ground, backdrop);
        let mut stage = Stage::new(&scene);
        stage.lamp.key = [0.0; 3];
        stage.sky = [[1.0; 3]; 2];
        stage.ambient = [[1.0; 3]; 2];
        stage.ground_albedo = [1.0; 3];
        stage.backdrop_albedo = [1.0; 3];
        for body in &mut stage.bodies {
            body.albedo = [1.0; 3];
        }
        for bounces in [0, 1, 3] {
            let settings = Settings {
                bounces,
                ..Settings::square(32)
            };
            for light in linear(&stage, settings).into_iter().flatten() {
                assert!(
                    (light - 1.0).abs() < 1e-4,
                    "{ground:?}, {bounces} bounces: {light}"
                );
            }
        }
    }
}

/// Returns the linear light of the pixel at point `p`, in an image of 128 by 128.
fn light_at(scene: &Scene, p: V3) -> f32 {
    let [u, v, _] = scene.camera.project(1.0, p);
    let at = (v * 128.0) as usize * 128 + (u * 128.0) as usize;
    linear(&Stage::new(scene), Settings::square(128))[at][1]
}

#[test]
fn a_shadow_falls_where_expected() {
    // The lamp is on the right, 45 degrees high: the shadow of a ball 1.2 above the table falls 1.2 to its left.
    let ball = scene(vec![solid(Shape::Sphere, Material::Matte, [0.6, 1.2, 0.8])]);
    let empty = scene(vec![]);
    let share = |p: V3| light_at(&ball, p) / light_at(&empty, p);
    let shadow = share([-0.6, 0.0, 0.8]);
    assert!(shadow < 0.45, "{shadow} of the light in the shadow");
    for [x, z] in [[-1.7, 0.8], [1.5, 0.8], [-0.6, 1.6], [-0.6, -0.4]] {
        let open = share([x, 0.0, z]);
        assert!(open > 0.85, "{open} of the light at {x}, {z}");
    }
    // Its edge is soft: about half the lamp is visible where the ball hides the lamp's centre.
    let edge = share([-0.6, 0.0, 0.8 + 0.5]);
    assert!(edge > shadow + 0.1 && edge < 0.9, "{edge} at the edge");
}

fn path(stage: &Stage, o: V3, d: V3) -> V3 {
    let points = sampling::points(1, 1);
    let rotations = Rotations::new(3, 4, 1);
    let decisions = Decisions {
        points: &points,
        rotations: &rotations,
        bounces: 1,
    };
    trace::radiance(stage, &decisions, o, unit(d))
}

#[test]
fn a_mirror_shows_the_light_of_the_reflected_ray() {
    let cube = solid(Shape::Cube, Material::Mirror, [0.0, 0.4, 0.0]);
    let stage = Stage::new(&scene(vec![cube]));
    // Down onto the middle of the top (y 0.8) at 45 degrees: the reflection hits the wall at z -3, 3 higher.
    let seen = path(&stage, [0.0, 2.8, 2.0], [0.0, -1.0, -1.0]);
    let wall = path(&stage, [0.0, 0.8, 0.0], [0.0, 1.0, -1.0]);
    let rest = (1.0 - std::f32::consts::FRAC_1_SQRT_2).powi(5);
    for c in 0..3 {
        let metal = stage.bodies[0].albedo[c];
        let expected = wall[c] * (metal + (1.0 - metal) * rest);
        assert!(
            (seen[c] - expected).abs() < 2e-3 * expected,
            "{seen:?} of {wall:?}"
        );
    }
    // At the middle of a ball the ray is reflected straight back, into the sky.
    let ball = solid(Shape::Sphere, Material::Mirror, [0.0, 3.0, 0.0]);
    let stage = Stage::new(&scene(vec![ball]));
    let d = unit([0.0, -0.1, -1.0]);
    let seen = path(&stage, along([0.0, 3.0, 0.0], d, -2.0), d);
    let sky = stage.sky(scale(d, -1.0));
    for c in 0..3 {
        assert!((seen[c] - stage.bodies[0].albedo[c] * sky[c]).abs() < 1e-4);
    }
}

#[test]
fn colour_bleeds_onto_nearby_surfaces() {
    let mut world = scene(vec![solid(Shape::Cube, Material::Matte, [-0.5, 0.4, 0.5])]);
    let near = {
        let [u, v, _] = world.camera.project(1.0, [0.02, 0.0, 0.5]);
        (v * 64.0) as usize * 64 + (u * 64.0) as usize
    };
    let settings = Settings {
        samples: 256,
        ..Settings::square(64)
    };
    let mut ratio = |colour| {
        world.solids[0].colour = colour;
        let [r, _, b] = linear(&Stage::new(&world), settings)[near];
        r / b
    };
    let (red, white) = (ratio(Colour::Red), ratio(Colour::White));
    assert!(
        red > 1.1 * white,
        "red over blue {red} beside red, {white} beside white"
    );
}

#[test]
fn ids_and_depth_agree_with_the_projection() {
    let target = [0.0, 0.25, 0.0];
    let world = scene(vec![
        solid(Shape::Sphere, Material::Glossy, target),
        solid(Shape::Torus, Material::Matte, [-1.3, 0.15, 0.3]),
        solid(Shape::Cube, Material::Mirror, [1.2, 0.4, 0.6]),
    ]);
    for (width, height) in [(65, 65), (129, 65), (65, 97)] {
        let settings = Settings {
            width,
            height,
            samples: 1,
            bounces: 0,
        };
        let aspect = width as f32 / height as f32;
        let frame = render(&world, &settings);
        let at = |p: V3| {
            let [u, v, depth] = world.camera.project(aspect, p);
            let column = (u * width as f32) as usize;
            (
                (v * height as f32) as usize * width as usize + column,
                depth,
            )
        };
        // The ball's nearest point is its radius in front of its centre, which is 8 away.
        let (middle, depth) = at(target);
        assert_eq!(frame.ids[middle], 1);
        assert!((depth - 8.0).abs() < 1e-5 && (frame.depth[middle] - 7.5).abs() < 2e-3);
        // The table is visible through the ring's hole, and the tube in front of the hole.
        assert_eq!(frame.ids[at([-1.3, 0.0, 0.08]).0], 0);
        assert_eq!(frame.ids[at([-1.3, 0.15, 0.66]).0], 2);
        assert_eq!(frame.ids[at([1.2, 0.4, 0.6]).0], 3);
        // The table and the wall, to within a pixel's extent.
        for p in [[0.3, 0.0, 1.4], [-0.6, 0.0, -1.2], [0.5, 0.7, -3.0]] {
            let (place, depth) = at(p);
            assert_eq!(frame.ids[place], 0);
            assert!((frame.depth[place] - depth).abs() < 0.12, "{p:?}: {depth}");
        }
    }
    let mut open = world;
    open.backdrop = Backdrop::Sky;
    let frame = render(
        &open,
        &Settings {
            samples: 1,
            ..Settings::square(33)
        },
    );
    assert_eq!(frame.depth[0], FAR);
    assert!(frame.depth.iter().all(|&d| d <= FAR));
}

#[test]
fn projection_inverts_the_ray() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..100 {
        let mut number = |low, high| random.random_range(low..high);
        let camera = Camera {
            azimuth: number(-3.0, 3.0),
            elevation: number(0.0, 1.5),
            distance: number(5.0, 10.0),
        };
        let (aspect, u, v, far) = (
            number(0.5, 2.0),
            number(0.0, 1.0),
            number(0.0, 1.0),
            number(1.0, 20.0),
        );
        let (eye, d) = camera.ray(aspect, u, v);
        let [x, y, depth] = camera.project(aspect, along(eye, d, far));
        assert!(
            (x - u).abs() < 1e-4 && (y - v).abs() < 1e-4,
            "{camera:?}: {x} {y} of {u} {v}"
        );
        let forward = unit(sub(super::camera::TARGET, eye));
        assert!((depth - far * dot(d, forward)).abs() < 1e-3);
    }
}

#[test]
fn rendering_is_reproducible_and_has_little_noise() {
    let world = scene(vec![
        solid(Shape::Sphere, Material::Glossy, [0.5, 0.5, 0.0]),
        solid(Shape::Cone, Material::Matte, [-0.8, 0.5, 0.4]),
    ]);
    let frame = render(&world, &Settings::square(64));
    assert_eq!(frame.image, render(&world, &Settings::square(64)).image);
    let exact = Settings {
        samples: 512,
        ..Settings::square(64)
    };
    let exact = render(&world, &exact).image;
    let pairs = frame.image.as_raw().iter().zip(exact.as_raw());
    let square: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let error = (square / frame.image.as_raw().len() as f64).sqrt();
    assert!(error < 2.5, "noise of {error}");
}

#[test]
fn invalid_scenes_and_settings_do_not_panic() {
    let mut bad = solid(
        Shape::Cone,
        Material::Glossy,
        [f32::NAN, f32::INFINITY, 0.0],
    );
    bad.pose.rotation = [0.0; 4];
    bad.tint = [f32::NAN; 3];
    let mut world = scene(vec![bad; 40]);
    world
        .solids
        .push(solid(Shape::Torus, Material::Mirror, [0.0; 3]));
    world.camera.distance = 0.0;
    world.light.elevation = -1.0;
    for (width, height, samples, bounces) in [(0, 0, 0, 0), (1, 40, 1, 99), (40, 1, 3, 2)] {
        let frame = render(
            &world,
            &Settings {
                width,
                height,
                samples,
                bounces,
            },
        );
        assert_eq!(
            frame.ids.len(),
            (frame.image.width() * frame.image.height()) as usize
        );
        assert_eq!(frame.depth.len(), frame.ids.len());
    }
    world.camera.distance = f32::NAN;
    render(&world, &Settings::square(16));
    assert_eq!(
        render::develop([f32::NAN, -1.0, f32::INFINITY]),
        [0, 0, 255]
    );
}
