//! Sample points of paths: scrambled Sobol points, the same for all pixels, with a rotation per pixel.
//!
//! Each decision of a path (position in the pixel, point on the lamp, direction of a bounce) has its own two dimensions: a
//! Sobol sequence with its own Owen scrambling and point order (Burley, 2020). So each decision is stratified, and
//! independent of the others. Lamp points lie on a disc and bounce points on a sphere; a pixel rotates them as a whole, which
//! keeps them evenly distributed.

use super::vector::{V3, axes};

/// Maximum number of diffuse bounces of a path.
pub(crate) const MAX_BOUNCES: usize = 8;

/// Hashes an integer (PCG's output function).
#[inline(always)]
pub(crate) fn hash(v: u32) -> u32 {
    let state = v.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let mixed = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (mixed >> 22) ^ mixed
}

/// Owen scrambling by hashing (Laine and Karras, 2011, with Burley's constants).
fn scramble(v: u32, seed: u32) -> u32 {
    let mut v = v.reverse_bits().wrapping_add(seed);
    for factor in [0x6c50_b47c_u32, 0xb82f_1e52, 0xc7af_e638, 0x8d22_f6e6] {
        v ^= v.wrapping_mul(factor);
    }
    v.reverse_bits()
}

/// Returns a point of the first two dimensions of the Sobol sequence.
fn sobol(index: u32) -> [u32; 2] {
    let (mut second, mut direction, mut rest) = (0, 1 << 31, index);
    while rest != 0 {
        if rest & 1 == 1 {
            second ^= direction;
        }
        direction ^= direction >> 1;
        rest >>= 1;
    }
    [index.reverse_bits(), second]
}

/// Converts the upper 24 bits to a number in 0..1.
#[inline(always)]
pub(crate) fn fraction(v: u32) -> f32 {
    // CPUs convert i32 to f32 faster than u32.
    (v >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

/// Returns the number of points of a path with `bounces` bounces: one in the pixel, one on the lamp per surface, and one on
/// the sphere per bounce.
pub(crate) fn decisions(bounces: u32) -> usize {
    2 * (bounces as usize + 1)
}

/// Returns the points of all samples, sample by sample: x and y in the pixel (0..1), then alternately x and y on the lamp (a
/// disc of radius 1) and x, y, z on the unit sphere. Points in the pixel and on the lamp have a z of 0.
pub(crate) fn points(samples: u32, bounces: u32) -> Vec<V3> {
    let point = |sample: u32, decision: usize| {
        let seed = hash(decision as u32 + 1);
        let [u, v] = sobol(scramble(sample, seed));
        let u = fraction(scramble(u, hash(seed ^ 0x9e37_79b9)));
        let v = fraction(scramble(v, hash(seed ^ 0x85eb_ca6b)));
        let [cos, sin] = cos_sin(v);
        match decision {
            0 => [u, v, 0.0],
            _ if decision % 2 == 1 => [u.sqrt() * cos, u.sqrt() * sin, 0.0],
            _ => {
                let height = 1.0 - 2.0 * u;
                let level = (1.0 - height * height).sqrt();
                [level * cos, height, level * sin]
            }
        }
    };
    (0..samples)
        .flat_map(|sample| (0..decisions(bounces)).map(move |decision| point(sample, decision)))
        .collect()
}

/// The rotations of the points for a pixel; they depend only on the pixel's position.
pub(crate) struct Rotations {
    /// Added to the position in the pixel, modulo 1.
    shift: [f32; 2],
    /// Cosine and sine of the rotation of the lamp points, per surface.
    lamps: [[f32; 2]; MAX_BOUNCES + 1],
    /// Rotation of the sphere points, per bounce.
    spheres: [[V3; 3]; MAX_BOUNCES],
}

impl Rotations {
    /// Returns the rotations for the pixel in column `x` and row `y`.
    pub(crate) fn new(x: u32, y: u32, bounces: u32) -> Rotations {
        let pixel = hash(x.wrapping_add(hash(y)));
        let random = |i: u32| fraction(hash(pixel.wrapping_add(i)));
        let mut rotations = Rotations {
            shift: [random(0), random(1)],
            lamps: [[0.0; 2]; MAX_BOUNCES + 1],
            spheres: [[[0.0; 3]; 3]; MAX_BOUNCES],
        };
        for i in 0..=bounces {
            rotations.lamps[i as usize] = cos_sin(random(4 * i + 2));
        }
        for i in 0..bounces {
            rotations.spheres[i as usize] = rotation([3, 4, 5].map(|k| random(4 * i + k)));
        }
        rotations
    }
}

/// Maps three uniform numbers to a uniformly distributed rotation (Shoemake, 1992).
fn rotation([u, v, w]: [f32; 3]) -> [V3; 3] {
    let ([a, b], [c, d]) = (cos_sin(v), cos_sin(w));
    let (first, second) = ((1.0 - u).sqrt(), u.sqrt());
    axes([first * b, first * a, second * d, second * c])
}

/// The sample points of one path.
pub(crate) struct Decisions<'a> {
    /// The sample's points.
    pub(crate) points: &'a [V3],
    /// The pixel's rotations of the points.
    pub(crate) rotations: &'a Rotations,
    /// Maximum number of diffuse bounces.
    pub(crate) bounces: u32,
}

impl Decisions<'_> {
    /// Returns the position in the pixel.
    #[inline(always)]
    pub(crate) fn pixel_offset(&self) -> [f32; 2] {
        let wrap = |v: f32| if v >= 1.0 { v - 1.0 } else { v };
        let ([u, v, _], [du, dv]) = (self.points[0], self.rotations.shift);
        [wrap(u + du), wrap(v + dv)]
    }

    /// Returns the point of the lamp, in a disc of radius 1, for the surface after `bounces` bounces.
    #[inline(always)]
    pub(crate) fn lamp(&self, bounces: u32) -> [f32; 2] {
        let [x, y, _] = self.points[1 + 2 * bounces as usize];
        let [cos, sin] = self.rotations.lamps[bounces as usize];
        [x * cos - y * sin, x * sin + y * cos]
    }

    /// Returns a cosine-weighted direction about `normal`: the normalised sum of the normal and a point of the unit sphere;
    /// the normal itself where the sum is near 0.
    #[inline(always)]
    pub(crate) fn bounce(&self, bounces: u32, normal: V3) -> V3 {
        let [x, y, z] = self.points[2 + 2 * bounces as usize];
        let [a, b, c] = &self.rotations.spheres[bounces as usize];
        let sum: V3 = std::array::from_fn(|i| normal[i] + x * a[i] + y * b[i] + z * c[i]);
        let square = sum[0] * sum[0] + sum[1] * sum[1] + sum[2] * sum[2];
        if square < 1e-6 {
            return normal;
        }
        let inverse = 1.0 / square.sqrt();
        sum.map(|v| v * inverse)
    }
}

/// Returns the cosine and sine of an angle in full turns, 0 to 1, within 4e-6. Uses a polynomial, so that all platforms agree.
fn cos_sin(angle: f32) -> [f32; 2] {
    // Both are the sine of an angle in the first or fourth quadrant.
    let sine = |quarter: f32| {
        let z = std::f32::consts::TAU * quarter;
        let s = z * z;
        z * (1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s / 362_880.0))))
    };
    let cosine = 0.25 - (angle - 0.5).abs();
    let away = (angle - 0.25).abs();
    [sine(-cosine), sine(0.25 - away.min(1.0 - away))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_stratified_for_any_number_of_samples() {
        for decision in 0..decisions(2) {
            for count in [16u32, 64] {
                // In a (0, 2)-sequence every box of area 1 / count contains one point. `unit_square` maps it there.
                let all = points(count, 2);
                let unit_square = |sample: u32| {
                    let [x, y, z] = all[sample as usize * decisions(2) + decision];
                    match decision {
                        0 => [x, y],
                        _ if decision % 2 == 1 => {
                            [x * x + y * y, y.atan2(x) / std::f32::consts::TAU]
                        }
                        _ => [(1.0 - y) / 2.0, z.atan2(x) / std::f32::consts::TAU],
                    }
                };
                let side = count.isqrt();
                let mut seen = vec![0; count as usize];
                for sample in 0..count {
                    let [u, v] = unit_square(sample).map(|v| v.rem_euclid(1.0) * side as f32);
                    // Move points off the box borders, where the mapping to the disc and back may round.
                    let whole = |v: f32| ((v + 1e-4) as u32).min(side - 1);
                    seen[(whole(u) * side + whole(v)) as usize] += 1;
                }
                let filled = seen.iter().filter(|&&n| n == 1).count();
                assert!(
                    filled as u32 >= count - 2,
                    "decision {decision}: {filled} of {count}"
                );
            }
        }
    }

    #[test]
    fn directions_are_unit_and_cosine_weighted() {
        let all = points(256, 1);
        let normal = [0.6, 0.0, 0.8];
        let (mut sum, mut min_cosine) = (0.0, 1.0f32);
        for pixel in 0..16 {
            let rotations = Rotations::new(pixel, 7, 1);
            for points in all.chunks_exact(decisions(1)) {
                let decisions = Decisions {
                    points,
                    rotations: &rotations,
                    bounces: 1,
                };
                let d = decisions.bounce(0, normal);
                assert!((d.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
                let cosine: f32 = (0..3).map(|i| normal[i] * d[i]).sum();
                min_cosine = min_cosine.min(cosine);
                sum += cosine / 4096.0;
                let [x, y] = decisions.lamp(1);
                assert!(x * x + y * y < 1.0001);
                assert!(
                    decisions
                        .pixel_offset()
                        .iter()
                        .all(|v| (0.0..1.0).contains(v))
                );
            }
        }
        // The mean cosine of a cosine-weighted direction is 2/3.
        assert!(
            (sum - 2.0 / 3.0).abs() < 2e-3 && min_cosine > -1e-5,
            "mean {sum}, minimum {min_cosine}"
        );
    }

    #[test]
    fn cos_sin_is_accurate() {
        for i in 0..=1000 {
            let angle = i as f32 / 1000.0;
            let [cos, sin] = cos_sin(angle);
            let exact = std::f64::consts::TAU * f64::from(angle);
            assert!((f64::from(cos) - exact.cos()).abs() < 1e-5, "{angle}");
            assert!((f64::from(sin) - exact.sin()).abs() < 1e-5, "{angle}");
        }
    }
}
