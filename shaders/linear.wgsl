// y[n, o] = sum over k of x[n, k] weight[o, k], + bias[o]. All row-major f32; k is a multiple of 4.
//
// Grid: a thread makes 8 rows by 16 columns of y, id = (column / 16, row / 8); a workgroup is 4 x 4 threads. Rows and
// columns past the edge read the last valid one and are not stored.
// sizes: n, o, k / 4, whether there is a bias, whether GELU follows.
//
// Why: burn's own product takes 10.6 s for 1024x512x1536 on SwiftShader in a page, this one 0.70 s (tests/bench.rs). A large
// tile in registers reads 24 vectors for 512 multiply-adds, and needs no workgroup memory, which is slow there.
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> sizes: array<u32>;

// acc + x . w for four columns: w holds four rows of the weight, transposed, so that w[i] is their i-th value.
fn advance(acc: vec4<f32>, x: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
  return fma(w[3], vec4(x.w), fma(w[2], vec4(x.z), fma(w[1], vec4(x.y), fma(w[0], vec4(x.x), acc))));
}

// GELU in its tanh form, as x sigmoid(2 u).
fn gelu(x: f32) -> f32 {
  return x / (1.0 + exp(min(80.0, -x * (1.5957691 + 0.07135481 * x * x))));
}

// Four columns of one row, with the bias and the activation, as far as they exist.
fn store(row: u32, column: u32, value: vec4<f32>) {
  if (row >= sizes[0]) {
    return;
  }
  let o = sizes[1];
  for (var i = 0u; i < min(4u, max(o, column) - column); i++) {
    var out = value[i];
    if (sizes[3] != 0u) {
      out += bias[column + i];
    }
    if (sizes[4] != 0u) {
      out = gelu(out);
    }
    y[row * o + column + i] = out;
  }
}

@compute @workgroup_size(4, 4, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x * 16u;
  let row = id.y * 8u;
  if (row >= sizes[0] || column >= sizes[1]) {
    return;
  }
  let depth = sizes[2];
  let last = sizes[1] - 1u;
  let bottom = sizes[0] - 1u;
  let r0 = min(row, bottom) * depth;
  let r1 = min(row + 1u, bottom) * depth;
  let r2 = min(row + 2u, bottom) * depth;
  let r3 = min(row + 3u, bottom) * depth;
  let r4 = min(row + 4u, bottom) * depth;
  let r5 = min(row + 5u, bottom) * depth;
  let r6 = min(row + 6u, bottom) * depth;
  let r7 = min(row + 7u, bottom) * depth;
  let c0 = min(column, last) * depth;
  let c1 = min(column + 1u, last) * depth;
  let c2 = min(column + 2u, last) * depth;
  let c3 = min(column + 3u, last) * depth;
  let c4 = min(column + 4u, last) * depth;
  let c5 = min(column + 5u, last) * depth;
  let c6 = min(column + 6u, last) * depth;
  let c7 = min(column + 7u, last) * depth;
  let c8 = min(column + 8u, last) * depth;
  let c9 = min(column + 9u, last) * depth;
  let c10 = min(column + 10u, last) * depth;
  let c11 = min(column + 11u, last) * depth;
  let c12 = min(column + 12u, last) * depth;
  let c13 = min(column + 13u, last) * depth;
  let c14 = min(column + 14u, last) * depth;
  let c15 = min(column + 15u, last) * depth;
  var a00 = vec4(0.0); var a01 = vec4(0.0); var a02 = vec4(0.0); var a03 = vec4(0.0);
  var a10 = vec4(0.0); var a11 = vec4(0.0); var a12 = vec4(0.0); var a13 = vec4(0.0);
  var a20 = vec4(0.0); var a21 = vec4(0.0); var a22 = vec4(0.0); var a23 = vec4(0.0);
  var a30 = vec4(0.0); var a31 = vec4(0.0); var a32 = vec4(0.0); var a33 = vec4(0.0);
  var a40 = vec4(0.0); var a41 = vec4(0.0); var a42 = vec4(0.0); var a43 = vec4(0.0);
  var a50 = vec4(0.0); var a51 = vec4(0.0); var a52 = vec4(0.0); var a53 = vec4(0.0);
  var a60 = vec4(0.0); var a61 = vec4(0.0); var a62 = vec4(0.0); var a63 = vec4(0.0);
  var a70 = vec4(0.0); var a71 = vec4(0.0); var a72 = vec4(0.0); var a73 = vec4(0.0);
  for (var t = 0u; t < depth; t++) {
    let x0 = x[r0 + t];
    let x1 = x[r1 + t];
    let x2 = x[r2 + t];
    let x3 = x[r3 + t];
    let x4 = x[r4 + t];
    let x5 = x[r5 + t];
    let x6 = x[r6 + t];
    let x7 = x[r7 + t];
    var w: mat4x4<f32>;
    w = transpose(mat4x4(weight[c0 + t], weight[c1 + t], weight[c2 + t], weight[c3 + t]));
    a00 = advance(a00, x0, w);
    a10 = advance(a10, x1, w);
    a20 = advance(a20, x2, w);
    a30 = advance(a30, x3, w);
    a40 = advance(a40, x4, w);
    a50 = advance(a50, x5, w);
    a60 = advance(a60, x6, w);
    a70 = advance(a70, x7, w);
    w = transpose(mat4x4(weight[c4 + t], weight[c5 + t], weight[c6 + t], weight[c7 + t]));
    a01 = advance(a01, x0, w);
    a11 = advance(a11, x1, w);
    a21 = advance(a21, x2, w);
    a31 = advance(a31, x3, w);
    a41 = advance(a41, x4, w);
    a51 = advance(a51, x5, w);
    a61 = advance(a61, x6, w);
    a71 = advance(a71, x7, w);
    w = transpose(mat4x4(weight[c8 + t], weight[c9 + t], weight[c10 + t], weight[c11 + t]));
    a02 = advance(a02, x0, w);
    a12 = advance(a12, x1, w);
    a22 = advance(a22, x2, w);
    a32 = advance(a32, x3, w);
    a42 = advance(a42, x4, w);
    a52 = advance(a52, x5, w);
    a62 = advance(a62, x6, w);
    a72 = advance(a72, x7, w);
    w = transpose(mat4x4(weight[c12 + t], weight[c13 + t], weight[c14 + t], weight[c15 + t]));
    a03 = advance(a03, x0, w);
    a13 = advance(a13, x1, w);
    a23 = advance(a23, x2, w);
    a33 = advance(a33, x3, w);
    a43 = advance(a43, x4, w);
    a53 = advance(a53, x5, w);
    a63 = advance(a63, x6, w);
    a73 = advance(a73, x7, w);
  }
  store(row, column, a00);
  store(row, column + 4u, a01);
  store(row, column + 8u, a02);
  store(row, column + 12u, a03);
  store(row + 1u, column, a10);
  store(row + 1u, column + 4u, a11);
  store(row + 1u, column + 8u, a12);
  store(row + 1u, column + 12u, a13);
  store(row + 2u, column, a20);
  store(row + 2u, column + 4u, a21);
  store(row + 2u, column + 8u, a22);
  store(row + 2u, column + 12u, a23);
  store(row + 3u, column, a30);
  store(row + 3u, column + 4u, a31);
  store(row + 3u, column + 8u, a32);
  store(row + 3u, column + 12u, a33);
  store(row + 4u, column, a40);
  store(row + 4u, column + 4u, a41);
  store(row + 4u, column + 8u, a42);
  store(row + 4u, column + 12u, a43);
  store(row + 5u, column, a50);
  store(row + 5u, column + 4u, a51);
  store(row + 5u, column + 8u, a52);
  store(row + 5u, column + 12u, a53);
  store(row + 6u, column, a60);
  store(row + 6u, column + 4u, a61);
  store(row + 6u, column + 8u, a62);
  store(row + 6u, column + 12u, a63);
  store(row + 7u, column, a70);
  store(row + 7u, column + 4u, a71);
  store(row + 7u, column + 8u, a72);
  store(row + 7u, column + 12u, a73);
}
