// y = x + a * gate for every token, f32, row-major: x, a, y [b n, d], modulation clean [6 d] and noise [b, 6 d]. The first n_clean
// tokens of a sample take the gate from clean, the others from noise.
//
// Grid: a thread computes four values, id = (column / 4, token); a workgroup is 64 threads.
// sizes: n, n_clean, d / 4, index of the gate among the six parts, number of tokens b n.
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> clean: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> noise: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sizes: array<u32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let depth = sizes[2];
  let token = id.y;
  if (id.x >= depth || token >= sizes[4]) {
    return;
  }
  let at = sizes[3] * depth + id.x;
  var gate: vec4<f32>;
  if (token % sizes[0] >= sizes[1]) {
    gate = noise[token / sizes[0] * 6u * depth + at];
  } else {
    gate = clean[at];
  }
  let i = token * depth + id.x;
  y[i] = fma(a[i], gate, x[i]);
}
