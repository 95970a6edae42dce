//! GEMM of a 32 x 32 block with `vdpbf16ps`, which adds two products of bf16 numbers to each of 16 sums.

use std::arch::x86_64::*;

use super::pack::{ROWS, Tile};

/// Rows whose sums are held in registers, two vectors of 16 columns each.
const HELD: usize = 8;

/// Multiplies `left` by `right` over `depth` tiles, and adds the 32 x 32 product to `c` (`add`) or overwrites `c`. Rows of `c` are
/// `stride` floats apart; at least the first `rows` of them are computed.
///
/// # Safety
/// The CPU must have AVX-512 F and BF16; every pointer of `left` and `right` must be valid for `depth` tiles, and `c` for the block.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) unsafe fn block(
    left: [*const Tile; 2],
    right: [*const Tile; 2],
    depth: usize,
    c: *mut f32,
    stride: usize,
    add: bool,
    rows: usize,
) {
    let load = |from: *const u32| unsafe {
        std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(from.cast()))
    };
    for first in (0..rows).step_by(HELD) {
        let a = left[first / ROWS];
        let mut sums = [[_mm512_setzero_ps(); 2]; HELD];
        if add {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (column, sum) in sums.iter_mut().enumerate() {
                    *sum = unsafe { _mm512_loadu_ps(c.add((first + r) * stride + 16 * column)) };
                }
            }
        }
        for q in 0..depth {
            let (a, b) = unsafe {
                (
                    a.add(q).cast::<u32>(),
                    right.map(|b| b.add(q).cast::<u32>()),
                )
            };
            let a = unsafe { a.add(first % ROWS * 16) };
            for p in 0..16 {
                let columns = unsafe { [load(b[0].add(16 * p)), load(b[1].add(16 * p))] };
                for (r, sums) in sums.iter_mut().enumerate() {
                    let pair = unsafe { _mm512_set1_epi32(a.add(16 * r + p).read().cast_signed()) };
                    let pair = unsafe { std::mem::transmute::<__m512i, __m512bh>(pair) };
                    sums[0] = _mm512_dpbf16_ps(sums[0], pair, columns[0]);
                    sums[1] = _mm512_dpbf16_ps(sums[1], pair, columns[1]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (column, sum) in sums.iter().enumerate() {
                unsafe { _mm512_storeu_ps(c.add((first + r) * stride + 16 * column), *sum) };
            }
        }
    }
}
