//! Fused multi-head self-attention from the joint qkv projection: q/k norm, rotary embedding, softmax and weighted sum, head by head
//! in the CPU cache. The backward pass recomputes each head, so that no matrix of scores is saved. It does not support a KV cache,
//! which only sampling uses. [`plain_attention`] omits norms and rotary embedding. In bf16 ([`bf16`]) the products are those of
//! [`super::gemm`].

#[cfg(target_arch = "x86_64")]
mod bf16;
mod f32;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

#[cfg(target_arch = "x86_64")]
use super::gemm::{Precision, precision};
use super::simd::{dot, simd_dispatch};
use super::{Operand, Operation, as_slice, buffer, contiguous, from_vec, operand, result};

/// Operands that have no gradient.
#[derive(Clone, Debug)]
struct Constants {
    /// Added to the scores, `[1 or b, n, n]`.
    mask: Option<FlexTensor>,
    /// KV cache: keys and values `[b, heads, m, width]` that precede those of the sequence and that every query attends to.
    kv_cache: Option<[FlexTensor; 2]>,
}

/// The q/k norm and the rotary embedding: weights of the norms `[width]` and tables of the rotation `[n, width]`.
#[derive(Clone, Debug)]
struct QkNormRope {
    query_weight: FlexTensor,
    key_weight: FlexTensor,
    cos: FlexTensor,
    sin: FlexTensor,
    epsilon: f32,
}

/// [`QkNormRope`], as slices.
#[derive(Clone, Copy)]
struct QkNormRopeRef<'a> {
    query_weight: &'a [f32],
    key_weight: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    epsilon: f32,
}

/// The operands, as slices.
#[derive(Clone, Copy)]
struct View<'a> {
    qkv: &'a [f32],
    rope: Option<QkNormRopeRef<'a>>,
    mask: Option<&'a [f32]>,
    kv_cache: Option<[&'a [f32]; 2]>,
    b: usize,
    n: usize,
    /// Number of cached keys and values.
    m: usize,
    heads: usize,
    /// Width of a head.
    width: usize,
}

#[derive(Clone, Debug)]
struct Saved {
    qkv: FlexTensor,
    rope: Option<QkNormRope>,
    constants: Constants,
    shape: [usize; 3],
    heads: usize,
    /// After a forward pass in bf16, its result and the log-sum-exp of each query's scores.
    saved: Option<[FlexTensor; 2]>,
}

impl Saved {
    /// Computes the attention `[b, n, d]` in this thread's precision.
    fn forward(&mut self) -> FlexTensor {
        let [b, n, d] = self.shape;
        let mut values = buffer(b * n * d);
        #[cfg(target_arch = "x86_64")]
        if precision() == Precision::Bf16 {
            let mut log_sums = vec![0f32; b * self.heads * n];
            bf16_forward(self.view(), &mut values, &mut log_sums);
            let log_sums = from_vec(log_sums, [b, self.heads, n]);
            let y = from_vec(values, [b, n, d]);
            self.saved = Some([y.clone(), log_sums]);
            return y;
        }
        forward(self.view(), &mut values);
        from_vec(values, [b, n, d])
    }

    /// Computes the gradients of the projection and of the norms' weights, in the forward pass's precision.
    fn backward(
        &self,
        gradient: &[f32],
        into_query: &mut [f32],
        into_key: &mut [f32],
    ) -> FlexTensor {
        let [b, n, d] = self.shape;
        let mut into_qkv = buffer(3 * b * n * d);
        match &self.saved {
            #[cfg(target_arch = "x86_64")]
            Some([y, log_sums]) => {
                let saved = [as_slice(y), as_slice(log_sums), gradient];
                bf16_backward(self.view(), saved, &mut into_qkv, into_query, into_key);
            }
            _ => backward(self.view(), gradient, &mut into_qkv, into_query, into_key),
        }
        from_vec(into_qkv, [b, n, 3 * d])
    }

    fn view(&self) -> View<'_> {
        let [b, n, d] = self.shape;
        let cache = self.constants.kv_cache.as_ref();
        View {
            qkv: as_slice(&self.qkv),
            rope: self.rope.as_ref().map(|rope| QkNormRopeRef {
                query_weight: as_slice(&rope.query_weight),
                key_weight: as_slice(&rope.key_weight),
                cos: as_slice(&rope.cos),
                sin: as_slice(&rope.sin),
                epsilon: rope.epsilon,
            }),
            mask: self.constants.mask.as_ref().map(as_slice),
            kv_cache: cache.map(|parts| parts.each_ref().map(as_slice)),
            b,
            n,
            m: cache.map_or(0, |[keys, _]| as_slice(keys).len() / (b * d)),
            heads: self.heads,
            width: d / self.heads,
        }
    }
}

#[derive(Debug)]
struct Attention;

impl Operation<3> for Attention {
    type State = Saved;

    fn backward(saved: &Saved, gradient: &FlexTensor) -> [Option<FlexTensor>; 3] {
        let width = saved.shape[2] / saved.heads;
        let (mut into_query, mut into_key) = (vec![0f32; width], vec![0f32; width]);
        let into_qkv = saved.backward(as_slice(gradient), &mut into_query, &mut into_key);
        [
            Some(into_qkv),
            Some(from_vec(into_query, [width])),
            Some(from_vec(into_key, [width])),
        ]
    }
}

/// Attention without q/k norm and rotary embedding.
impl Operation<1> for Attention {
    type State = Saved;

    fn backward(saved: &Saved, gradient: &FlexTensor) -> [Option<FlexTensor>; 1] {
        [Some(saved.backward(as_slice(gradient), &mut [], &mut []))]
    }
}

/// Head widths for which the loops are compiled. Others use the reference implementation.
const WIDTHS: [usize; 3] = [32, 64, 128];

/// Computes the attention `[b, n, d]` from queries, keys and values side by side, `[b, n, 3 d]`. `rotation` holds `cos` and `sin`
/// `[1, 1, n, d / heads]`, `norms` the query and key weights `[d / heads]`; the mask is `[1 or b, n, n]`. A `kv_cache` of keys and
/// values `[b, heads, m, d / heads]` excludes a mask and gradients. Returns `None` for other shapes and head widths, and unless the
/// tensors are f32 on the CPU.
pub(crate) fn attention(
    qkv: &Tensor<3>,
    heads: usize,
    norms: [&Tensor<1>; 2],
    rotation: [&Tensor<4>; 2],
    mask: Option<&Tensor<3>>,
    kv_cache: Option<&[Tensor<4>; 2]>,
    epsilon: f64,
) -> Option<Tensor<3>> {
    let [b, n, triple] = qkv.dims();
    let d = triple / 3;
    let width = d / heads;
    let table = rotation
        .iter()
        .all(|table| table.dims() == [1, 1, n, width]);
    let narrow = norms.iter().all(|norm| norm.dims() == [width]);
    let fits = mask.is_none_or(|mask| [[1, n, n], [b, n, n]].contains(&mask.dims()))
        && kv_cache.is_none_or(|[keys, values]| {
            let m = keys.dims()[2];
            mask.is_none() && [keys, values].map(Tensor::dims) == [[b, heads, m, width]; 2]
        });
    if !WIDTHS.contains(&width) || triple != 3 * heads * width || !table || !narrow || !fits {
        return None;
    }
    let operands = [operand(qkv)?, operand(norms[0])?, operand(norms[1])?];
    if kv_cache.is_some() && operands.iter().any(Operand::wants_gradient) {
        return None;
    }
    let mask = match mask {
        Some(mask) => Some(constant(mask.clone())?),
        None => None,
    };
    let others = match kv_cache {
        Some([keys, values]) => Some([constant(keys.clone())?, constant(values.clone())?]),
        None => None,
    };
    let [all, query_weight, key_weight] = operands
        .each_ref()
        .map(|operand: &Operand| operand.values.clone());
    let mut saved = Saved {
        qkv: all,
        rope: Some(QkNormRope {
            query_weight,
            key_weight,
            cos: constant(rotation[0].clone().squeeze_dim::<3>(0))?,
            sin: constant(rotation[1].clone().squeeze_dim::<3>(0))?,
            epsilon: epsilon as f32,
        }),
        constants: Constants {
            mask,
            kv_cache: others,
        },
        shape: [b, n, d],
        heads,
        saved: None,
    };
    let values = saved.forward();
    Some(result::<Attention, 3, 3>(operands, saved, values))
}

/// [`attention`] without q/k norm, rotary embedding and KV cache: `[b, n, 3 d]` to `[b, n, d]`, mask `[1 or b, n, n]`.
/// Returns `None` for other shapes and head widths, and unless the tensors are f32 on the CPU.
pub fn plain_attention(
    qkv: &Tensor<3>,
    heads: usize,
    mask: Option<&Tensor<3>>,
) -> Option<Tensor<3>> {
    let [b, n, triple] = qkv.dims();
    let d = triple / 3;
    let width = d / heads;
    let fits = mask.is_none_or(|mask| [[1, n, n], [b, n, n]].contains(&mask.dims()));
    if !WIDTHS.contains(&width) || triple != 3 * heads * width || !fits {
        return None;
    }
    let projection = operand(qkv)?;
    let mask = match mask {
        Some(mask) => Some(constant(mask.clone())?),
        None => None,
    };
    let mut saved = Saved {
        qkv: projection.values.clone(),
        rope: None,
        constants: Constants {
            mask,
            kv_cache: None,
        },
        shape: [b, n, d],
        heads,
        saved: None,
    };
    let values = saved.forward();
    Some(result::<Attention, 1, 3>([projection], saved, values))
}

/// Returns a contiguous tensor without its autodiff node.
fn constant<const D: usize>(tensor: Tensor<D>) -> Option<FlexTensor> {
    #[cfg(not(target_arch = "wasm32"))]
    let tensor = tensor.without_autodiff();
    let primitive = tensor.try_into_primitive::<Flex>().ok();
    primitive.map(|primitive| contiguous(&primitive))
}

impl<'a> View<'a> {
    /// Returns query, key and value of one head of a token, `[W]` each.
    #[inline(always)]
    fn rows<const W: usize>(&self, sample: usize, token: usize, head: usize) -> [&'a [f32]; 3] {
        let d = self.heads * W;
        let start = (sample * self.n + token) * 3 * d + head * W;
        [0, 1, 2].map(|part| &self.qkv[start + part * d..start + part * d + W])
    }

    /// Reads a head: queries `[n, W]`, keys and values `[m + n, W]`, queries and keys normalised and rotated.
    #[inline(always)]
    fn read_head<const W: usize>(&self, sample: usize, head: usize, [q, k, v]: [&mut [f32]; 3]) {
        if let Some([keys, values]) = self.kv_cache {
            let start = (sample * self.heads + head) * self.m * W;
            let all = start..start + self.m * W;
            k[..self.m * W].copy_from_slice(&keys[all.clone()]);
            v[..self.m * W].copy_from_slice(&values[all]);
        }
        for token in 0..self.n {
            let rows = self.rows::<W>(sample, token, head);
            let q = &mut q[token * W..(token + 1) * W];
            let row = (self.m + token) * W..(self.m + token + 1) * W;
            let k = &mut k[row.clone()];
            match self.rope {
                Some(rope) => {
                    let tables = rope.tables::<W>(token);
                    rotated::<W>(rows[0], rope.query_weight, tables, rope.epsilon, q);
                    rotated::<W>(rows[1], rope.key_weight, tables, rope.epsilon, k);
                }
                None => {
                    q.copy_from_slice(rows[0]);
                    k.copy_from_slice(rows[1]);
                }
            }
            v[row].copy_from_slice(rows[2]);
        }
    }

    /// Backpropagates the gradients of a head's queries, keys and values, `[n, W]` each, through rotation and norms: writes those of the
    /// projection, and adds those of the norms' weights.
    #[inline(always)]
    fn backward_rows<const W: usize>(
        &self,
        sample: usize,
        head: usize,
        [dq, dk, dv]: [&[f32]; 3],
        into: &mut IntoGradients<'_>,
    ) {
        let d = self.heads * W;
        for token in 0..self.n {
            let rows = self.rows::<W>(sample, token, head);
            let start = (sample * self.n + token) * 3 * d + head * W;
            let row = token * W..(token + 1) * W;
            let (dq, dk) = (&dq[row.clone()], &dk[row.clone()]);
            let (into_q, into_k) = into.qkv[start..start + d + W].split_at_mut(d);
            let into_q = &mut into_q[..W];
            match self.rope {
                Some(rope) => {
                    let (tables, epsilon) = (rope.tables::<W>(token), rope.epsilon);
                    let [query, key] = [rope.query_weight, rope.key_weight];
                    rotated_backward::<W>(rows[0], query, tables, epsilon, dq, into_q, into.query);
                    rotated_backward::<W>(rows[1], key, tables, epsilon, dk, into_k, into.key);
                }
                None => {
                    into_q.copy_from_slice(dq);
                    into_k.copy_from_slice(dk);
                }
            }
            into.qkv[start + 2 * d..start + 2 * d + W].copy_from_slice(&dv[row]);
        }
    }
}

/// Destinations of the gradients of the projection and of the norms' weights.
struct IntoGradients<'a> {
    qkv: &'a mut [f32],
    query: &'a mut [f32],
    key: &'a mut [f32],
}

impl<'a> QkNormRopeRef<'a> {
    #[inline(always)]
    fn tables<const W: usize>(&self, token: usize) -> [&'a [f32]; 2] {
        [self.cos, self.sin].map(|table| &table[token * W..(token + 1) * W])
    }
}

/// Applies RMS norm and rotary embedding to a row.
#[inline(always)]
fn rotated<const W: usize>(
    x: &[f32],
    weight: &[f32],
    [cos, sin]: [&[f32]; 2],
    epsilon: f32,
    y: &mut [f32],
) {
    let scale = 1.0 / (dot(x, x) / W as f32 + epsilon).sqrt();
    for i in 0..W / 2 {
        let (even, odd) = (2 * i, 2 * i + 1);
        let (a, b) = (x[even] * scale * weight[even], x[odd] * scale * weight[odd]);
        y[even] = a * cos[even] - b * sin[even];
        y[odd] = b * cos[odd] + a * sin[odd];
    }
}

/// The backward pass of [`rotated`]: writes the input's gradient and adds the weight's.
#[inline(always)]
fn rotated_backward<const W: usize>(
    x: &[f32],
    weight: &[f32],
    [cos, sin]: [&[f32]; 2],
    epsilon: f32,
    gradient: &[f32],
    into_x: &mut [f32],
    into_weight: &mut [f32],
) {
    let scale = 1.0 / (dot(x, x) / W as f32 + epsilon).sqrt();
    let mut back = [0f32; W];
    for i in 0..W / 2 {
        let (even, odd) = (2 * i, 2 * i + 1);
        back[even] = gradient[even] * cos[even] + gradient[odd] * sin[odd];
        back[odd] = gradient[odd] * cos[odd] - gradient[even] * sin[even];
    }
    for i in 0..W {
        into_weight[i] += back[i] * x[i] * scale;
        back[i] *= weight[i];
    }
    let along = dot(&back, x) * scale * scale / W as f32;
    for i in 0..W {
        into_x[i] = scale * (back[i] - along * x[i]);
    }
}

simd_dispatch! {
    fn forward(view: View<'_>, y: &mut [f32]) {
        match view.width {
            32 => f32::forward_of::<32>(view, y),
            64 => f32::forward_of::<64>(view, y),
            _ => f32::forward_of::<128>(view, y),
        }
    }

    fn backward(
        view: View<'_>,
        gradient: &[f32],
        into_qkv: &mut [f32],
        into_query: &mut [f32],
        into_key: &mut [f32],
    ) {
        match view.width {
            32 => f32::backward_of::<32>(view, gradient, into_qkv, into_query, into_key),
            64 => f32::backward_of::<64>(view, gradient, into_qkv, into_query, into_key),
            _ => f32::backward_of::<128>(view, gradient, into_qkv, into_query, into_key),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn bf16_forward(view: View<'_>, y: &mut [f32], log_sums: &mut [f32]) {
        match view.width {
            32 => bf16::forward_of::<32>(view, y, log_sums),
            64 => bf16::forward_of::<64>(view, y, log_sums),
            _ => bf16::forward_of::<128>(view, y, log_sums),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn bf16_backward(
        view: View<'_>,
        saved: [&[f32]; 3],
        into_qkv: &mut [f32],
        into_query: &mut [f32],
        into_key: &mut [f32],
    ) {
        match view.width {
            32 => bf16::backward_of::<32>(view, saved, into_qkv, into_query, into_key),
            64 => bf16::backward_of::<64>(view, saved, into_qkv, into_query, into_key),
            _ => bf16::backward_of::<128>(view, saved, into_qkv, into_query, into_key),
        }
    }
}
