//! Rigid-body simulation of gravity, friction and collisions with `rapier3d`.
//!
//! A table unit is a metre: a large ball of radius 0.5 falls and rolls like a real ball of that size. The engine runs on one
//! thread with cross-platform deterministic arithmetic, so that the same start gives bit-identical poses everywhere.

use rapier3d::prelude::{
    ColliderBuilder, PhysicsWorld, Pose as Placement, RigidBodyBuilder, RigidBodyHandle, Rotation,
    SharedShape, Vector,
};

use super::scene::{Pose, Primitive, Scene, Solid};

/// Minimum number of simulation steps per second.
const STEP_RATE: f64 = 120.0;
/// Number of capsules that form a ring.
const RING_PIECES: usize = 20;

/// The initial motion of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Start {
    /// Velocity in table units per second.
    pub velocity: [f32; 3],
    /// Angular velocity about each axis, in radians per second.
    pub spin: [f32; 3],
}

/// Simulates `scene` and returns the poses of all objects in `frames` frames at `rate` frames per second; the first frame is
/// the start. `starts` holds one entry per object; objects without one start at rest.
pub fn simulate(scene: &Scene, starts: &[Start], frames: usize, rate: f64) -> Vec<Vec<Pose>> {
    let steps = (STEP_RATE / rate).ceil().max(1.0);
    let mut world = PhysicsWorld::default();
    world.integration_parameters.dt = (1.0 / (rate * steps)) as f32;
    world.gravity = Vector::new(0.0, -9.81, 0.0);
    let table = ColliderBuilder::cuboid(50.0, 1.0, 50.0)
        .translation(Vector::new(0.0, -1.0, 0.0))
        .friction(0.5)
        .restitution(0.25);
    world.insert_collider(table, None);
    let bodies: Vec<RigidBodyHandle> = scene
        .solids
        .iter()
        .enumerate()
        .map(|(i, solid)| {
            insert(
                &mut world,
                solid,
                starts.get(i).copied().unwrap_or_default(),
            )
        })
        .collect();
    (0..frames)
        .map(|frame| {
            if frame > 0 {
                (0..steps as usize).for_each(|_| world.step());
            }
            bodies.iter().map(|&body| pose(&world, body)).collect()
        })
        .collect()
}

fn insert(world: &mut PhysicsWorld, solid: &Solid, start: Start) -> RigidBodyHandle {
    let [x, y, z, w] = solid.pose.rotation;
    let placement = Placement::from_parts(
        Vector::from_array(solid.pose.position),
        Rotation::from_xyzw(x, y, z, w),
    );
    let body = RigidBodyBuilder::dynamic()
        .pose(placement)
        .linvel(Vector::from_array(start.velocity))
        .angvel(Vector::from_array(start.spin))
        // Rolling resistance, which rapier's rigid bodies lack.
        .linear_damping(0.25)
        .angular_damping(1.0);
    let collider = ColliderBuilder::new(body_shape(solid.primitive()))
        .friction(0.45)
        .restitution(0.25)
        .density(1.0);
    world.insert(body, collider).0
}

/// Returns the exact collision shape; a ring is a circle of capsules.
fn body_shape(primitive: Primitive) -> SharedShape {
    match primitive {
        Primitive::Sphere(radius) => SharedShape::ball(radius),
        Primitive::Cube(half) => SharedShape::cuboid(half, half, half),
        Primitive::Cylinder(radius, half) => SharedShape::cylinder(half, radius),
        Primitive::Cone(radius, half) => SharedShape::cone(half, radius),
        Primitive::Capsule(radius, half) => SharedShape::capsule_y(half, radius),
        Primitive::Torus(ring, tube) => {
            let point = |i: usize| {
                let angle = i as f32 / RING_PIECES as f32 * std::f32::consts::TAU;
                Vector::new(ring * angle.cos(), 0.0, ring * angle.sin())
            };
            let piece = |i| {
                let capsule = SharedShape::capsule(point(i), point(i + 1), tube);
                (Placement::IDENTITY, capsule)
            };
            SharedShape::compound((0..RING_PIECES).map(piece).collect())
        }
    }
}

fn pose(world: &PhysicsWorld, body: RigidBodyHandle) -> Pose {
    let body = &world.bodies[body];
    let rotation = body.rotation();
    Pose {
        position: body.translation().to_array(),
        rotation: [rotation.x, rotation.y, rotation.z, rotation.w],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Camera, Shape, Size};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn one(shape: Shape, height: f32) -> Scene {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut scene = Scene::draw_empty(&mut rng);
        scene.camera = Camera::default();
        let mut solid = Solid::draw(&mut rng);
        solid.shape = shape;
        solid.size = Size::Large;
        solid.pose = Pose::upright(shape, 0.0);
        solid.put([0.0, 0.0], height);
        scene.solids.push(solid);
        scene
    }

    #[test]
    fn a_falling_object_accelerates_with_gravity() {
        let scene = one(Shape::Sphere, 1.5);
        let start = scene.solids[0].pose.position[1];
        let poses = simulate(&scene, &[], 8, 20.0);
        // Until it lands, the fall is half g t^2, slightly less because of damping.
        for (frame, pose) in poses.iter().enumerate().take(9) {
            let t = frame as f32 / 20.0;
            let fall = 0.5 * 9.81 * t * t;
            if fall > 1.4 {
                break;
            }
            let fell = start - pose[0].position[1];
            assert!(
                (fell - fall).abs() < 0.02 + 0.09 * fall,
                "after {t} s: {fell}, expected {fall}"
            );
        }
    }

    #[test]
    fn objects_at_rest_stay_at_rest_on_the_table() {
        for &shape in Shape::ALL {
            let scene = one(shape, 0.0);
            let start = scene.solids[0].pose;
            let poses = simulate(&scene, &[], 21, 10.0);
            let end = poses[20][0];
            for i in 0..3 {
                let shift = end.position[i] - start.position[i];
                assert!(shift.abs() < 0.02, "{shape:?} moved by {shift} on axis {i}");
            }
        }
    }

    #[test]
    fn a_ball_that_is_pushed_rolls_without_slipping() {
        let scene = one(Shape::Sphere, 0.0);
        let start = Start {
            velocity: [1.5, 0.0, 0.0],
            spin: [0.0; 3],
        };
        let poses = simulate(&scene, &[start], 41, 20.0);
        let distance = poses[40][0].position[0] - poses[39][0].position[0];
        // Rotation between the two frames, from the quaternions' inner product.
        let (a, b) = (poses[39][0].rotation, poses[40][0].rotation);
        let inner: f32 = (0..4).map(|i| a[i] * b[i]).sum();
        let angle = 2.0 * inner.abs().min(1.0).acos();
        assert!(distance > 0.005, "it stopped: {distance}");
        assert!(
            (distance - 0.5 * angle).abs() < 0.15 * distance,
            "moved by {distance}, rotated by {angle}"
        );
    }
}
