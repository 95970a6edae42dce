//! The picture of a scene: analytic ray casting, four samples a pixel where a solid may be, a lamp of finite width for
//! soft shadows, a sky and the table's bounce as ambient light. Solids do not light each other, so a recoloured
//! solid changes no pixel but its own. Nothing is random: the lamp's samples are the same for every pixel.

use super::body::{Body, V3, along, dot, unit};
use super::scene::{MAX_SOLIDS, Scene, Shape, Solid};
use crate::image::Image;

/// Tangent of half the lamp's angular width: a solid of height 1 gets a penumbra of about a quarter.
const LAMP: f32 = 0.13;
/// Directions towards the lamp: enough that a penumbra's steps are below what 8 bits make visible.
const LAMP_SAMPLES: usize = 32;
/// Light of the lamp at normal incidence and of the sky from above.
const KEY: f32 = 1.05;
const SKY: f32 = 0.36;
/// Side of a field of the checker, in table units.
const FIELD: f32 = 0.8;
/// Where in a pixel the four samples lie: a turned square, so that edges of both directions get four steps.
const SUBPIXELS: [[f32; 2]; 4] = [
    [0.375, 0.125],
    [0.875, 0.375],
    [0.125, 0.625],
    [0.625, 0.875],
];

/// A picture and what each of its pixels shows.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The picture.
    pub image: Image,
    /// One a pixel, rows from the top: 0 is the table alone, `i + 1` is a pixel of which solid `i` covers a sample.
    pub ids: Vec<u8>,
}

impl Rendered {
    /// The pixels that solid `solid` covers.
    pub fn mask(&self, solid: usize) -> Vec<bool> {
        covered(&self.ids, solid)
    }
}

/// The pixels that a map of ids gives to solid `solid`.
pub(super) fn covered(ids: &[u8], solid: usize) -> Vec<bool> {
    ids.iter().map(|&id| usize::from(id) == solid + 1).collect()
}

/// The fixed camera: it looks down at the middle of the table at 42 degrees.
pub(super) struct Camera;

impl Camera {
    /// Sine and cosine of the angle at which it looks down.
    const DOWN: (f32, f32) = (0.669_131, 0.743_145);
    const DISTANCE: f32 = 8.0;
    /// The point in the middle of the frame lies this far above the table.
    const HEIGHT: f32 = 0.22;
    /// Tangent of half the field of view.
    const HALF: f32 = 0.245;

    fn eye() -> V3 {
        let (sin, cos) = Self::DOWN;
        [
            0.0,
            Self::HEIGHT + Self::DISTANCE * sin,
            Self::DISTANCE * cos,
        ]
    }

    /// Direction through the frame at `u` from the left and `v` from the top, both 0 to 1.
    fn ray(u: f32, v: f32) -> V3 {
        let (sin, cos) = Self::DOWN;
        let (x, y) = ((2.0 * u - 1.0) * Self::HALF, (1.0 - 2.0 * v) * Self::HALF);
        unit([x, y * cos - sin, -y * sin - cos])
    }

    /// Where in the frame a point appears, and the frame's share that a unit of length takes there.
    fn project(p: V3) -> (f32, f32, f32) {
        let (sin, cos) = Self::DOWN;
        let (y, z) = (p[1] - Self::HEIGHT, p[2]);
        let depth = Self::DISTANCE - y * sin - z * cos;
        let scale = 0.5 / (Self::HALF * depth);
        let up = y * cos - z * sin;
        (0.5 + p[0] * scale, 0.5 - up * scale, scale)
    }

    /// The box about a solid in the frame, 0 to 1 each: left, top, right, bottom.
    pub(super) fn outline(solid: &Solid) -> [f32; 4] {
        let [x, z] = solid.position();
        let (r, h) = solid.extent();
        if solid.shape == Shape::Sphere {
            let (u, v, scale) = Self::project([x, r, z]);
            // The outline of a sphere in perspective is a little wider than its radius at the centre's depth.
            let r = 1.01 * r * scale;
            return [u - r, v - r, u + r, v + r];
        }
        let (corners, turn, radius) = match solid.shape {
            Shape::Cube => (
                4,
                solid.yaw + std::f32::consts::FRAC_PI_4,
                solid.footprint(),
            ),
            _ => (32, 0.0, r),
        };
        let ring = |y: f32| {
            (0..corners).map(move |i| {
                let a = turn + i as f32 * std::f32::consts::TAU / corners as f32;
                [x + radius * a.cos(), y, z + radius * a.sin()]
            })
        };
        let mut frame = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        let mut include = |p: V3| {
            let (u, v, _) = Self::project(p);
            frame = [
                frame[0].min(u),
                frame[1].min(v),
                frame[2].max(u),
                frame[3].max(v),
            ];
        };
        ring(0.0).for_each(&mut include);
        match solid.shape {
            Shape::Cone => include([x, h, z]),
            _ => ring(h).for_each(include),
        }
        frame
    }
}

/// A scene, ready to be rendered.
struct Stage {
    bodies: Vec<Body>,
    ground: V3,
    checker: f32,
    /// Towards the middle of the lamp, and towards its samples.
    light: V3,
    lamp: [V3; LAMP_SAMPLES],
}

impl Stage {
    fn new(scene: &Scene) -> Stage {
        let (azimuth, elevation) = (scene.light.azimuth, scene.light.elevation);
        let light = [
            azimuth.sin() * elevation.cos(),
            elevation.sin(),
            azimuth.cos() * elevation.cos(),
        ];
        let side = [azimuth.cos(), 0.0, -azimuth.sin()];
        let up = [
            -azimuth.sin() * elevation.sin(),
            elevation.cos(),
            -azimuth.cos() * elevation.sin(),
        ];
        let lamp = std::array::from_fn(|i| {
            // Sunflower points: even over the disc.
            let r = LAMP * ((i as f32 + 0.5) / LAMP_SAMPLES as f32).sqrt();
            let a = i as f32 * 2.399_963;
            unit(along(along(light, side, r * a.cos()), up, r * a.sin()))
        });
        let tone = scene.ground.tone.albedo();
        Stage {
            bodies: scene.solids.iter().map(Body::new).collect(),
            ground: std::array::from_fn(|c| tone[c] * scene.ground.tint[c]),
            checker: scene.ground.checker,
            light,
            lamp,
        }
    }

    /// Distance, normal and index of the first of the bodies of `near` (bit i is body i) along a ray.
    fn first_hit(&self, near: u32, o: V3, d: V3) -> Option<(f32, V3, usize)> {
        let mut first: Option<(f32, V3, usize)> = None;
        for (i, body) in self.bodies.iter().enumerate() {
            if near >> i & 1 == 1
                && let Some((t, n)) = body.hit(o, d)
                && first.is_none_or(|(best, ..)| t < best)
            {
                first = Some((t, n, i));
            }
        }
        first
    }

    /// The share of the lamp that `p` sees; `own` is the solid that `p` lies on. All solids are convex, so none
    /// shadows itself beyond what its normals say.
    fn lit(&self, p: V3, own: usize) -> f32 {
        let mut open = u32::MAX;
        for (i, body) in self.bodies.iter().enumerate() {
            let [y, r] = body.bound;
            let to = [body.at[0] - p[0], y - p[1], body.at[1] - p[2]];
            let ahead = dot(to, self.light);
            let reach = 1.02 * r + LAMP * (ahead + r).max(0.0);
            if i == own || ahead < -r || dot(to, to) - ahead * ahead > reach * reach {
                continue;
            }
            for (k, &d) in self.lamp.iter().enumerate() {
                if open >> k & 1 == 1 && body.hit(p, d).is_some() {
                    open &= !(1 << k);
                }
            }
        }
        open.count_ones() as f32 / LAMP_SAMPLES as f32
    }

    /// The share of the sky that the table sees at `p`, with every solid taken as a ball of its bulk.
    fn open_sky(&self, p: V3) -> f32 {
        self.bodies.iter().fold(1.0, |sky, body| {
            let half = body.height / 2.0;
            let [x, z] = [body.at[0] - p[0], body.at[1] - p[2]];
            let square = x * x + z * z + half * half;
            let hidden = half / square.sqrt() * body.radius * half / square;
            // Less than 2 % is dropped, so that a solid darkens its neighbourhood and not the whole table.
            sky * (1.0 - 1.1 * (hidden - 0.02).max(0.0)).max(0.1)
        })
    }

    /// Light that arrives at the table at `p`.
    fn on_ground(&self, p: V3) -> f32 {
        KEY * self.light[1] * self.lit(p, usize::MAX) + SKY * self.open_sky(p)
    }

    fn ground_albedo(&self, p: V3) -> V3 {
        let field = ((p[0] / FIELD).floor() + (p[2] / FIELD).floor()) as i32;
        let sign = if field & 1 == 0 { 0.5 } else { -0.5 };
        self.ground.map(|c| c * (1.0 + sign * self.checker))
    }

    fn on_body(&self, index: usize, p: V3, n: V3, view: V3) -> V3 {
        let body = &self.bodies[index];
        let facing = dot(n, self.light);
        // The lamp is wide: the terminator is as soft as the penumbra.
        let soft = if facing > LAMP {
            facing
        } else {
            let x = (facing + LAMP).max(0.0);
            x * x / (4.0 * LAMP)
        };
        let key = if soft > 0.0 {
            KEY * self.lit(p, index)
        } else {
            0.0
        };
        let half = unit([
            self.light[0] - view[0],
            self.light[1] - view[1],
            self.light[2] - view[2],
        ]);
        let gloss = 0.22 * dot(n, half).max(0.0).powi(48);
        let up = 0.5 + 0.5 * n[1];
        // Low on the solid's side the table hides light as the solid hides it from the table.
        let contact = 0.75 + 0.25 * (p[1] / 0.35).min(1.0);
        std::array::from_fn(|c| {
            let ambient = (SKY * up + 0.35 * self.ground[c] * (1.0 - up)) * contact;
            body.albedo[c] * (key * soft + ambient) + key * gloss * soft.sqrt()
        })
    }
}

fn encode(linear: f32) -> u8 {
    (255.0 * linear.clamp(0.0, 1.0).powf(1.0 / 2.2) + 0.5) as u8
}

/// What one pixel shows: its colour, linear, and its id.
fn pixel(stage: &Stage, left: f32, top: f32, step: f32) -> (V3, u8) {
    let eye = Camera::eye();
    let to_table = |d: V3| along(eye, d, -eye[1] / d[1]);
    // Bit i: the pixel may show body i.
    let near = stage.bodies.iter().enumerate().fold(0u32, |near, (i, b)| {
        let [l, t, r, d] = b.frame;
        let inside = left + step > l && left < r && top + step > t && top < d;
        near | u32::from(inside) << i
    });
    // One light value does for a pixel of bare table; beside a solid it changes too fast for that.
    let bare = (near == 0).then(|| {
        let middle = Camera::ray(left + 0.5 * step, top + 0.5 * step);
        stage.on_ground(to_table(middle))
    });
    let mut colour = [0.0; 3];
    let mut covered = [0u8; MAX_SOLIDS];
    for [dx, dy] in SUBPIXELS {
        let d = Camera::ray(left + dx * step, top + dy * step);
        let sample = match stage.first_hit(near, eye, d) {
            Some((t, n, i)) => {
                covered[i] += 1;
                stage.on_body(i, along(eye, d, t), n, d)
            }
            None => {
                let p = to_table(d);
                let light = bare.unwrap_or_else(|| stage.on_ground(p));
                stage.ground_albedo(p).map(|c| c * light)
            }
        };
        for c in 0..3 {
            colour[c] += 0.25 * sample[c];
        }
    }
    let most = (0..covered.len()).max_by_key(|&i| covered[i]);
    let id = most.filter(|&i| covered[i] > 0).map_or(0, |i| i as u8 + 1);
    (colour, id)
}

/// Renders `scene` as a square picture of `size` pixels a side (at least 1).
pub fn render(scene: &Scene, size: u32) -> Rendered {
    let size = size.max(1);
    let stage = Stage::new(scene);
    let step = 1.0 / size as f32;
    let pixels = (0..size).flat_map(|y| (0..size).map(move |x| (x as f32 * step, y as f32 * step)));
    let count = (size as usize).pow(2);
    let (mut rgb, mut ids) = (Vec::with_capacity(3 * count), Vec::with_capacity(count));
    for (left, top) in pixels {
        let (colour, id) = pixel(&stage, left, top, step);
        rgb.extend(colour.map(encode));
        ids.push(id);
    }
    let image = Image {
        width: size,
        height: size,
        rgb,
    };
    Rendered { image, ids }
}
