//! Attention of a block from its joint projection to the heads' results: norms of queries and keys, rotary positions,
//! softmax and the weighted sum, head by head in the processor's cache. The backward pass computes the heads anew, so that
//! no matrix of scores is kept.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::wide::{LANES, dot, exp, sum, wide};
use super::{dense, made, numbers, recorded, register, tracked};

/// Width of a head; other widths take the plain form.
const WIDTH: usize = 32;

/// Tensors that have no gradient: tables of the rotation `[n, 32]`, and what is added to the scores `[1 or b, n, n]`.
#[derive(Clone, Debug)]
struct Constants {
    cos: FlexTensor,
    sin: FlexTensor,
    mask: Option<FlexTensor>,
    epsilon: f32,
}

/// The operands, as slices.
#[derive(Clone, Copy)]
struct View<'a> {
    qkv: &'a [f32],
    query_weight: &'a [f32],
    key_weight: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    mask: Option<&'a [f32]>,
    epsilon: f32,
    b: usize,
    n: usize,
    heads: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    qkv: FlexTensor,
    query_weight: FlexTensor,
    key_weight: FlexTensor,
    constants: Constants,
    shape: [usize; 3],
}

impl Kept {
    fn view(&self) -> View<'_> {
        let [b, n, d] = self.shape;
        View {
            qkv: numbers(&self.qkv),
            query_weight: numbers(&self.query_weight),
            key_weight: numbers(&self.key_weight),
            cos: numbers(&self.constants.cos),
            sin: numbers(&self.constants.sin),
            mask: self.constants.mask.as_ref().map(numbers),
            epsilon: self.constants.epsilon,
            b,
            n,
            heads: d / WIDTH,
        }
    }
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 3> for Attention {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = dense(&grads.consume::<Flex>(&ops.node));
        let [b, n, d] = ops.state.shape;
        let mut into_qkv = vec![0f32; 3 * b * n * d];
        let (mut into_query, mut into_key) = (vec![0f32; WIDTH], vec![0f32; WIDTH]);
        backward(
            ops.state.view(),
            numbers(&gradient),
            &mut into_qkv,
            &mut into_query,
            &mut into_key,
        );
        let results = [
            made(into_qkv, [b, n, 3 * d]),
            made(into_query, [WIDTH]),
            made(into_key, [WIDTH]),
        ];
        register(ops, results.map(Some), grads);
    }
}

/// From queries, keys and values side by side `[b, n, 3 d]` to the heads' results `[b, n, d]`; `cos` and `sin`
/// `[1, 1, n, 32]`, weights of the norms `[32]`, mask `[1 or b, n, n]`. `None` where training on the CPU is not what runs, or
/// heads have another width.
pub(crate) fn attention(
    qkv: &Tensor<3>,
    norms: [&Tensor<1>; 2],
    rotation: [&Tensor<4>; 2],
    mask: Option<&Tensor<3>>,
    epsilon: f64,
) -> Option<Tensor<3>> {
    let [b, n, triple] = qkv.dims();
    let d = triple / 3;
    let table = rotation
        .iter()
        .all(|table| table.dims() == [1, 1, n, WIDTH]);
    let narrow = norms.iter().all(|norm| norm.dims() == [WIDTH]);
    let fits = mask.is_none_or(|mask| [[1, n, n], [b, n, n]].contains(&mask.dims()));
    if !d.is_multiple_of(WIDTH) || !table || !narrow || !fits {
        return None;
    }
    let (qkv, query, key) = (tracked(qkv)?, tracked(norms[0])?, tracked(norms[1])?);
    let constant = |tensor: Tensor<3>| {
        let primitive = tensor.without_autodiff().try_into_primitive::<Flex>().ok();
        primitive.map(|primitive| dense(&primitive))
    };
    let mask = match mask {
        Some(mask) => Some(constant(mask.clone())?),
        None => None,
    };
    let kept = Kept {
        qkv: dense(qkv.primitive()),
        query_weight: dense(query.primitive()),
        key_weight: dense(key.primitive()),
        constants: Constants {
            cos: constant(rotation[0].clone().squeeze_dim::<3>(0))?,
            sin: constant(rotation[1].clone().squeeze_dim::<3>(0))?,
            mask,
            epsilon: epsilon as f32,
        },
        shape: [b, n, d],
    };
    let mut values = vec![0f32; b * n * d];
    forward(kept.view(), &mut values);
    let output = made(values, [b, n, d]);
    let nodes = [qkv.node(), query.node(), key.node()];
    Some(recorded(Attention, nodes, kept, output))
}

/// One head's matrices, used again for every head: rows of [`WIDTH`], turned ones of `columns` (the tokens, filled up with
/// zeros to whole vectors).
struct Head {
    n: usize,
    columns: usize,
    /// Rotated queries and keys, and values.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    turned: Vec<f32>,
    /// `[n, columns]`.
    weights: Vec<f32>,
}

impl Head {
    fn new(n: usize) -> Self {
        let columns = n.next_multiple_of(LANES);
        Head {
            n,
            columns,
            q: vec![0.0; n * WIDTH],
            k: vec![0.0; n * WIDTH],
            v: vec![0.0; n * WIDTH],
            turned: vec![0.0; WIDTH * columns],
            weights: vec![0.0; n * columns],
        }
    }

    /// Fills in a head of a sample and computes the weights.
    #[inline(always)]
    fn fill(&mut self, view: View<'_>, sample: usize, head: usize) {
        let n = self.n;
        for token in 0..n {
            let rows = view.rows(sample, token, head);
            let tables = view.tables(token);
            let row = token * WIDTH..(token + 1) * WIDTH;
            rotated(
                rows[0],
                view.query_weight,
                tables,
                view.epsilon,
                &mut self.q[row.clone()],
            );
            rotated(
                rows[1],
                view.key_weight,
                tables,
                view.epsilon,
                &mut self.k[row.clone()],
            );
            self.v[row].copy_from_slice(rows[2]);
        }
        turn(&self.k, n, self.columns, &mut self.turned);
        product(
            [&self.q, &self.turned],
            [WIDTH, 1, self.columns],
            &mut self.weights,
            [n, WIDTH, self.columns],
        );
        let scale = 1.0 / (WIDTH as f32).sqrt();
        for token in 0..n {
            let row = &mut self.weights[token * self.columns..(token + 1) * self.columns];
            let (row, rest) = row.split_at_mut(n);
            rest.fill(0.0);
            match view.mask {
                Some(mask) => {
                    let samples = mask.len() / (n * n);
                    let start = ((sample % samples) * n + token) * n;
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

impl<'a> View<'a> {
    /// Query, key and value of a token's head.
    #[inline(always)]
    fn rows(&self, sample: usize, token: usize, head: usize) -> [&'a [f32]; 3] {
        let d = self.heads * WIDTH;
        let start = (sample * self.n + token) * 3 * d + head * WIDTH;
        [0, 1, 2].map(|part| &self.qkv[start + part * d..start + part * d + WIDTH])
    }

    #[inline(always)]
    fn tables(&self, token: usize) -> [&'a [f32]; 2] {
        [self.cos, self.sin].map(|table| &table[token * WIDTH..(token + 1) * WIDTH])
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

/// A row divided by its root mean square, weighted, and turned by its position.
#[inline(always)]
fn rotated(x: &[f32], weight: &[f32], [cos, sin]: [&[f32]; 2], epsilon: f32, y: &mut [f32]) {
    let scale = 1.0 / (dot(x, x) / WIDTH as f32 + epsilon).sqrt();
    for i in 0..WIDTH / 2 {
        let (even, odd) = (2 * i, 2 * i + 1);
        let (a, b) = (x[even] * scale * weight[even], x[odd] * scale * weight[odd]);
        y[even] = a * cos[even] - b * sin[even];
        y[odd] = b * cos[odd] + a * sin[odd];
    }
}

/// The gradient of [`rotated`]: of its input, and added to that of its weight.
#[inline(always)]
fn rotated_backward(
    x: &[f32],
    weight: &[f32],
    [cos, sin]: [&[f32]; 2],
    epsilon: f32,
    gradient: &[f32],
    into_x: &mut [f32],
    into_weight: &mut [f32],
) {
    let scale = 1.0 / (dot(x, x) / WIDTH as f32 + epsilon).sqrt();
    let mut back = [0f32; WIDTH];
    for i in 0..WIDTH / 2 {
        let (even, odd) = (2 * i, 2 * i + 1);
        back[even] = gradient[even] * cos[even] + gradient[odd] * sin[odd];
        back[odd] = gradient[odd] * cos[odd] - gradient[even] * sin[even];
    }
    for i in 0..WIDTH {
        into_weight[i] += back[i] * x[i] * scale;
        back[i] *= weight[i];
    }
    let along = dot(&back, x) * scale * scale / WIDTH as f32;
    for i in 0..WIDTH {
        into_x[i] = scale * (back[i] - along * x[i]);
    }
}

/// `[n, WIDTH]` to `[WIDTH, columns]`.
#[inline(always)]
fn turn(rows: &[f32], n: usize, columns: usize, turned: &mut [f32]) {
    for token in 0..n {
        for i in 0..WIDTH {
            turned[i * columns + token] = rows[token * WIDTH + i];
        }
    }
}

/// Rows of `a` that are multiplied at once: so many sums stay in registers.
const ROWS: usize = 4;

/// `c [m, n] = a [m, k] b [k, n]` for small matrices: `strides` are of `a` down and along, and of `b` down; `n` is a multiple
/// of [`LANES`].
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

wide! {
    fn forward(view: View<'_>, y: &mut [f32]) {
        let (n, d) = (view.n, view.heads * WIDTH);
        let mut head = Head::new(n);
        let mut result = vec![0f32; n * WIDTH];
        for sample in 0..view.b {
            for number in 0..view.heads {
                head.fill(view, sample, number);
                product([&head.weights, &head.v], [head.columns, 1, WIDTH], &mut result, [n, n, WIDTH]);
                for token in 0..n {
                    let start = (sample * n + token) * d + number * WIDTH;
                    y[start..start + WIDTH].copy_from_slice(&result[token * WIDTH..(token + 1) * WIDTH]);
                }
            }
        }
    }

    fn backward(
        view: View<'_>,
        gradient: &[f32],
        into_qkv: &mut [f32],
        into_query: &mut [f32],
        into_key: &mut [f32],
    ) {
        let (n, d) = (view.n, view.heads * WIDTH);
        let mut head = Head::new(n);
        let columns = head.columns;
        let mut dy = vec![0f32; n * WIDTH];
        let mut dv = vec![0f32; n * WIDTH];
        let mut dq = vec![0f32; n * WIDTH];
        let mut dk = vec![0f32; n * WIDTH];
        let mut turned = vec![0f32; WIDTH * columns];
        let mut scores = vec![0f32; n * columns];
        let scale = 1.0 / (WIDTH as f32).sqrt();
        for sample in 0..view.b {
            for number in 0..view.heads {
                head.fill(view, sample, number);
                for token in 0..n {
                    let start = (sample * n + token) * d + number * WIDTH;
                    dy[token * WIDTH..(token + 1) * WIDTH].copy_from_slice(&gradient[start..start + WIDTH]);
                }
                product([&head.weights, &dy], [1, columns, WIDTH], &mut dv, [n, n, WIDTH]);
                turn(&head.v, n, columns, &mut turned);
                product([&dy, &turned], [WIDTH, 1, columns], &mut scores, [n, WIDTH, columns]);
                for token in 0..n {
                    let row = &mut scores[token * columns..(token + 1) * columns];
                    let weights = &head.weights[token * columns..(token + 1) * columns];
                    let mean = dot(row, weights);
                    for (x, weight) in row.iter_mut().zip(weights) {
                        *x = weight * (*x - mean) * scale;
                    }
                }
                product([&scores, &head.k], [columns, 1, WIDTH], &mut dq, [n, n, WIDTH]);
                product([&scores, &head.q], [1, columns, WIDTH], &mut dk, [n, n, WIDTH]);
                for token in 0..n {
                    let rows = view.rows(sample, token, number);
                    let tables = view.tables(token);
                    let start = (sample * n + token) * 3 * d + number * WIDTH;
                    let row = token * WIDTH..(token + 1) * WIDTH;
                    rotated_backward(
                        rows[0], view.query_weight, tables, view.epsilon, &dq[row.clone()],
                        &mut into_qkv[start..start + WIDTH], into_query,
                    );
                    rotated_backward(
                        rows[1], view.key_weight, tables, view.epsilon, &dk[row.clone()],
                        &mut into_qkv[start + d..start + d + WIDTH], into_key,
                    );
                    into_qkv[start + 2 * d..start + 2 * d + WIDTH].copy_from_slice(&dv[row]);
                }
            }
        }
    }
}
