// y[i] = sum over j of softmax_j(q[i] . k[j] / sqrt(d) + mask[i, j]) v[j], for every batch and head.
// q, y [b h, n, d], k, v [b h, m, d], f32, row-major, d a multiple of 4; mask [b or 1, n, m].
//
// Grid: a thread makes 4 queries of one head, id = (query / 4, head); a workgroup is 16 threads. It goes over the keys 16 at
// a time with a running maximum and sum (the online softmax), and keeps its weighted sum of values in y itself, which it
// scales down when the maximum grows. No n by m matrix exists anywhere, and d is free.
// sizes: n, m, d / 4, heads, mask's batch (0: no mask, 1: one for all, else one for each).
//
// Why: burn's own operations take 13.6 s for 8 heads of 512 tokens by 64 on SwiftShader in a page and hold 8 matrices of
// 512 by 512, this takes 0.41 s (tests/bench.rs) and holds none.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> mask: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sizes: array<u32>;

// Far below every score, and still finite: infinities are not portable in WGSL.
const LOWEST = -3.0e38;

// acc + x . w for four columns: w holds four rows of the weight, transposed, so that w[i] is their i-th value.
fn advance(acc: vec4<f32>, x: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
  return fma(w[3], vec4(x.w), fma(w[2], vec4(x.z), fma(w[1], vec4(x.y), fma(w[0], vec4(x.x), acc))));
}

// Scaled and masked scores of one query (row `row` of the mask, from 0 on over the batches) against keys key..key+3.
fn score(dots: vec4<f32>, row: u32, key: u32) -> vec4<f32> {
  let m = sizes[1];
  var out = dots * inverseSqrt(4.0 * f32(sizes[2]));
  for (var i = 0u; i < 4u; i++) {
    if (key + i >= m) {
      out[i] = LOWEST;
    } else if (sizes[4] != 0u) {
      out[i] = max(out[i] + mask[row * m + key + i], LOWEST);
    }
  }
  return out;
}

// exp(scores - top), 0 for keys past the end.
fn weigh(scores: vec4<f32>, top: f32, key: u32) -> vec4<f32> {
  let present = vec4(key, key + 1u, key + 2u, key + 3u) < vec4(sizes[1]);
  return select(vec4(0.0), exp(scores - top), present);
}

fn largest(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
  let e = max(max(a, b), max(c, d));
  return max(max(e.x, e.y), max(e.z, e.w));
}

fn total(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
  return dot((a + b) + (c + d), vec4(1.0));
}

@compute @workgroup_size(16, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let n = sizes[0];
  let m = sizes[1];
  let depth = sizes[2];
  let query = id.x * 4u;
  let head = id.y;
  if (query >= n) {
    return;
  }
  let bottom = n - 1u;
  let last = m - 1u;
  let batch = select(0u, head / sizes[3], sizes[4] > 1u);
  let i0 = min(query, bottom);
  let q0 = (head * n + i0) * depth;
  let i1 = min(query + 1u, bottom);
  let q1 = (head * n + i1) * depth;
  let i2 = min(query + 2u, bottom);
  let q2 = (head * n + i2) * depth;
  let i3 = min(query + 3u, bottom);
  let q3 = (head * n + i3) * depth;
  var top0 = LOWEST;
  var sum0 = 0.0;
  var top1 = LOWEST;
  var sum1 = 0.0;
  var top2 = LOWEST;
  var sum2 = 0.0;
  var top3 = LOWEST;
  var sum3 = 0.0;
  for (var key = 0u; key < m; key += 16u) {
    let k0 = (head * m + min(key, last)) * depth;
    let k1 = (head * m + min(key + 1u, last)) * depth;
    let k2 = (head * m + min(key + 2u, last)) * depth;
    let k3 = (head * m + min(key + 3u, last)) * depth;
    let k4 = (head * m + min(key + 4u, last)) * depth;
    let k5 = (head * m + min(key + 5u, last)) * depth;
    let k6 = (head * m + min(key + 6u, last)) * depth;
    let k7 = (head * m + min(key + 7u, last)) * depth;
    let k8 = (head * m + min(key + 8u, last)) * depth;
    let k9 = (head * m + min(key + 9u, last)) * depth;
    let k10 = (head * m + min(key + 10u, last)) * depth;
    let k11 = (head * m + min(key + 11u, last)) * depth;
    let k12 = (head * m + min(key + 12u, last)) * depth;
    let k13 = (head * m + min(key + 13u, last)) * depth;
    let k14 = (head * m + min(key + 14u, last)) * depth;
    let k15 = (head * m + min(key + 15u, last)) * depth;
    var a00 = vec4(0.0); var a01 = vec4(0.0); var a02 = vec4(0.0); var a03 = vec4(0.0);
    var a10 = vec4(0.0); var a11 = vec4(0.0); var a12 = vec4(0.0); var a13 = vec4(0.0);
    var a20 = vec4(0.0); var a21 = vec4(0.0); var a22 = vec4(0.0); var a23 = vec4(0.0);
    var a30 = vec4(0.0); var a31 = vec4(0.0); var a32 = vec4(0.0); var a33 = vec4(0.0);
    for (var t = 0u; t < depth; t++) {
      let x0 = q[q0 + t];
      let x1 = q[q1 + t];
      let x2 = q[q2 + t];
      let x3 = q[q3 + t];
      var w: mat4x4<f32>;
      w = transpose(mat4x4(k[k0 + t], k[k1 + t], k[k2 + t], k[k3 + t]));
      a00 = advance(a00, x0, w);
      a10 = advance(a10, x1, w);
      a20 = advance(a20, x2, w);
      a30 = advance(a30, x3, w);
      w = transpose(mat4x4(k[k4 + t], k[k5 + t], k[k6 + t], k[k7 + t]));
      a01 = advance(a01, x0, w);
      a11 = advance(a11, x1, w);
      a21 = advance(a21, x2, w);
      a31 = advance(a31, x3, w);
      w = transpose(mat4x4(k[k8 + t], k[k9 + t], k[k10 + t], k[k11 + t]));
      a02 = advance(a02, x0, w);
      a12 = advance(a12, x1, w);
      a22 = advance(a22, x2, w);
      a32 = advance(a32, x3, w);
      w = transpose(mat4x4(k[k12 + t], k[k13 + t], k[k14 + t], k[k15 + t]));
      a03 = advance(a03, x0, w);
      a13 = advance(a13, x1, w);
      a23 = advance(a23, x2, w);
      a33 = advance(a33, x3, w);
    }
    a00 = score(a00, batch * n + i0, key);
    a01 = score(a01, batch * n + i0, key + 4u);
    a02 = score(a02, batch * n + i0, key + 8u);
    a03 = score(a03, batch * n + i0, key + 12u);
    let new0 = max(top0, largest(a00, a01, a02, a03));
    let keep0 = select(exp(top0 - new0), 0.0, key == 0u);
    top0 = new0;
    a00 = weigh(a00, top0, key);
    a01 = weigh(a01, top0, key + 4u);
    a02 = weigh(a02, top0, key + 8u);
    a03 = weigh(a03, top0, key + 12u);
    sum0 = sum0 * keep0 + total(a00, a01, a02, a03);
    a10 = score(a10, batch * n + i1, key);
    a11 = score(a11, batch * n + i1, key + 4u);
    a12 = score(a12, batch * n + i1, key + 8u);
    a13 = score(a13, batch * n + i1, key + 12u);
    let new1 = max(top1, largest(a10, a11, a12, a13));
    let keep1 = select(exp(top1 - new1), 0.0, key == 0u);
    top1 = new1;
    a10 = weigh(a10, top1, key);
    a11 = weigh(a11, top1, key + 4u);
    a12 = weigh(a12, top1, key + 8u);
    a13 = weigh(a13, top1, key + 12u);
    sum1 = sum1 * keep1 + total(a10, a11, a12, a13);
    a20 = score(a20, batch * n + i2, key);
    a21 = score(a21, batch * n + i2, key + 4u);
    a22 = score(a22, batch * n + i2, key + 8u);
    a23 = score(a23, batch * n + i2, key + 12u);
    let new2 = max(top2, largest(a20, a21, a22, a23));
    let keep2 = select(exp(top2 - new2), 0.0, key == 0u);
    top2 = new2;
    a20 = weigh(a20, top2, key);
    a21 = weigh(a21, top2, key + 4u);
    a22 = weigh(a22, top2, key + 8u);
    a23 = weigh(a23, top2, key + 12u);
    sum2 = sum2 * keep2 + total(a20, a21, a22, a23);
    a30 = score(a30, batch * n + i3, key);
    a31 = score(a31, batch * n + i3, key + 4u);
    a32 = score(a32, batch * n + i3, key + 8u);
    a33 = score(a33, batch * n + i3, key + 12u);
    let new3 = max(top3, largest(a30, a31, a32, a33));
    let keep3 = select(exp(top3 - new3), 0.0, key == 0u);
    top3 = new3;
    a30 = weigh(a30, top3, key);
    a31 = weigh(a31, top3, key + 4u);
    a32 = weigh(a32, top3, key + 8u);
    a33 = weigh(a33, top3, key + 12u);
    sum3 = sum3 * keep3 + total(a30, a31, a32, a33);
    // The first round must not read y: what lies there may be NaN.
    for (var t = 0u; t < depth; t++) {
      var o0 = vec4(0.0);
      var o1 = vec4(0.0);
      var o2 = vec4(0.0);
      var o3 = vec4(0.0);
      if (key > 0u) {
        o0 = y[q0 + t] * keep0;
        o1 = y[q1 + t] * keep1;
        o2 = y[q2 + t] * keep2;
        o3 = y[q3 + t] * keep3;
      }
      var w: mat4x4<f32>;
      w = mat4x4(v[k0 + t], v[k1 + t], v[k2 + t], v[k3 + t]);
      o0 = advance(o0, a00, w);
      o1 = advance(o1, a10, w);
      o2 = advance(o2, a20, w);
      o3 = advance(o3, a30, w);
      w = mat4x4(v[k4 + t], v[k5 + t], v[k6 + t], v[k7 + t]);
      o0 = advance(o0, a01, w);
      o1 = advance(o1, a11, w);
      o2 = advance(o2, a21, w);
      o3 = advance(o3, a31, w);
      w = mat4x4(v[k8 + t], v[k9 + t], v[k10 + t], v[k11 + t]);
      o0 = advance(o0, a02, w);
      o1 = advance(o1, a12, w);
      o2 = advance(o2, a22, w);
      o3 = advance(o3, a32, w);
      w = mat4x4(v[k12 + t], v[k13 + t], v[k14 + t], v[k15 + t]);
      o0 = advance(o0, a03, w);
      o1 = advance(o1, a13, w);
      o2 = advance(o2, a23, w);
      o3 = advance(o3, a33, w);
      y[q0 + t] = o0;
      y[q1 + t] = o1;
      y[q2 + t] = o2;
      y[q3 + t] = o3;
    }
  }
  for (var t = 0u; t < depth; t++) {
    y[q0 + t] = y[q0 + t] / sum0;
    if (query + 1u < n) {
      y[q1 + t] = y[q1 + t] / sum1;
    }
    if (query + 2u < n) {
      y[q2 + t] = y[q2 + t] / sum2;
    }
    if (query + 3u < n) {
      y[q3 + t] = y[q3 + t] / sum3;
    }
  }
}
