// Unpacks 8-bit values for linear_quant.wgsl: packed u32 [o, k / 4], four i8 each, lowest bits first.

// Returns values 4 t..4 t + 3 of a row of the matrix; `pair` is the offset of the row's scales.
fn values(pair: u32, t: u32) -> vec4<f32> {
  let word = packed[pair * 16u + t];
  return vec4<f32>(bitcast<vec4<i32>>(vec4(word) << vec4(24u, 16u, 8u, 0u)) >> vec4(24u));
}
