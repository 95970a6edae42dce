//! GEMM of packed panels, and of whole matrices panel by panel.

use std::cell::RefCell;

use super::engine::{Engine, engine};
use super::pack::{
    DEPTH, Patches, ROWS, Side, Tile, from_columns, from_rows, offsets_of, pixels_of,
};
use super::{amx, avx512};

/// Steps along `k` that are packed at once; a multiple of [`DEPTH`].
const K_PANEL: usize = 512;
/// Rows of the left operand that are packed at once; a multiple of 32.
const ROW_PANEL: usize = 128;

/// An f32 operand `[rows, k]`.
#[derive(Clone, Copy)]
pub enum Matrix<'a> {
    /// Row-major, with the stride from one row to the next.
    Rows(&'a [f32], usize),
    /// The transpose `[k, rows]`, row-major, with the stride from one row to the next.
    Columns(&'a [f32], usize),
}

impl Matrix<'_> {
    /// Packs the part of shape `size` (rows, steps along `k`) that begins at row `first[0]` and step `first[1]`.
    fn pack(self, first: [usize; 2], size: [usize; 2], side: Side, out: &mut [Tile]) {
        assert!(
            engine().is_some(),
            "bf16 products need a CPU with bf16 instructions"
        );
        // SAFETY: every engine needs AVX-512 with BF16.
        match self {
            Matrix::Rows(x, stride) => unsafe {
                from_rows(&x[first[0] * stride + first[1]..], stride, size, side, out);
            },
            Matrix::Columns(x, stride) => unsafe {
                from_columns(&x[first[1] * stride + first[0]..], stride, size, side, out);
            },
        }
    }
}

/// The rows of packed patches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PatchRows {
    /// Pixels of the result; the product sums over kernel offsets.
    Pixels,
    /// Kernel offsets; the product sums over pixels.
    Offsets,
}

/// A packed operand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    tiles: Vec<Tile>,
    rows: usize,
    k: usize,
}

impl Packed {
    /// Packs an operand `[rows, k]` for its side of the product.
    pub(crate) fn pack(&mut self, side: Side, from: Matrix<'_>, [rows, k]: [usize; 2]) {
        self.part(side, from, [0, 0], [rows, k]);
    }

    fn part(&mut self, side: Side, from: Matrix<'_>, first: [usize; 2], size: [usize; 2]) {
        self.resize(size);
        from.pack(first, size, side, &mut self.tiles);
    }

    /// Packs an image's patches as a right operand, `[pixels, offsets]` or `[offsets, pixels]`.
    pub(crate) fn pack_patches(&mut self, patches: Patches<'_>, rows: PatchRows) {
        assert!(
            engine().is_some(),
            "bf16 products need a CPU with bf16 instructions"
        );
        let (offsets, pixels) = (patches.offsets.len(), 16 * patches.groups.len());
        let size = match rows {
            PatchRows::Pixels => [pixels, offsets],
            PatchRows::Offsets => [offsets, pixels],
        };
        self.resize(size);
        // SAFETY: every engine needs AVX-512 with BF16.
        match rows {
            PatchRows::Pixels => unsafe { pixels_of(patches, &mut self.tiles) },
            PatchRows::Offsets => unsafe { offsets_of(patches, &mut self.tiles) },
        }
    }

    fn resize(&mut self, size: [usize; 2]) {
        [self.rows, self.k] = size;
        let count = size[0].div_ceil(ROWS) * size[1].div_ceil(DEPTH);
        if self.tiles.len() < count {
            self.tiles.resize(count, Tile::ZERO);
        }
    }

    /// Returns the tiles of blocks `block` and `block + 1` of 16 rows; of the last block twice if there is no next.
    fn pair(&self, block: usize) -> [*const Tile; 2] {
        let deep = self.k.div_ceil(DEPTH);
        let last = self.rows.div_ceil(ROWS) - 1;
        [block, (block + 1).min(last)].map(|block| self.tiles[block * deep..].as_ptr())
    }
}

/// Computes `c = left right^T`, or adds that to `c` (`add`). Rows of `c` are `stride` floats apart.
pub(crate) fn multiply(left: &Packed, right: &Packed, c: &mut [f32], stride: usize, add: bool) {
    let engine = engine().expect("packing has asked for it");
    multiply_on(engine, left, right, c, stride, add);
}

/// [`multiply`] with `engine`, whose instructions the CPU must have.
pub(super) fn multiply_on(
    engine: Engine,
    left: &Packed,
    right: &Packed,
    c: &mut [f32],
    stride: usize,
    add: bool,
) {
    let (m, n, k) = (left.rows, right.rows, left.k);
    assert!(k == right.k && stride >= n && c.len() >= (m.max(1) - 1) * stride + n);
    let deep = k.div_ceil(DEPTH);
    if m == 0 || n == 0 || deep == 0 {
        return;
    }
    let amx = engine == Engine::Amx;
    // SAFETY: `engine` says that AMX was granted.
    let _tiles = amx.then(|| unsafe { amx::Tiles::configure() });
    let block = |a, b, c: *mut f32, stride, add, height| unsafe {
        // SAFETY: `pair` returns `deep` tiles each; the calls below pass a `c` that holds the block.
        if amx {
            amx::block(a, b, deep, c, stride, add)
        } else {
            avx512::block(a, b, deep, c, stride, add, height)
        }
    };
    let mut edge = [0f32; 32 * 32];
    for row in (0..m).step_by(32) {
        let a = left.pair(row / ROWS);
        for column in (0..n).step_by(32) {
            let b = right.pair(column / ROWS);
            let c = &mut c[row * stride + column..];
            let (height, width) = ((m - row).min(32), (n - column).min(32));
            if height == 32 && width == 32 {
                block(a, b, c.as_mut_ptr(), stride, add, 32);
                continue;
            }
            block(a, b, edge.as_mut_ptr(), 32, false, height);
            for r in 0..height {
                let (from, into) = (&edge[32 * r..][..width], &mut c[r * stride..][..width]);
                if add {
                    into.iter_mut().zip(from).for_each(|(y, x)| *y += x)
                } else {
                    into.copy_from_slice(from)
                }
            }
        }
    }
}

thread_local! {
    static SPACE: RefCell<[Packed; 2]> = RefCell::default();
}

/// Computes `c [m, n] = a b^T` for `a [m, k]` and a packed `b [n, k]`. Calls `finish` with the index of the first row and the rows of
/// every finished panel, while they are in the CPU cache.
pub(crate) fn rows_times(
    a: Matrix<'_>,
    m: usize,
    b: &Packed,
    c: &mut [f32],
    mut finish: impl FnMut(usize, &mut [f32]),
) {
    let n = b.rows;
    SPACE.with_borrow_mut(|[left, _]| {
        for row in (0..m).step_by(ROW_PANEL) {
            let height = ROW_PANEL.min(m - row);
            left.part(Side::Left, a, [row, 0], [height, b.k]);
            let rows = &mut c[row * n..(row + height) * n];
            multiply(left, b, rows, n, false);
            finish(row, rows);
        }
    });
}

/// Computes `c [m, n] = a b^T` for `a [m, k]` and `b [n, k]` with a large `k`.
pub fn long_product(a: Matrix<'_>, b: Matrix<'_>, [m, n, k]: [usize; 3], c: &mut [f32]) {
    SPACE.with_borrow_mut(|[left, right]| {
        for step in (0..k).step_by(K_PANEL) {
            let depth = K_PANEL.min(k - step);
            right.part(Side::Right, b, [0, step], [n, depth]);
            for row in (0..m).step_by(ROW_PANEL) {
                let height = ROW_PANEL.min(m - row);
                left.part(Side::Left, a, [row, step], [height, depth]);
                multiply(left, right, &mut c[row * n..], n, step > 0);
            }
        }
    });
}
