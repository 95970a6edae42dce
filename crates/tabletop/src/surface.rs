//! Reflectance and patterns of the table and the wall. The patterns use an integer hash, so that all platforms agree.

use super::sampling::hash;
use super::scene::{Backdrop, Ground};
use super::vector::{V3, scale};

/// Side of a tile.
const TILE_SIDE: f32 = 0.8;
/// Width of a plank.
const PLANK_WIDTH: f32 = 0.42;
/// Width of a wall stripe.
const STRIPE_WIDTH: f32 = 0.6;
/// Length of a plank.
const PLANK_LENGTH: f32 = 2.6;

/// The reflectance of a surface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surface {
    /// Share of light that it reflects, diffusely or as a mirror.
    pub(crate) albedo: V3,
    /// Reflectance of the clear coat at normal incidence; 0 without a coat.
    pub(crate) coat: f32,
    pub(crate) mirror: bool,
}

#[inline(always)]
fn floor(v: f32) -> i32 {
    let whole = v as i32;
    whole - i32::from(v < whole as f32)
}

/// Returns a hashed value in 0..1 for a grid cell.
#[inline(always)]
fn field(x: i32, y: i32) -> f32 {
    (hash(x.cast_unsigned().wrapping_add(hash(y.cast_unsigned()))) >> 8) as i32 as f32
        * (1.0 / 16_777_216.0)
}

/// Returns value noise in 0..1 with one random value per unit.
fn noise(x: f32, y: f32) -> f32 {
    let (left, top) = (floor(x), floor(y));
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - left as f32), ease(y - top as f32));
    let row = |y: i32| {
        let (a, b) = (field(left, y), field(left.wrapping_add(1), y));
        a + u * (b - a)
    };
    let (a, b) = (row(top), row(top.wrapping_add(1)));
    a + v * (b - a)
}

/// Returns the brightness of planks along x: a value per plank, a grain and dark joints.
fn wood(x: f32, z: f32) -> f32 {
    let across = z / PLANK_WIDTH;
    let row = floor(across);
    let lengthwise = x / PLANK_LENGTH + field(row, 77);
    let plank = floor(lengthwise);
    let brightness = 0.78 + 0.44 * field(row, plank);
    let grain =
        0.62 * noise(1.3 * x + 31.0 * brightness, 26.0 * z) + 0.38 * noise(5.0 * x, 61.0 * z);
    let edge = (across - row as f32 - 0.5).abs();
    let end = (lengthwise - plank as f32 - 0.5).abs();
    let joint = if edge > 0.475 || end > 0.496 {
        0.45
    } else {
        1.0
    };
    brightness * (0.82 + 0.36 * grain) * joint
}

/// Returns the surface of the table at `point`.
#[inline(always)]
pub(crate) fn ground(ground: Ground, tone: V3, point: V3) -> Surface {
    let [x, _, z] = point;
    let (factor, coat) = match ground {
        Ground::Cloth => (1.0, 0.0),
        Ground::Tiles => {
            let even = (floor(x / TILE_SIDE) ^ floor(z / TILE_SIDE)) & 1 == 0;
            (if even { 1.25 } else { 0.55 }, 0.04)
        }
        Ground::Wood => (wood(x, z), 0.0),
        Ground::Glass => (1.0, 0.16),
    };
    Surface {
        albedo: scale(tone, factor),
        coat,
        mirror: false,
    }
}

/// Returns the surface of the wall at `point`.
#[inline(always)]
pub(crate) fn wall(backdrop: Backdrop, tone: V3, point: V3) -> Surface {
    let factor = match backdrop {
        Backdrop::Stripes if floor(point[0] / STRIPE_WIDTH) & 1 == 0 => 1.25,
        Backdrop::Stripes => 0.6,
        _ => 1.0,
    };
    Surface {
        albedo: scale(tone, factor),
        coat: 0.0,
        mirror: false,
    }
}
