// Convolution: y[b, v, u, o] = sum over kernel positions (i, j) and channels c of
// x[b, v s + i - top, u s + j - left, c] weight[o, i, j, c], + bias[o], where x is 0 outside. All f32, channels last, row-major;
// the number of channels is a multiple of 4.
//
// A linear layer is a 1x1 convolution over one row of pixels. A separate GEMM shader is no faster and needs another pipeline, which
// a software adapter compiles in half a second.
//
// Grid: a thread computes ROWS pixels (counted over the batch) by COLUMNS channels, id = (pixel / ROWS, channel / COLUMNS);
// src/gpu/tile.rs defines the template syntax. Pixels and channels past the edge read the last valid one and are not stored.
// sizes: pixels b v u, o, c / 4, whether there is a bias, whether GELU follows, height and width of x, of y and of the kernel, s,
// top, left.
//
// Why: burn's own GEMM takes 25 times as long for 1024x512x1536 on SwiftShader in a page, its convolution three times as long for
// 64 to 64 channels, 3x3, 64x64 pixels (tests/bench.rs). A large tile in registers loads 32 vectors for 1024 multiply-adds, or 20
// if threads share loads. It needs no workgroup memory and no im2col matrix.
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
  // Start in x of each output pixel's window. Loops instead of expanded lines, which would take a compiler seconds.
  var image: array<i32, ROWS>;
  var top: array<i32, ROWS>;
  var left: array<i32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    let pixel = min(row + r, bottom);
    image[r] = i32(pixel / plane) * height * width;
    top[r] = i32(pixel % plane / sizes[8] * sizes[11]) - i32(sizes[12]);
    left[r] = i32(pixel % plane % sizes[8] * sizes[11]) - i32(sizes[13]);
  }
  var start: array<u32, ROWS>;
  var inside: array<f32, ROWS>;
  var a$r_$q_$j = 0.0;
  for (var at = 0u; at < taps; at++) {
    let i = i32(at / sizes[10]);
    let j = i32(at % sizes[10]);
    let shift = at * depth;
    for (var r = 0u; r < ROWS; r++) {
      let v = top[r] + i;
      let u = left[r] + j;
      // A negative i32 becomes a large u32. There are no branches, each of which would take a compiler seconds.
      inside[r] = select(0.0, 1.0, (u32(v) < u32(height)) & (u32(u) < u32(width)));
      start[r] = u32(image[r] + clamp(v, 0, height - 1) * width + clamp(u, 0, width - 1)) * depth;
    }
    let s$r = start[$r];
    let inside$r = inside[$r];
    for (var t = 0u; t < depth; t++) {
      let x$r = Factor(x[s$r + t] * inside$r);
      let own$q = Factor(weight[c$q + shift + t]); // quad
      let w$q_$j = quadBroadcast(own$q, $ju); // quad
      let w$q_$j = Factor(weight[c$q_$j + shift + t]); // alone
      a$r_$q_$j = advance(a$r_$q_$j, x$r, w$q_$j);
    }
  }
  var tile: Tile;
  tile[$r * COLUMNS / 4u + $q] = vec4(a$r_$q_0, a$r_$q_1, a$r_$q_2, a$r_$q_3);
  store(row, column, &tile);
}
