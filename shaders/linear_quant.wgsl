// Quantised GEMM: y[n, o] = sum over k of x[n, k] value[o, k] scale[o, k / 32], + bias[o]; values are dequantised in registers.
// x, y, bias f32, row-major; packed u32, as values_q8.wgsl or values_q4.wgsl reads it; scales u32 [o, k / 64] of two f16 each,
// the lower half first; k is a multiple of 64.
//
// Grid: as in conv2d.wgsl, a thread computes a tile of ROWS by COLUMNS of y, id = (row / ROWS, column / COLUMNS).
// sizes: n, o, k / 64, whether there is a bias, whether GELU follows.
//
// Why: the matrix takes a quarter (q8) or a seventh (q4) of the bytes of floats on the device, at nearly the same speed
// (tests/bench.rs): a value is unpacked once for ROWS rows or, if threads share loads, once for the rows of all of them.
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> packed: array<u32>;
@group(0) @binding(2) var<storage, read_write> scales: array<u32>;
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> sizes: array<u32>;

@compute @workgroup_size(THREADS, 1, 1)
fn main(
  @builtin(global_invocation_id) id: vec3<u32>,
  @builtin(subgroup_invocation_id) invocation: u32, // quad
) {
  let row = id.x * ROWS;
  let column = id.y * COLUMNS;
  let pairs = sizes[2];
  let bottom = sizes[0] - 1u;
  let last = sizes[1] - 1u;
  let lane = invocation & 3u; // quad
  let r$r = min(row + $ru, bottom) * pairs * 16u;
  let c$q = min(column + 4u * $qu + lane, last) * pairs; // quad
  let c$q_$j = min(column + 4u * $qu + $ju, last) * pairs; // alone
  var a$r_$q_$j = 0.0;
  for (var block = 0u; block < 2u * pairs; block++) {
    let pair = block / 2u;
    let shift = 16u * (block & 1u);
    let s$q = unpack2x16float(scales[c$q + pair] >> shift).x; // quad
    let s$q_$j = unpack2x16float(scales[c$q_$j + pair] >> shift).x; // alone
    for (var t = 8u * block; t < 8u * block + 8u; t++) {
      let x$r = Factor(x[r$r + t]);
      let own$q = Factor(values(c$q, t) * s$q); // quad
      let w$q_$j = quadBroadcast(own$q, $ju); // quad
      let w$q_$j = Factor(values(c$q_$j, t) * s$q_$j); // alone
      a$r_$q_$j = advance(a$r_$q_$j, x$r, w$q_$j);
    }
  }
  var tile: Tile;
  tile[$r * COLUMNS / 4u + $q] = vec4(a$r_$q_0, a$r_$q_1, a$r_$q_2, a$r_$q_3);
  store(row, column, &tile);
}
