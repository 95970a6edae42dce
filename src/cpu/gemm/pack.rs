//! Packing of f32 matrices into bf16 tiles, the operand format of [`super::amx`] and [`super::avx512`].
//!
//! A tile holds 16 rows (or columns) of the product by 32 steps along `k`, as 16 x 16 pairs of bf16 numbers, 1 KiB. In a
//! *left* tile each row of 16 pairs belongs to a row of the product; in a *right* tile each row holds one pair of each of 16 columns.
//! The layout of tiles is `[rows / 16][k / 32]`, padded with zeros.

use std::arch::x86_64::*;

/// Rows of the product in a tile.
pub(crate) const ROWS: usize = 16;
/// Steps along `k` in a tile.
pub(crate) const DEPTH: usize = 32;

/// A tile of pairs, aligned to a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile([u32; 16 * ROWS]);

impl Tile {
    /// A tile of zeros.
    pub(crate) const ZERO: Tile = Tile([0; 16 * ROWS]);
}

/// Which side of a product an operand is packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Rows of the product.
    Left,
    /// Columns of the product.
    Right,
}

/// Packs `rows` rows of length `k`, `stride` floats apart, into `out`.
///
/// # Safety
/// The CPU must have AVX-512 F, BW, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn from_rows(
    x: &[f32],
    stride: usize,
    [rows, k]: [usize; 2],
    side: Side,
    out: &mut [Tile],
) {
    let k_tiles = k.div_ceil(DEPTH);
    let row_tiles = rows.div_ceil(ROWS);
    assert!(rows == 0 || x.len() >= (rows - 1) * stride + k);
    assert!(out.len() >= row_tiles * k_tiles);
    for block in 0..row_tiles {
        for q in 0..k_tiles {
            let count = (k - q * DEPTH).min(DEPTH);
            let low: u16 = mask(count);
            let high: u16 = mask(count.saturating_sub(16));
            let mut tile = [_mm512_setzero_si512(); ROWS];
            for (r, pairs) in tile
                .iter_mut()
                .enumerate()
                .take(rows - (block * ROWS).min(rows))
            {
                let start = (block * ROWS + r) * stride + q * DEPTH;
                // SAFETY: masked loads touch `count` floats from `start`, which the assertion above covers.
                unsafe {
                    let from = x.as_ptr().add(start);
                    let first = _mm512_maskz_loadu_ps(low, from);
                    let second = _mm512_maskz_loadu_ps(high, from.wrapping_add(16));
                    *pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
                        second, first,
                    ));
                }
            }
            if side == Side::Right {
                transpose(&mut tile);
            }
            store(&tile, &mut out[block * k_tiles + q]);
        }
    }
}

/// Packs the transpose of a matrix `[k, rows]` whose rows are `stride` floats apart into `out`, as `rows` rows of length `k`.
///
/// # Safety
/// The CPU must have AVX-512 F, BW, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn from_columns(
    x: &[f32],
    stride: usize,
    [rows, k]: [usize; 2],
    side: Side,
    out: &mut [Tile],
) {
    let k_tiles = k.div_ceil(DEPTH);
    let row_tiles = rows.div_ceil(ROWS);
    assert!(k == 0 || x.len() >= (k - 1) * stride + rows);
    assert!(out.len() >= row_tiles * k_tiles);
    for q in 0..k_tiles {
        for block in 0..row_tiles {
            let wide: u16 = mask(rows - block * ROWS);
            let mut tile = [_mm512_setzero_si512(); ROWS];
            for (p, pairs) in tile.iter_mut().enumerate() {
                let step = q * DEPTH + 2 * p;
                let load = |step: usize| {
                    if step >= k {
                        return _mm512_setzero_ps();
                    }
                    // SAFETY: masked loads touch at most `rows` floats of row `step`, which the assertion above covers.
                    unsafe {
                        _mm512_maskz_loadu_ps(wide, x.as_ptr().add(step * stride + block * ROWS))
                    }
                };
                let (even, odd) = (narrow(load(step)), narrow(load(step + 1)));
                *pairs = _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd));
            }
            if side == Side::Left {
                transpose(&mut tile);
            }
            store(&tile, &mut out[block * k_tiles + q]);
        }
    }
}

/// Returns the mask of the first `count` of 16 lanes.
fn mask(count: usize) -> u16 {
    if count >= 16 {
        return u16::MAX;
    }
    (1 << count) - 1
}

/// Rounds 16 floats to bf16, in the lower halves of 32-bit lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
fn narrow(x: __m512) -> __m512i {
    let halves = _mm512_cvtneps_pbh(x);
    // SAFETY: both are 256 bits.
    _mm512_cvtepu16_epi32(unsafe { std::mem::transmute::<__m256bh, __m256i>(halves) })
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(tile: &[__m512i; ROWS], out: &mut Tile) {
    for (row, out) in tile.iter().zip(out.0.chunks_exact_mut(16)) {
        // SAFETY: a chunk is 64 bytes.
        unsafe { _mm512_store_si512(out.as_mut_ptr().cast(), *row) }
    }
}

/// Transposes 16 x 16 lanes of 32 bits.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(t: &mut [__m512i; ROWS]) {
    let mut u = *t;
    for i in 0..8 {
        u[2 * i] = _mm512_unpacklo_epi32(t[2 * i], t[2 * i + 1]);
        u[2 * i + 1] = _mm512_unpackhi_epi32(t[2 * i], t[2 * i + 1]);
    }
    let mut v = u;
    for i in 0..4 {
        v[4 * i] = _mm512_unpacklo_epi64(u[4 * i], u[4 * i + 2]);
        v[4 * i + 1] = _mm512_unpackhi_epi64(u[4 * i], u[4 * i + 2]);
        v[4 * i + 2] = _mm512_unpacklo_epi64(u[4 * i + 1], u[4 * i + 3]);
        v[4 * i + 3] = _mm512_unpackhi_epi64(u[4 * i + 1], u[4 * i + 3]);
    }
    for i in 0..4 {
        let [a, b, c, d] = [v[i], v[4 + i], v[8 + i], v[12 + i]];
        let (even_ab, odd_ab) = (
            _mm512_shuffle_i32x4::<0x88>(a, b),
            _mm512_shuffle_i32x4::<0xdd>(a, b),
        );
        let (even_cd, odd_cd) = (
            _mm512_shuffle_i32x4::<0x88>(c, d),
            _mm512_shuffle_i32x4::<0xdd>(c, d),
        );
        t[i] = _mm512_shuffle_i32x4::<0x88>(even_ab, even_cd);
        t[8 + i] = _mm512_shuffle_i32x4::<0xdd>(even_ab, even_cd);
        t[4 + i] = _mm512_shuffle_i32x4::<0x88>(odd_ab, odd_cd);
        t[12 + i] = _mm512_shuffle_i32x4::<0xdd>(odd_ab, odd_cd);
    }
}

/// An implicit im2col matrix `[offsets, pixels]`: its element for a kernel offset and a pixel is the padded image at the sum of their
/// indices. Pixels form groups of 16: of one row, or of two rows of 8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patches<'a> {
    /// The padded image.
    pub(crate) image: &'a [f32],
    /// Index in the image of each channel and kernel position, for the first pixel.
    pub(crate) offsets: &'a [usize],
    /// Index of the first pixel of each group.
    pub(crate) groups: &'a [usize],
    /// Distance from the first to the second row of a group, if it has two.
    pub(crate) second_row: Option<usize>,
}

impl Patches<'_> {
    /// Loads the 16 pixels of a group for a kernel offset.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[inline]
    fn load(&self, offset: usize, group: usize) -> __m512 {
        let at = offset + group;
        match self.second_row {
            None => {
                let values = &self.image[at..at + 16];
                // SAFETY: the slice has 16 floats.
                unsafe { _mm512_loadu_ps(values.as_ptr()) }
            }
            Some(row) => {
                let values = [&self.image[at..at + 8], &self.image[at + row..at + row + 8]];
                // SAFETY: the slices have 8 floats each.
                let [a, b] =
                    values.map(|values| unsafe { _mm256_loadu_pd(values.as_ptr().cast()) });
                _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(a), b))
            }
        }
    }
}

/// Packs patches as a right operand `[pixels, offsets]`.
///
/// # Safety
/// The CPU must have AVX-512 F, BW, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn pixels_of(patches: Patches<'_>, out: &mut [Tile]) {
    let k_tiles = patches.offsets.len().div_ceil(DEPTH);
    assert!(out.len() >= patches.groups.len() * k_tiles);
    for (group, out) in patches.groups.iter().zip(out.chunks_exact_mut(k_tiles)) {
        for (offsets, out) in patches.offsets.chunks(DEPTH).zip(out) {
            let mut tile = [_mm512_setzero_si512(); ROWS];
            for (pairs, offsets) in tile.iter_mut().zip(offsets.chunks(2)) {
                *pairs = narrow(patches.load(offsets[0], *group));
                if let Some(odd) = offsets.get(1) {
                    let odd = narrow(patches.load(*odd, *group));
                    *pairs = _mm512_or_si512(*pairs, _mm512_slli_epi32::<16>(odd));
                }
            }
            store(&tile, out);
        }
    }
}

/// Packs patches as a right operand `[offsets, pixels]`.
///
/// # Safety
/// The CPU must have AVX-512 F, BW, VL and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn offsets_of(patches: Patches<'_>, out: &mut [Tile]) {
    let k_tiles = patches.groups.len().div_ceil(2);
    assert!(out.len() >= patches.offsets.len().div_ceil(ROWS) * k_tiles);
    for (offsets, out) in patches
        .offsets
        .chunks(ROWS)
        .zip(out.chunks_exact_mut(k_tiles))
    {
        for (groups, out) in patches.groups.chunks(2).zip(out) {
            let mut tile = [_mm512_setzero_si512(); ROWS];
            for (pairs, offset) in tile.iter_mut().zip(offsets) {
                let first = patches.load(*offset, groups[0]);
                let second = match groups.get(1) {
                    Some(group) => patches.load(*offset, *group),
                    None => _mm512_setzero_ps(),
                };
                // SAFETY: both are 512 bits.
                *pairs = unsafe {
                    std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first))
                };
            }
            transpose(&mut tile);
            store(&tile, out);
        }
    }
}
