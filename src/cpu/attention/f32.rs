//! Attention in f32 with its own small GEMM. The forward pass iterates over blocks of queries; the backward pass holds the scores of a
//! whole head.

use super::super::simd::{LANES, dot, exp, sum};
use super::{IntoGradients, View};

/// Queries in a block of the forward pass.
const BLOCK: usize = 64;

/// Buffers for one head, reused for every head. Rows have length `W`; rows of transposed matrices have length `columns`, the number of
/// keys, padded with zeros to whole vectors.
struct Head<const W: usize> {
    n: usize,
    /// Number of cached keys, which come first.
    m: usize,
    columns: usize,
    /// Rotated queries and keys, and values.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    transposed: Vec<f32>,
    /// Attention probabilities of a block of queries, `[.., columns]`.
    weights: Vec<f32>,
}

impl<const W: usize> Head<W> {
    /// Allocates the buffers, with attention probabilities for `queries` queries at once.
    fn new(n: usize, m: usize, queries: usize) -> Self {
        let columns = (m + n).next_multiple_of(LANES);
        Head {
            n,
            m,
            columns,
            q: vec![0.0; n * W],
            k: vec![0.0; (m + n) * W],
            v: vec![0.0; (m + n) * W],
            transposed: vec![0.0; W * columns],
            weights: vec![0.0; queries * columns],
        }
    }

    /// Reads a head of a sample.
    #[inline(always)]
    fn fill(&mut self, view: View<'_>, sample: usize, head: usize) {
        view.read_head::<W>(sample, head, [&mut self.q, &mut self.k, &mut self.v]);
        transpose::<W>(&self.k, self.m + self.n, self.columns, &mut self.transposed);
    }

    /// Computes the attention probabilities of `count` queries from `first` on.
    #[inline(always)]
    fn weigh(&mut self, view: View<'_>, sample: usize, first: usize, count: usize) {
        let (n, m, columns) = (self.n, self.m, self.columns);
        let queries = &self.q[first * W..(first + count) * W];
        product(
            [queries, &self.transposed],
            [W, 1, columns],
            &mut self.weights,
            [count, W, columns],
        );
        let scale = 1.0 / (W as f32).sqrt();
        for (i, row) in self
            .weights
            .chunks_exact_mut(columns)
            .take(count)
            .enumerate()
        {
            let (row, rest) = row.split_at_mut(m + n);
            rest.fill(0.0);
            match view.mask {
                Some(mask) => {
                    let samples = mask.len() / (n * n);
                    let start = ((sample % samples) * n + first + i) * n;
                    for (x, hidden) in row.iter_mut().zip(&mask[start..start + n]) {
                        *x = *x * scale + hidden;
                    }
                }
                None => row.iter_mut().for_each(|x| *x *= scale),
            }
            softmax(row);
        }
    }
}

#[inline(always)]
fn softmax(row: &mut [f32]) {
    let mut most = [f32::MIN; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    let most = most.into_iter().fold(rest, f32::max);
    row.iter_mut().for_each(|x| *x = exp(*x - most));
    let share = 1.0 / sum(row);
    row.iter_mut().for_each(|x| *x *= share);
}

/// Transposes `[n, W]` to `[W, columns]`.
#[inline(always)]
fn transpose<const W: usize>(rows: &[f32], n: usize, columns: usize, transposed: &mut [f32]) {
    for token in 0..n {
        for i in 0..W {
            transposed[i * columns + token] = rows[token * W + i];
        }
    }
}

/// Rows of `a` that are multiplied at once, limited by the registers for their sums.
const ROWS: usize = 4;

/// Computes `c [m, n] = a [m, k] b [k, n]` for small matrices. `down` and `along` are the strides of `a` along `m` and `k`, `b_down` is
/// the stride of `b` along `k`; `n` is a multiple of [`LANES`].
#[inline(always)]
fn product(
    [a, b]: [&[f32]; 2],
    [down, along, b_down]: [usize; 3],
    c: &mut [f32],
    [m, k, n]: [usize; 3],
) {
    for column in (0..n).step_by(LANES) {
        let mut row = 0;
        while row + ROWS <= m {
            let mut sums = [[0f32; LANES]; ROWS];
            for j in 0..k {
                let b = &b[j * b_down + column..j * b_down + column + LANES];
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = a[(row + i) * down + j * along];
                    for lane in 0..LANES {
                        sums[lane] += a * b[lane];
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                c[(row + i) * n + column..(row + i) * n + column + LANES].copy_from_slice(sums);
            }
            row += ROWS;
        }
        for row in row..m {
            let mut sums = [0f32; LANES];
            for j in 0..k {
                let b = &b[j * b_down + column..j * b_down + column + LANES];
                let a = a[row * down + j * along];
                for lane in 0..LANES {
                    sums[lane] += a * b[lane];
                }
            }
            c[row * n + column..row * n + column + LANES].copy_from_slice(&sums);
        }
    }
}

/// Computes the attention `y [b, n, d]`.
#[inline(always)]
pub(super) fn forward_of<const W: usize>(view: View<'_>, y: &mut [f32]) {
    let (n, m, d) = (view.n, view.m, view.heads * W);
    let most = BLOCK.min(n);
    let mut head = Head::<W>::new(n, m, most);
    let mut result = vec![0f32; most * W];
    for sample in 0..view.b {
        for number in 0..view.heads {
            head.fill(view, sample, number);
            for first in (0..n).step_by(BLOCK) {
                let count = BLOCK.min(n - first);
                head.weigh(view, sample, first, count);
                product(
                    [&head.weights, &head.v],
                    [head.columns, 1, W],
                    &mut result,
                    [count, m + n, W],
                );
                for (i, row) in result.chunks_exact(W).take(count).enumerate() {
                    let start = (sample * n + first + i) * d + number * W;
                    y[start..start + W].copy_from_slice(row);
                }
            }
        }
    }
}

/// Computes the gradients of the projection and of the norms' weights.
#[inline(always)]
pub(super) fn backward_of<const W: usize>(
    view: View<'_>,
    gradient: &[f32],
    into_qkv: &mut [f32],
    into_query: &mut [f32],
    into_key: &mut [f32],
) {
    let (n, d) = (view.n, view.heads * W);
    let mut head = Head::<W>::new(n, 0, n);
    let columns = head.columns;
    let [mut dy, mut dv, mut dq, mut dk] = [0; 4].map(|_| vec![0f32; n * W]);
    let mut transposed = vec![0f32; W * columns];
    let mut scores = vec![0f32; n * columns];
    let mut into = IntoGradients {
        qkv: into_qkv,
        query: into_query,
        key: into_key,
    };
    let scale = 1.0 / (W as f32).sqrt();
    for sample in 0..view.b {
        for number in 0..view.heads {
            head.fill(view, sample, number);
            head.weigh(view, sample, 0, n);
            for (token, row) in dy.chunks_exact_mut(W).enumerate() {
                let start = (sample * n + token) * d + number * W;
                row.copy_from_slice(&gradient[start..start + W]);
            }
            product([&head.weights, &dy], [1, columns, W], &mut dv, [n, n, W]);
            transpose::<W>(&head.v, n, columns, &mut transposed);
            product(
                [&dy, &transposed],
                [W, 1, columns],
                &mut scores,
                [n, W, columns],
            );
            for token in 0..n {
                let row = &mut scores[token * columns..(token + 1) * columns];
                let weights = &head.weights[token * columns..(token + 1) * columns];
                let mean = dot(row, weights);
                for (x, weight) in row.iter_mut().zip(weights) {
                    *x = weight * (*x - mean) * scale;
                }
            }
            product([&scores, &head.k], [columns, 1, W], &mut dq, [n, n, W]);
            product([&scores, &head.q], [1, columns, W], &mut dk, [n, n, W]);
            let gradients = [&dq[..], &dk[..], &dv[..]];
            view.backward_rows::<W>(sample, number, gradients, &mut into);
        }
    }
}
