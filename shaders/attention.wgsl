// Attention: y[i] = sum over j of softmax_j(q[i] . k[j] / sqrt(d) + mask[i, j]) v[j], for every batch and head.
// q, y [b h, n, d], k, v [b h, m, d], f32, row-major, d a multiple of 4; mask [b or 1, h or 1, n, m].
//
// Grid: a thread computes ROWS queries of one head, id = (query / ROWS, head). It loops over the keys COLUMNS at a time with a
// running maximum and sum (online softmax). It accumulates the weighted sum of values in y itself and scales y down when the
// maximum grows. No n by m matrix is stored, and d is not limited.
// sizes: n, m, d / 4, heads, batches of the mask (0: no mask, 1: one for all, else one each), heads of the mask (1: one for all).
//
// Why: burn's own operations take 49 times as long for 8 heads of 512 tokens by 64 on SwiftShader in a page and allocate 8 matrices
// of 512 by 512 (tests/bench.rs); this shader allocates none.
@group(0) @binding(0) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> mask: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sizes: array<u32>;

// Far below every score, but finite: infinities are not portable in WGSL.
const LOWEST = -3.0e38;

// Returns acc plus the weighted sum of four vectors.
fn gather(acc: vec4<f32>, weights: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return fma(d, vec4(weights.w), fma(c, vec4(weights.z), fma(b, vec4(weights.y), fma(a, vec4(weights.x), acc))));
}

// Returns which of the keys key..key+3 exist.
fn present(key: u32) -> vec4<bool> {
  return vec4(key, key + 1u, key + 2u, key + 3u) < vec4(sizes[1]);
}

// Returns the scaled and masked scores of one query against keys key..key+3; `row` is its row of the mask, over batches and heads.
fn score(dots: vec4<f32>, row: u32, key: u32) -> vec4<f32> {
  let m = sizes[1];
  var out = dots * inverseSqrt(4.0 * f32(sizes[2]));
  if (sizes[4] != 0u) {
    for (var i = 0u; i < 4u; i++) {
      out[i] = max(out[i] + mask[row * m + min(key + i, m - 1u)], LOWEST);
    }
  }
  return select(vec4(LOWEST), out, present(key));
}

@compute @workgroup_size(THREADS, 1, 1)
fn main(
  @builtin(global_invocation_id) id: vec3<u32>,
  @builtin(subgroup_invocation_id) invocation: u32, // quad
) {
  let n = sizes[0];
  let m = sizes[1];
  let depth = sizes[2];
  let query = id.x * ROWS;
  let head = id.y;
  let bottom = n - 1u;
  let last = m - 1u;
  let lane = invocation & 3u; // quad
  let plane = select(0u, head / sizes[3], sizes[4] > 1u) * sizes[5] + select(0u, head % sizes[3], sizes[5] > 1u);
  let q$r = (head * n + min(query + $ru, bottom)) * depth;
  var tile: Tile;
  var top: array<f32, ROWS>;
  var sum: array<f32, ROWS>;
  var keep: array<f32, ROWS>;
  top[$r] = LOWEST;
  for (var key = 0u; key < m; key += COLUMNS) {
    let k$q = (head * m + min(key + 4u * $qu + lane, last)) * depth; // quad
    let k$q_$j = (head * m + min(key + 4u * $qu + $ju, last)) * depth; // alone
    var s$r_$q_$j = 0.0;
    for (var t = 0u; t < depth; t++) {
      let x$r = Factor(q[q$r + t]);
      let own$q = Factor(k[k$q + t]); // quad
      let w$q_$j = quadBroadcast(own$q, $ju); // quad
      let w$q_$j = Factor(k[k$q_$j + t]); // alone
      s$r_$q_$j = advance(s$r_$q_$j, x$r, w$q_$j);
    }
    // Loops instead of expanded lines, which would take a compiler seconds.
    tile[$r * COLUMNS / 4u + $q] = vec4(s$r_$q_0, s$r_$q_1, s$r_$q_2, s$r_$q_3);
    for (var r = 0u; r < ROWS; r++) {
      let row = plane * n + min(query + r, bottom);
      let before = top[r];
      for (var c = 0u; c < COLUMNS; c += 4u) {
        let scores = score(tile[(r * COLUMNS + c) / 4u], row, key + c);
        tile[(r * COLUMNS + c) / 4u] = scores;
        top[r] = max(top[r], max(max(scores.x, scores.y), max(scores.z, scores.w)));
      }
      keep[r] = select(exp(before - top[r]), 0.0, key == 0u);
      sum[r] *= keep[r];
      for (var c = 0u; c < COLUMNS; c += 4u) {
        let weights = select(vec4(0.0), exp(tile[(r * COLUMNS + c) / 4u] - top[r]), present(key + c));
        tile[(r * COLUMNS + c) / 4u] = weights;
        sum[r] += dot(weights, vec4(1.0));
      }
    }
    let keep$r = keep[$r];
    let a$r_$q = tile[$r * COLUMNS / 4u + $q];
    for (var t = 0u; t < depth; t++) {
      var o$r = vec4(0.0);
      // The first iteration must not read y, which is uninitialised and may hold NaN.
      if (key > 0u) {
        o$r = y[q$r + t] * keep$r;
      }
      let own$q = v[k$q + t]; // quad
      let w$q_$j = quadBroadcast(own$q, $ju); // quad
      let w$q_$j = v[k$q_$j + t]; // alone
      o$r = gather(o$r, a$r_$q, w$q_0, w$q_1, w$q_2, w$q_3);
      // A thread past the end only helps its quad load; it must not write the last query, which belongs to another thread.
      if (query < n) {
        y[q$r + t] = o$r;
      }
    }
  }
  if (query < n) {
    for (var t = 0u; t < depth; t++) {
      let o$r = y[q$r + t] / sum[$r];
      y[q$r + t] = o$r;
    }
  }
}
