// WGSL that all tiled shaders share.

// Returns acc + x . w. The variant for 16-bit floats adds four products in f16 and their sums in f32.
fn advance(acc: f32, x: Factor, w: Factor) -> f32 {
  return fma(x.w, w.w, fma(x.z, w.z, fma(x.y, w.y, fma(x.x, w.x, acc)))); // single
  return acc + f32(dot(x, w)); // half
}

// A thread's results, row-major.
alias Tile = array<vec4<f32>, ROWS * COLUMNS / 4u>;
