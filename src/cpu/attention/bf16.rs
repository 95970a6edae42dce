//! Attention with bf16 GEMMs. Both passes iterate over blocks of queries whose scores fit into the CPU cache. The backward pass
//! recomputes the probabilities from the saved log-sum-exp of each row (Dao et al., FlashAttention, 2022).

use super::super::gemm::{Matrix, Packed, Side, multiply};
use super::super::simd::{LANES, dot, exp, sum};
use super::{IntoGradients, View};

/// Queries in a block; equal to the depth of a tile.
const BLOCK: usize = 32;

/// Buffers for one head of a sample, reused for every head.
struct Head<const W: usize> {
    /// Number of keys, with those of the KV cache, which come first.
    keys: usize,
    /// Stride of a row of scores: `keys`, rounded up to whole vectors.
    columns: usize,
    /// Queries, scaled by `1 / sqrt(W)`.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    scores: Vec<f32>,
    /// The left operand of the next product.
    left: Packed,
    key_rows: Packed,
}

impl<const W: usize> Head<W> {
    fn new(view: View<'_>) -> Self {
        let keys = view.m + view.n;
        let columns = keys.next_multiple_of(LANES);
        Head {
            keys,
            columns,
            q: vec![0.0; view.n * W],
            k: vec![0.0; keys * W],
            v: vec![0.0; keys * W],
            scores: vec![0.0; BLOCK * columns],
            left: Packed::default(),
            key_rows: Packed::default(),
        }
    }

    /// Reads a head: normalises and rotates queries and keys, scales queries, packs keys.
    #[inline(always)]
    fn fill(&mut self, view: View<'_>, sample: usize, head: usize) {
        view.read_head::<W>(sample, head, [&mut self.q, &mut self.k, &mut self.v]);
        let scale = 1.0 / (W as f32).sqrt();
        self.q.iter_mut().for_each(|x| *x *= scale);
        self.key_rows
            .pack(Side::Right, Matrix::Rows(&self.k, W), [self.keys, W]);
    }

    /// Computes the masked scores of `count` queries from `first` on.
    #[inline(always)]
    fn score(&mut self, view: View<'_>, sample: usize, first: usize, count: usize) {
        let queries = &self.q[first * W..(first + count) * W];
        self.left
            .pack(Side::Left, Matrix::Rows(queries, W), [count, W]);
        multiply(
            &self.left,
            &self.key_rows,
            &mut self.scores,
            self.columns,
            false,
        );
        let Some(mask) = view.mask else {
            return;
        };
        let n = view.n;
        let samples = mask.len() / (n * n);
        let masks = mask[((sample % samples) * n + first) * n..].chunks_exact(n);
        for (row, mask) in self
            .scores
            .chunks_exact_mut(self.columns)
            .zip(masks)
            .take(count)
        {
            row.iter_mut().zip(mask).for_each(|(x, mask)| *x += mask);
        }
    }
}

/// Returns the maximum of a row.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut most = [f32::MIN; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::MIN, f32::max);
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            *most = if *x > *most { *x } else { *most };
        }
    }
    most.into_iter().fold(rest, f32::max)
}

/// Computes the attention `y [b, n, d]` and the log-sum-exp of each query's scores, `[b, heads, n]`.
#[inline(always)]
pub(super) fn forward_of<const W: usize>(view: View<'_>, y: &mut [f32], log_sums: &mut [f32]) {
    let (n, d) = (view.n, view.heads * W);
    let mut head = Head::<W>::new(view);
    let (keys, columns) = (head.keys, head.columns);
    let mut values = Packed::default();
    for sample in 0..view.b {
        for number in 0..view.heads {
            head.fill(view, sample, number);
            values.pack(Side::Right, Matrix::Columns(&head.v, W), [W, keys]);
            let sums = &mut log_sums[(sample * view.heads + number) * n..][..n];
            for first in (0..n).step_by(BLOCK) {
                let count = BLOCK.min(n - first);
                head.score(view, sample, first, count);
                let mut shares = [0f32; BLOCK];
                let rows = head.scores.chunks_exact_mut(columns).take(count);
                for (i, row) in rows.enumerate() {
                    let most = largest(&row[..keys]);
                    // Includes the padding: a scalar remainder loop would take as long as all the whole vectors.
                    row.iter_mut().for_each(|x| *x = exp(*x - most));
                    row[keys..].fill(0.0);
                    let total = sum(row);
                    sums[first + i] = most + total.ln();
                    shares[i] = 1.0 / total;
                }
                head.left.pack(
                    Side::Left,
                    Matrix::Rows(&head.scores, columns),
                    [count, keys],
                );
                let start = (sample * n + first) * d + number * W;
                let y = &mut y[start..];
                multiply(&head.left, &values, y, d, false);
                for (i, share) in shares.iter().enumerate().take(count) {
                    y[i * d..i * d + W].iter_mut().for_each(|x| *x *= share);
                }
            }
        }
    }
}

/// Computes the gradients of the projection and of the norms' weights from `y` and `log_sums` of [`forward_of`].
#[inline(always)]
pub(super) fn backward_of<const W: usize>(
    view: View<'_>,
    [y, log_sums, gradient]: [&[f32]; 3],
    into_qkv: &mut [f32],
    into_query: &mut [f32],
    into_key: &mut [f32],
) {
    let (n, d) = (view.n, view.heads * W);
    let mut head = Head::<W>::new(view);
    let columns = head.columns;
    let [mut value_rows, mut key_columns, mut right] = [0; 3].map(|_| Packed::default());
    let mut slopes = vec![0f32; BLOCK * columns];
    let [mut dq, mut dk, mut dv] = [0; 3].map(|_| vec![0f32; n * W]);
    let mut into = IntoGradients {
        qkv: into_qkv,
        query: into_query,
        key: into_key,
    };
    let scale = 1.0 / (W as f32).sqrt();
    for sample in 0..view.b {
        for number in 0..view.heads {
            head.fill(view, sample, number);
            value_rows.pack(Side::Right, Matrix::Rows(&head.v, W), [n, W]);
            key_columns.pack(Side::Right, Matrix::Columns(&head.k, W), [W, n]);
            let sums = &log_sums[(sample * view.heads + number) * n..][..n];
            for first in (0..n).step_by(BLOCK) {
                let count = BLOCK.min(n - first);
                head.score(view, sample, first, count);
                let start = (sample * n + first) * d + number * W;
                let dy = &gradient[start..];
                head.left.pack(Side::Left, Matrix::Rows(dy, d), [count, W]);
                multiply(&head.left, &value_rows, &mut slopes, columns, false);
                let rows = head.scores.chunks_exact_mut(columns);
                let rows = rows.zip(slopes.chunks_exact_mut(columns));
                for (i, (scores, slopes)) in rows.enumerate().take(count) {
                    let own = start + i * d..start + i * d + W;
                    let mean = dot(&y[own.clone()], &gradient[own]);
                    let log_sum = sums[first + i];
                    for (score, slope) in scores.iter_mut().zip(slopes) {
                        *score = exp(*score - log_sum);
                        *slope = *score * (*slope - mean);
                    }
                }
                let add = first > 0;
                head.left.pack(
                    Side::Left,
                    Matrix::Columns(&head.scores, columns),
                    [n, count],
                );
                right.pack(Side::Right, Matrix::Columns(dy, d), [W, count]);
                multiply(&head.left, &right, &mut dv, W, add);
                head.left
                    .pack(Side::Left, Matrix::Columns(&slopes, columns), [n, count]);
                let queries = &head.q[first * W..(first + count) * W];
                right.pack(Side::Right, Matrix::Columns(queries, W), [W, count]);
                multiply(&head.left, &right, &mut dk, W, add);
                head.left
                    .pack(Side::Left, Matrix::Rows(&slopes, columns), [count, n]);
                multiply(&head.left, &key_columns, &mut dq[first * W..], W, false);
            }
            dq.iter_mut().for_each(|x| *x *= scale);
            let gradients = [&dq[..], &dk[..], &dv[..]];
            view.backward_rows::<W>(sample, number, gradients, &mut into);
        }
    }
}
