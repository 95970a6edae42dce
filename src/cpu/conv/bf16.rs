//! Convolutions on bf16 products: patches are gathered in bands that stay in the cache, and packed from there.

use super::super::gemm::{Matrix, Packed, Side, multiply};
use super::{Geometry, add_offset_in_place, gather, scatter};

/// Bytes of a band's patches.
const BAND: usize = 256 << 10;

/// `y [b, o, v, u]` of `x [b, c, h, w]`, a weight `[o, c i j]` and a bias `[o]`.
pub(super) fn forward([x, weight, bias]: [&[f32]; 3], geometry: Geometry, y: &mut [f32]) {
    let [c, h, w] = geometry.input;
    let [o, v, u] = geometry.output;
    let [k, _] = geometry.patches();
    let mut left = Packed::default();
    left.pack(Side::Left, Matrix::Rows(weight, k), [o, k]);
    let (mut right, mut patches) = (Packed::default(), Vec::new());
    let images = x.chunks_exact(c * h * w);
    for (x, y) in images.zip(y.chunks_exact_mut(o * v * u)) {
        for band in geometry.bands(BAND) {
            let [_, count] = gathered(x, &band, &mut patches);
            right.pack(Side::Right, Matrix::Columns(&patches, count), [count, k]);
            multiply(&left, &right, &mut y[band.above * u..], v * u, false);
        }
        for (y, bias) in y.chunks_exact_mut(v * u).zip(bias) {
            add_offset_in_place(y, *bias);
        }
    }
}

/// Adds the gradients of input, unless `into_x` is empty, and weight; operands are input, weight and the result's gradient.
pub(super) fn backward(
    [x, weight, gradient]: [&[f32]; 3],
    geometry: Geometry,
    into_x: &mut [f32],
    into_weight: &mut [f32],
) {
    let [c, h, w] = geometry.input;
    let [o, v, u] = geometry.output;
    let [k, _] = geometry.patches();
    let mut turned = Packed::default();
    turned.pack(Side::Left, Matrix::Columns(weight, k), [k, o]);
    let [mut left, mut right] = [0; 2].map(|_| Packed::default());
    let mut patches = Vec::new();
    let images = x.chunks_exact(c * h * w);
    for (i, (x, gradient)) in images.zip(gradient.chunks_exact(o * v * u)).enumerate() {
        for band in geometry.bands(BAND) {
            let [_, count] = gathered(x, &band, &mut patches);
            let gradient = &gradient[band.above * u..];
            left.pack(Side::Left, Matrix::Rows(gradient, v * u), [o, count]);
            right.pack(Side::Right, Matrix::Rows(&patches, count), [k, count]);
            multiply(&left, &right, into_weight, k, true);
            if into_x.is_empty() {
                continue;
            }
            right.pack(Side::Right, Matrix::Columns(gradient, v * u), [count, o]);
            multiply(&turned, &right, &mut patches, count, false);
            let image = &mut into_x[i * c * h * w..(i + 1) * c * h * w];
            scatter(&patches, &band, image);
        }
    }
}

/// Gathers a band's patches, `[c i j, count]`, and returns their size.
fn gathered(x: &[f32], band: &Geometry, patches: &mut Vec<f32>) -> [usize; 2] {
    let [k, count] = band.patches();
    patches.clear();
    patches.resize(k * count, 0.0);
    gather(x, band, patches);
    [k, count]
}
