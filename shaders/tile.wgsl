// What every tiled shader has.

// acc + x . w. In the form for 16-bit floats four products are added up in those, and their sums in 32 bits.
fn advance(acc: f32, x: Factor, w: Factor) -> f32 {
  return fma(x.w, w.w, fma(x.z, w.z, fma(x.y, w.y, fma(x.x, w.x, acc)))); // single
  return acc + f32(dot(x, w)); // half
}

// A thread's results, row by row.
alias Tile = array<vec4<f32>, ROWS * COLUMNS / 4u>;
