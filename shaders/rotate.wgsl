// Queries, keys or values from qkv [b, n, 3, h, d], heads first: y [b, h, n, d], f32, d a multiple of 4. With tables, each head's
// row is divided by its root mean square, weighted, and its pairs (u0, u1) are rotated to (u0 cos - u1 sin, u1 cos + u0 sin); cos
// and sin [n, d] hold each angle's value twice.
//
// Grid: a thread computes a row, id = (token, sample h + head); a workgroup is 16 threads.
// sizes: n, h, d / 4, part (0: queries, 1: keys, 2: values), eps as the bits of its f32, whether there are tables, b h.
//
// Why: as separate operations, transposition, norm and rotation read queries and keys a dozen times (scripts/bench has the gain).
@group(0) @binding(0) var<storage, read_write> qkv: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> cosines: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> sines: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sizes: array<u32>;

@compute @workgroup_size(16, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let n = sizes[0];
  let heads = sizes[1];
  let depth = sizes[2];
  let token = id.x;
  if (token >= n || id.y >= sizes[6]) {
    return;
  }
  let sample = id.y / heads;
  let head = id.y % heads;
  let source = (((sample * n + token) * 3u + sizes[3]) * heads + head) * depth;
  let start = (id.y * n + token) * depth;
  if (sizes[5] == 0u) {
    for (var i = 0u; i < depth; i++) {
      y[start + i] = qkv[source + i];
    }
    return;
  }
  var squares = 0.0;
  for (var i = 0u; i < depth; i++) {
    let u = qkv[source + i];
    squares += dot(u, u);
  }
  let scale = inverseSqrt(squares / (4.0 * f32(depth)) + bitcast<f32>(sizes[4]));
  for (var i = 0u; i < depth; i++) {
    let u = qkv[source + i] * scale * weight[i];
    let turned = vec4(-u.y, u.x, -u.w, u.z);
    y[start + i] = fma(u, cosines[token * depth + i], turned * sines[token * depth + i]);
  }
}
