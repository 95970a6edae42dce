// Unpacks 4-bit values for linear_quant.wgsl: packed u32 [o, k / 8], eight nibbles (value + 8) each, lowest bits first.

// Returns values 4 t..4 t + 3 of a row of the matrix; `pair` is the offset of the row's scales.
fn values(pair: u32, t: u32) -> vec4<f32> {
  let word = packed[pair * 8u + t / 2u] >> (16u * (t & 1u));
  return vec4<f32>((vec4(word) >> vec4(0u, 4u, 8u, 12u)) & vec4(15u)) - 8.0;
}
