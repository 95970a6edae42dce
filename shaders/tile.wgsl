// What every tiled shader has.

// acc + x . w.
fn advance(acc: f32, x: vec4<f32>, w: vec4<f32>) -> f32 {
  return fma(x.w, w.w, fma(x.z, w.z, fma(x.y, w.y, fma(x.x, w.x, acc))));
}

// A thread's results, row by row.
alias Tile = array<vec4<f32>, ROWS * COLUMNS / 4u>;
