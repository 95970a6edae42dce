// y[b, v, u, o] = sum over taps (i, j) and channels c of x[b, v s + i - top, u s + j - left, c] weight[o, i, j, c], + bias[o],
// where x is 0 outside. All f32, channels last, row-major; the number of channels is a multiple of 4.
//
// Grid: as linear.wgsl: a tile of ROWS pixels (of all pixels of the batch in a row) by COLUMNS channels a thread, id =
// (pixel / ROWS, channel / COLUMNS). It is linear.wgsl run over the taps: no patch matrix is written.
// sizes: pixels b v u, o, c / 4, whether there is a bias, 0 for no GELU, height, width of x, height, width of y, of the kernel,
// s, top, left.
//
// Why: burn's own convolution takes three times as long for 64 to 64 channels, 3x3, 64x64 pixels on SwiftShader in a page
// (tests/bench.rs).
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> sizes: array<u32>;

@compute @workgroup_size(THREADS, 1, 1)
fn main(
  @builtin(global_invocation_id) id: vec3<u32>,
  @builtin(subgroup_invocation_id) invocation: u32, // quad
) {
  let row = id.x * ROWS;
  let column = id.y * COLUMNS;
  let depth = sizes[2];
  let taps = sizes[9] * sizes[10];
  let bottom = sizes[0] - 1u;
  let last = sizes[1] - 1u;
  let lane = invocation & 3u; // quad
  let c$q = min(column + 4u * $qu + lane, last) * taps * depth; // quad
  let c$q_$j = min(column + 4u * $qu + $ju, last) * taps * depth; // alone
  let height = i32(sizes[5]);
  let width = i32(sizes[6]);
  let plane = sizes[7] * sizes[8];
  // Where the output pixel's first tap lies in x, and where its image starts.
  let pixel$r = min(row + $ru, bottom);
  let image$r = i32(pixel$r / plane) * height * width;
  let top$r = i32(pixel$r % plane / sizes[8] * sizes[11]) - i32(sizes[12]);
  let left$r = i32(pixel$r % plane % sizes[8] * sizes[11]) - i32(sizes[13]);
  var a$r_$q_$j = 0.0;
  for (var at = 0u; at < taps; at++) {
    let i = i32(at / sizes[10]);
    let j = i32(at % sizes[10]);
    let shift = at * depth;
    let v$r = top$r + i;
    let u$r = left$r + j;
    // A number below zero is a large one here. Without branches: each of them takes a compiler seconds.
    let inside$r = select(0.0, 1.0, (u32(v$r) < u32(height)) & (u32(u$r) < u32(width)));
    let s$r = u32(image$r + clamp(v$r, 0, height - 1) * width + clamp(u$r, 0, width - 1)) * depth;
    for (var t = 0u; t < depth; t++) {
      let x$r = x[s$r + t] * inside$r;
      let own$q = weight[c$q + shift + t]; // quad
      let w$q_$j = quadBroadcast(own$q, $ju); // quad
      let w$q_$j = weight[c$q_$j + shift + t]; // alone
      a$r_$q_$j = advance(a$r_$q_$j, x$r, w$q_$j);
    }
  }
  var tile: Tile;
  tile[$r * COLUMNS / 4u + $q] = vec4(a$r_$q_0, a$r_$q_1, a$r_$q_2, a$r_$q_3);
  store(row, column, &tile);
}
