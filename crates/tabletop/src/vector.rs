//! Three-component vectors for the renderer; x points to the right, y up, z towards the camera.

/// A point, a direction or a colour.
pub(crate) type V3 = [f32; 3];

#[inline(always)]
pub(crate) fn dot(a: V3, b: V3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[inline(always)]
pub(crate) fn cross(a: V3, b: V3) -> V3 {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[inline(always)]
pub(crate) fn add(a: V3, b: V3) -> V3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

#[inline(always)]
pub(crate) fn sub(a: V3, b: V3) -> V3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Multiplies component by component.
#[inline(always)]
pub(crate) fn mul(a: V3, b: V3) -> V3 {
    [a[0] * b[0], a[1] * b[1], a[2] * b[2]]
}

#[inline(always)]
pub(crate) fn scale(a: V3, s: f32) -> V3 {
    [a[0] * s, a[1] * s, a[2] * s]
}

/// Returns `o + t d`.
#[inline(always)]
pub(crate) fn along(o: V3, d: V3, t: f32) -> V3 {
    [o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]]
}

/// Interpolates linearly from `a` (`t` = 0) to `b` (`t` = 1).
#[inline(always)]
pub(crate) fn mix(a: V3, b: V3, t: f32) -> V3 {
    add(scale(a, 1.0 - t), scale(b, t))
}

/// Normalises `a`; the zero vector stays zero.
#[inline(always)]
pub(crate) fn unit(a: V3) -> V3 {
    scale(a, 1.0 / dot(a, a).max(1e-12).sqrt())
}

/// Reflects the direction `d` at a mirror of normal `n`.
#[inline(always)]
pub(crate) fn reflect(d: V3, n: V3) -> V3 {
    along(d, n, -2.0 * dot(d, n))
}

/// Returns the columns of the rotation matrix of a quaternion x, y, z, w of any norm; the identity for norm 0.
pub(crate) fn axes(quaternion: [f32; 4]) -> [V3; 3] {
    let square: f32 = quaternion.iter().map(|v| v * v).sum();
    let usable = square.is_finite() && square > 1e-12;
    let [x, y, z, w] = if usable {
        quaternion.map(|v| v / square.sqrt())
    } else {
        [0.0, 0.0, 0.0, 1.0]
    };
    [
        [
            1.0 - 2.0 * (y * y + z * z),
            2.0 * (x * y + z * w),
            2.0 * (x * z - y * w),
        ],
        [
            2.0 * (x * y - z * w),
            1.0 - 2.0 * (x * x + z * z),
            2.0 * (y * z + x * w),
        ],
        [
            2.0 * (x * z + y * w),
            2.0 * (y * z - x * w),
            1.0 - 2.0 * (x * x + y * y),
        ],
    ]
}
