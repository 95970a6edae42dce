// y[n, o] = sum over k of x[n, k] value[o, k] scale[o, k / 32], + bias[o]; the values of 4 bits are dequantised in registers.
// x, y, bias f32, row-major; packed u32 [o, k / 8], eight nibbles (value + 8) a word, lowest bits first; scales u32 [o, k / 64],
// two f16 a word, the lower half first; k is a multiple of 64.
//
// Grid: as linear.wgsl: a thread makes 8 rows by 16 columns, id = (column / 16, row / 8), a workgroup is 4 x 4 threads.
// sizes: n, o, k / 64, whether there is a bias, whether GELU follows.
//
// Why: a matrix keeps a seventh of its bytes on the device; 0.78 s where linear.wgsl takes 0.70 s (1024x512x1536 on SwiftShader,
// tests/bench.rs), since a value is unpacked once for 8 rows.
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> packed: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> sizes: array<u32>;

// acc + x . w for four columns: w holds four rows of the weight, transposed, so that w[i] is their i-th value.
fn advance(acc: vec4<f32>, x: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
  return fma(w[3], vec4(x.w), fma(w[2], vec4(x.z), fma(w[1], vec4(x.y), fma(w[0], vec4(x.x), acc))));
}

// Four of the eight nibbles of a word, from bit `first` on, lowest bits first.
fn unpack(word: u32, first: u32) -> vec4<f32> {
  return vec4<f32>((vec4(word >> first) >> vec4(0u, 4u, 8u, 12u)) & vec4(15u)) - 8.0;
}

// Four columns' values times their scales, transposed as advance wants them.
fn scaled(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, scale: vec4<f32>) -> mat4x4<f32> {
  let w = transpose(mat4x4(a, b, c, d));
  return mat4x4(w[0] * scale, w[1] * scale, w[2] * scale, w[3] * scale);
}

// One of the two scales in each of four words.
fn scale(a: u32, b: u32, c: u32, d: u32, upper: bool) -> vec4<f32> {
  let shift = select(0u, 16u, upper);
  let low = vec2(unpack2x16float(a >> shift).x, unpack2x16float(b >> shift).x);
  return vec4(low, unpack2x16float(c >> shift).x, unpack2x16float(d >> shift).x);
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
  let pairs = sizes[2];
  let last = sizes[1] - 1u;
  let bottom = sizes[0] - 1u;
  let r0 = min(row, bottom) * pairs * 16u;
  let r1 = min(row + 1u, bottom) * pairs * 16u;
  let r2 = min(row + 2u, bottom) * pairs * 16u;
  let r3 = min(row + 3u, bottom) * pairs * 16u;
  let r4 = min(row + 4u, bottom) * pairs * 16u;
  let r5 = min(row + 5u, bottom) * pairs * 16u;
  let r6 = min(row + 6u, bottom) * pairs * 16u;
  let r7 = min(row + 7u, bottom) * pairs * 16u;
  let c0 = min(column, last) * pairs;
  let c1 = min(column + 1u, last) * pairs;
  let c2 = min(column + 2u, last) * pairs;
  let c3 = min(column + 3u, last) * pairs;
  let c4 = min(column + 4u, last) * pairs;
  let c5 = min(column + 5u, last) * pairs;
  let c6 = min(column + 6u, last) * pairs;
  let c7 = min(column + 7u, last) * pairs;
  let c8 = min(column + 8u, last) * pairs;
  let c9 = min(column + 9u, last) * pairs;
  let c10 = min(column + 10u, last) * pairs;
  let c11 = min(column + 11u, last) * pairs;
  let c12 = min(column + 12u, last) * pairs;
  let c13 = min(column + 13u, last) * pairs;
  let c14 = min(column + 14u, last) * pairs;
  let c15 = min(column + 15u, last) * pairs;
  var a00 = vec4(0.0); var a01 = vec4(0.0); var a02 = vec4(0.0); var a03 = vec4(0.0);
  var a10 = vec4(0.0); var a11 = vec4(0.0); var a12 = vec4(0.0); var a13 = vec4(0.0);
  var a20 = vec4(0.0); var a21 = vec4(0.0); var a22 = vec4(0.0); var a23 = vec4(0.0);
  var a30 = vec4(0.0); var a31 = vec4(0.0); var a32 = vec4(0.0); var a33 = vec4(0.0);
  var a40 = vec4(0.0); var a41 = vec4(0.0); var a42 = vec4(0.0); var a43 = vec4(0.0);
  var a50 = vec4(0.0); var a51 = vec4(0.0); var a52 = vec4(0.0); var a53 = vec4(0.0);
  var a60 = vec4(0.0); var a61 = vec4(0.0); var a62 = vec4(0.0); var a63 = vec4(0.0);
  var a70 = vec4(0.0); var a71 = vec4(0.0); var a72 = vec4(0.0); var a73 = vec4(0.0);
  for (var block = 0u; block < 2u * pairs; block++) {
    let pair = block / 2u;
    let upper = (block & 1u) == 1u;
    let s0 = scale(scales[c0 + pair], scales[c1 + pair], scales[c2 + pair], scales[c3 + pair], upper);
    let s1 = scale(scales[c4 + pair], scales[c5 + pair], scales[c6 + pair], scales[c7 + pair], upper);
    let s2 = scale(scales[c8 + pair], scales[c9 + pair], scales[c10 + pair], scales[c11 + pair], upper);
    let s3 = scale(scales[c12 + pair], scales[c13 + pair], scales[c14 + pair], scales[c15 + pair], upper);
    for (var i = 0u; i < 4u; i++) {
      let t = block * 4u + i;
      let x0 = x[r0 + 2u * t];
      let z0 = x[r0 + 2u * t + 1u];
      let x1 = x[r1 + 2u * t];
      let z1 = x[r1 + 2u * t + 1u];
      let x2 = x[r2 + 2u * t];
      let z2 = x[r2 + 2u * t + 1u];
      let x3 = x[r3 + 2u * t];
      let z3 = x[r3 + 2u * t + 1u];
      let x4 = x[r4 + 2u * t];
      let z4 = x[r4 + 2u * t + 1u];
      let x5 = x[r5 + 2u * t];
      let z5 = x[r5 + 2u * t + 1u];
      let x6 = x[r6 + 2u * t];
      let z6 = x[r6 + 2u * t + 1u];
      let x7 = x[r7 + 2u * t];
      let z7 = x[r7 + 2u * t + 1u];
      var w: mat4x4<f32>;
      let p0 = packed[c0 * 8u + t];
      let p1 = packed[c1 * 8u + t];
      let p2 = packed[c2 * 8u + t];
      let p3 = packed[c3 * 8u + t];
      w = scaled(unpack(p0, 0u), unpack(p1, 0u), unpack(p2, 0u), unpack(p3, 0u), s0);
      a00 = advance(a00, x0, w);
      a10 = advance(a10, x1, w);
      a20 = advance(a20, x2, w);
      a30 = advance(a30, x3, w);
      a40 = advance(a40, x4, w);
      a50 = advance(a50, x5, w);
      a60 = advance(a60, x6, w);
      a70 = advance(a70, x7, w);
      w = scaled(unpack(p0, 16u), unpack(p1, 16u), unpack(p2, 16u), unpack(p3, 16u), s0);
      a00 = advance(a00, z0, w);
      a10 = advance(a10, z1, w);
      a20 = advance(a20, z2, w);
      a30 = advance(a30, z3, w);
      a40 = advance(a40, z4, w);
      a50 = advance(a50, z5, w);
      a60 = advance(a60, z6, w);
      a70 = advance(a70, z7, w);
      let p4 = packed[c4 * 8u + t];
      let p5 = packed[c5 * 8u + t];
      let p6 = packed[c6 * 8u + t];
      let p7 = packed[c7 * 8u + t];
      w = scaled(unpack(p4, 0u), unpack(p5, 0u), unpack(p6, 0u), unpack(p7, 0u), s1);
      a01 = advance(a01, x0, w);
      a11 = advance(a11, x1, w);
      a21 = advance(a21, x2, w);
      a31 = advance(a31, x3, w);
      a41 = advance(a41, x4, w);
      a51 = advance(a51, x5, w);
      a61 = advance(a61, x6, w);
      a71 = advance(a71, x7, w);
      w = scaled(unpack(p4, 16u), unpack(p5, 16u), unpack(p6, 16u), unpack(p7, 16u), s1);
      a01 = advance(a01, z0, w);
      a11 = advance(a11, z1, w);
      a21 = advance(a21, z2, w);
      a31 = advance(a31, z3, w);
      a41 = advance(a41, z4, w);
      a51 = advance(a51, z5, w);
      a61 = advance(a61, z6, w);
      a71 = advance(a71, z7, w);
      let p8 = packed[c8 * 8u + t];
      let p9 = packed[c9 * 8u + t];
      let p10 = packed[c10 * 8u + t];
      let p11 = packed[c11 * 8u + t];
      w = scaled(unpack(p8, 0u), unpack(p9, 0u), unpack(p10, 0u), unpack(p11, 0u), s2);
      a02 = advance(a02, x0, w);
      a12 = advance(a12, x1, w);
      a22 = advance(a22, x2, w);
      a32 = advance(a32, x3, w);
      a42 = advance(a42, x4, w);
      a52 = advance(a52, x5, w);
      a62 = advance(a62, x6, w);
      a72 = advance(a72, x7, w);
      w = scaled(unpack(p8, 16u), unpack(p9, 16u), unpack(p10, 16u), unpack(p11, 16u), s2);
      a02 = advance(a02, z0, w);
      a12 = advance(a12, z1, w);
      a22 = advance(a22, z2, w);
      a32 = advance(a32, z3, w);
      a42 = advance(a42, z4, w);
      a52 = advance(a52, z5, w);
      a62 = advance(a62, z6, w);
      a72 = advance(a72, z7, w);
      let p12 = packed[c12 * 8u + t];
      let p13 = packed[c13 * 8u + t];
      let p14 = packed[c14 * 8u + t];
      let p15 = packed[c15 * 8u + t];
      w = scaled(unpack(p12, 0u), unpack(p13, 0u), unpack(p14, 0u), unpack(p15, 0u), s3);
      a03 = advance(a03, x0, w);
      a13 = advance(a13, x1, w);
      a23 = advance(a23, x2, w);
      a33 = advance(a33, x3, w);
      a43 = advance(a43, x4, w);
      a53 = advance(a53, x5, w);
      a63 = advance(a63, x6, w);
      a73 = advance(a73, x7, w);
      w = scaled(unpack(p12, 16u), unpack(p13, 16u), unpack(p14, 16u), unpack(p15, 16u), s3);
      a03 = advance(a03, z0, w);
      a13 = advance(a13, z1, w);
      a23 = advance(a23, z2, w);
      a33 = advance(a33, z3, w);
      a43 = advance(a43, z4, w);
      a53 = advance(a53, z5, w);
      a63 = advance(a63, z6, w);
      a73 = advance(a73, z7, w);
    }
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
