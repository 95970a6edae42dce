// Stores a GEMM tile from registers. The shader that includes this has the output y, the bias, and sizes that begin with rows,
// columns, depth, whether there is a bias, whether GELU follows.

// GELU, tanh approximation, as x sigmoid(2 u) with u the argument of tanh.
fn gelu(x: f32) -> f32 {
  return x / (1.0 + exp(min(80.0, -x * (1.5957691 + 0.07135481 * x * x))));
}

// Stores the part of a tile that is inside y, with bias and activation. Loops replace expanded lines, which take a compiler seconds.
fn store(row: u32, column: u32, tile: ptr<function, Tile>) {
  let o = sizes[1];
  let across = min(COLUMNS, max(o, column) - column);
  for (var r = 0u; r < min(ROWS, max(sizes[0], row) - row); r++) {
    for (var c = 0u; c < across; c++) {
      var out = tile[(r * COLUMNS + c) / 4u][c % 4u];
      if (sizes[3] != 0u) {
        out += bias[column + c];
      }
      if (sizes[4] != 0u) {
        out = gelu(out);
      }
      y[(row + r) * o + column + c] = out;
    }
  }
}
