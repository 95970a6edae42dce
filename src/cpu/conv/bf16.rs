//! Convolution with bf16 GEMMs. With stride 1 and output rows of 8 or a multiple of 16 pixels, operands are packed directly from a
//! padded image ([`Direct`]), and the input's gradient is a convolution of the result's gradient. Otherwise im2col matrices are built
//! in bands that fit into the CPU cache.

use super::super::gemm::{Matrix, Packed, PatchRows, Patches, Side, multiply};
use super::{ConvGeometry, add_offset_in_place, gather, scatter};

/// Maximum bytes of a band's im2col matrix.
const BAND: usize = 512 << 10;

/// Computes `y [b, o, v, u]` from `x [b, c, h, w]`, a weight `[o, c i j]` and a bias `[o]`.
pub(super) fn forward([x, weight, bias]: [&[f32]; 3], geometry: ConvGeometry, y: &mut [f32]) {
    let [c, h, w] = geometry.input;
    let [o, v, u] = geometry.output;
    let [k, _] = geometry.patches();
    let mut left = Packed::default();
    left.pack(Side::Left, Matrix::Rows(weight, k), [o, k]);
    let mut direct = Direct::new(&geometry);
    let (mut right, mut patches) = (Packed::default(), Vec::new());
    let images = x.chunks_exact(c * h * w);
    for (x, y) in images.zip(y.chunks_exact_mut(o * v * u)) {
        match &mut direct {
            Some(direct) => {
                direct.fill(x);
                direct.convolve(&left, y);
            }
            None => {
                for band in geometry.bands(BAND) {
                    let count = gathered(x, &band, &mut patches);
                    right.pack(Side::Right, Matrix::Columns(&patches, count), [count, k]);
                    multiply(&left, &right, &mut y[band.first_row * u..], v * u, false);
                }
            }
        }
        for (y, bias) in y.chunks_exact_mut(v * u).zip(bias) {
            add_offset_in_place(y, *bias);
        }
    }
}

/// Computes the gradients of input (unless `into_x` is empty) and weight, from input, weight and the result's gradient. The
/// destinations must be zero.
pub(super) fn backward(
    [x, weight, gradient]: [&[f32]; 3],
    geometry: ConvGeometry,
    into_x: &mut [f32],
    into_weight: &mut [f32],
) {
    let [c, h, w] = geometry.input;
    let [o, v, u] = geometry.output;
    let images = x.chunks_exact(c * h * w);
    let images = images.zip(gradient.chunks_exact(o * v * u));
    let back = geometry.back();
    if let (Some(mut ahead), Some(mut back)) =
        (Direct::new(&geometry), back.and_then(|g| Direct::new(&g)))
    {
        let mut flipped = Packed::default();
        if !into_x.is_empty() {
            let weight = geometry.flipped(weight);
            let k = weight.len() / c;
            flipped.pack(Side::Left, Matrix::Rows(&weight, k), [c, k]);
        }
        for (i, (x, gradient)) in images.enumerate() {
            ahead.fill(x);
            ahead.weight_gradient(gradient, o, into_weight);
            if !into_x.is_empty() {
                back.fill(gradient);
                back.convolve(&flipped, &mut into_x[i * c * h * w..(i + 1) * c * h * w]);
            }
        }
        return;
    }
    let [k, _] = geometry.patches();
    let mut transposed = Packed::default();
    transposed.pack(Side::Left, Matrix::Columns(weight, k), [k, o]);
    let [mut left, mut right] = [0; 2].map(|_| Packed::default());
    let mut patches = Vec::new();
    for (i, (x, gradient)) in images.enumerate() {
        for band in geometry.bands(BAND) {
            let count = gathered(x, &band, &mut patches);
            let gradient = &gradient[band.first_row * u..];
            left.pack(Side::Left, Matrix::Rows(gradient, v * u), [o, count]);
            right.pack(Side::Right, Matrix::Rows(&patches, count), [k, count]);
            multiply(&left, &right, into_weight, k, true);
            if into_x.is_empty() {
                continue;
            }
            right.pack(Side::Right, Matrix::Columns(gradient, v * u), [count, o]);
            multiply(&transposed, &right, &mut patches, count, false);
            let image = &mut into_x[i * c * h * w..(i + 1) * c * h * w];
            scatter(&patches, &band, image);
        }
    }
}

/// Builds a band's im2col matrix `[c i j, count]` and returns `count`, its number of pixels.
fn gathered(x: &[f32], band: &ConvGeometry, patches: &mut Vec<f32>) -> usize {
    let [k, count] = band.patches();
    patches.clear();
    patches.resize(k * count, 0.0);
    gather(x, band, patches);
    count
}

impl ConvGeometry {
    /// Returns the convolution that computes the input's gradient from the result's. `None` unless the stride is 1 and the padding is
    /// smaller than the kernel.
    fn back(&self) -> Option<ConvGeometry> {
        let [rows, columns] = self.kernel;
        let [top, left] = self.padding_before;
        let padding_before = [
            (rows - 1).checked_sub(top)?,
            (columns - 1).checked_sub(left)?,
        ];
        (self.stride == 1).then_some(ConvGeometry {
            input: self.output,
            output: self.input,
            padding_before,
            ..*self
        })
    }

    /// Returns the weight `[o, c, i, j]` for the convolution of [`ConvGeometry::back`]: `[c, o, i, j]`, both kernel axes reversed.
    fn flipped(&self, weight: &[f32]) -> Vec<f32> {
        let ([c, ..], [o, ..]) = (self.input, self.output);
        let area = self.kernel[0] * self.kernel[1];
        let mut flipped = Vec::with_capacity(weight.len());
        for channel in 0..c {
            for output in 0..o {
                let kernel = &weight[(output * c + channel) * area..][..area];
                flipped.extend(kernel.iter().rev());
            }
        }
        flipped
    }
}

/// A convolution of stride 1 that packs its patches directly from a padded image.
struct Direct {
    geometry: ConvGeometry,
    /// Rows and columns of the padded image.
    sides: [usize; 2],
    image: Vec<f32>,
    offsets: Vec<usize>,
    groups: Vec<usize>,
    second_row: Option<usize>,
    right: Packed,
    left: Packed,
}

impl Direct {
    /// Returns `None` unless the stride is 1 and the output pixels form groups of 16.
    fn new(geometry: &ConvGeometry) -> Option<Self> {
        let [c, ..] = geometry.input;
        let [rows, columns] = geometry.kernel;
        let [_, v, u] = geometry.output;
        let pairs = u == 8 && v.is_multiple_of(2);
        if geometry.stride != 1 || !(pairs || u.is_multiple_of(16)) {
            return None;
        }
        let sides = [v + rows - 1, u + columns - 1];
        let place = |channel, y, x| (channel * sides[0] + y) * sides[1] + x;
        let mut offsets = Vec::new();
        for channel in 0..c {
            for i in 0..rows {
                offsets.extend((0..columns).map(|j| place(channel, i, j)));
            }
        }
        let starts = |y| (0..u).step_by(16).map(move |x| place(0, y, x));
        let groups = (0..v).step_by(if pairs { 2 } else { 1 }).flat_map(starts);
        Some(Direct {
            geometry: *geometry,
            sides,
            image: vec![0.0; c * sides[0] * sides[1]],
            offsets,
            groups: groups.collect(),
            second_row: pairs.then_some(sides[1]),
            right: Packed::default(),
            left: Packed::default(),
        })
    }

    /// Copies an image `[c, h, w]` into the padded image.
    fn fill(&mut self, x: &[f32]) {
        let [c, h, w] = self.geometry.input;
        let [top, left] = self.geometry.padding_before;
        let [rows, columns] = self.sides;
        // Pixels that no window reads are left out.
        let (h_seen, w_seen) = (h.min(rows - top), w.min(columns - left));
        for channel in 0..c {
            for y in 0..h_seen {
                let from = &x[(channel * h + y) * w..][..w_seen];
                let at = (channel * rows + top + y) * columns + left;
                self.image[at..at + w_seen].copy_from_slice(from);
            }
        }
    }

    /// Returns ranges of groups whose packed patches fit into the CPU cache.
    fn bands(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let count = self.groups.len();
        let each = (BAND / (2 * 16 * self.offsets.len())).clamp(2, count.max(2)) & !1;
        (0..count)
            .step_by(each)
            .map(move |first| first..(first + each).min(count))
    }

    fn patches(&self, groups: std::ops::Range<usize>) -> Patches<'_> {
        Patches {
            image: &self.image,
            offsets: &self.offsets,
            groups: &self.groups[groups],
            second_row: self.second_row,
        }
    }

    /// Computes `y [o, v, u]` with a packed weight `[o, offsets]`.
    fn convolve(&mut self, weight: &Packed, y: &mut [f32]) {
        let pixels = 16 * self.groups.len();
        for band in self.bands() {
            let mut right = std::mem::take(&mut self.right);
            right.pack_patches(self.patches(band.clone()), PatchRows::Pixels);
            multiply(weight, &right, &mut y[16 * band.start..], pixels, false);
            self.right = right;
        }
    }

    /// Adds the weight's gradient `[o, offsets]`, computed from the result's gradient `[o, v, u]`.
    fn weight_gradient(&mut self, gradient: &[f32], o: usize, into_weight: &mut [f32]) {
        let pixels = 16 * self.groups.len();
        for band in self.bands() {
            let mut right = std::mem::take(&mut self.right);
            right.pack_patches(self.patches(band.clone()), PatchRows::Offsets);
            let rows = Matrix::Rows(&gradient[16 * band.start..], pixels);
            self.left.pack(Side::Left, rows, [o, 16 * band.len()]);
            multiply(&self.left, &right, into_weight, self.offsets.len(), true);
            self.right = right;
        }
    }
}
