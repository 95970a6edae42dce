// y[n, o] = sum over k of x[n, k] weight[o, k], + bias[o]. All row-major f32; k is a multiple of 4.
//
// Grid: a tile of ROWS by COLUMNS of y a thread, id = (row / ROWS, column / COLUMNS); src/gpu/tile.rs says what is repeated.
// Rows and columns past the edge read the last valid one and are not stored.
// sizes: n, o, k / 4, whether there is a bias, whether GELU follows.
//
// Why: burn's own product takes 25 times as long for 1024x512x1536 on SwiftShader in a page (tests/bench.rs). A large tile in
// registers loads 32 vectors for 1024 multiply-adds, and where threads share what they load, 20; it needs no workgroup memory.
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
  let bottom = sizes[0] - 1u;
  let last = sizes[1] - 1u;
  let lane = invocation & 3u; // quad
  let r$r = min(row + $ru, bottom) * depth;
  let c$q = min(column + 4u * $qu + lane, last) * depth; // quad
  let c$q_$j = min(column + 4u * $qu + $ju, last) * depth; // alone
  var a$r_$q_$j = 0.0;
  for (var t = 0u; t < depth; t++) {
    let x$r = x[r$r + t];
    let own$q = weight[c$q + t]; // quad
    let w$q_$j = quadBroadcast(own$q, $ju); // quad
    let w$q_$j = weight[c$q_$j + t]; // alone
    a$r_$q_$j = advance(a$r_$q_$j, x$r, w$q_$j);
  }
  var tile: Tile;
  tile[$r * COLUMNS / 4u + $q] = vec4(a$r_$q_0, a$r_$q_1, a$r_$q_2, a$r_$q_3);
  store(row, column, &tile);
}
