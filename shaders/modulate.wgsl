// Modulated layer norm: y = (x - mean) / sqrt(variance + eps) * (1 + scale) + shift for every token, f32, row-major:
// x, y [b n, d], modulation clean [6 d] and noise [b, 6 d]. The first n_clean tokens of a sample take shift and scale from clean,
// the others from noise.
//
// Grid: a workgroup of 32 threads computes a token, id = (lane, token). Neighbouring lanes read neighbouring vectors, so a GPU
// coalesces their loads.
// sizes: n, n_clean, d / 4, index of the shift among the six parts (the scale is next), eps as the bits of its f32.
//
// Why: as separate operations, norm, scale and shift read the tokens ten times (scripts/bench measures the gain).
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> clean: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> noise: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> sizes: array<u32>;

const LANES = 32u;

var<workgroup> parts: array<f32, LANES>;

// Returns the sum of all lanes' values in every lane.
fn total(lane: u32, value: f32) -> f32 {
  workgroupBarrier();
  parts[lane] = value;
  for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
    workgroupBarrier();
    if (lane < stride) {
      parts[lane] += parts[lane + stride];
    }
  }
  workgroupBarrier();
  return parts[0];
}

@compute @workgroup_size(32, 1, 1)
fn main(@builtin(local_invocation_id) local: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>) {
  let lane = local.x;
  let token = group.y;
  let depth = sizes[2];
  let width = 4.0 * f32(depth);
  let start = token * depth;
  var sum = 0.0;
  for (var i = lane; i < depth; i += LANES) {
    sum += dot(x[start + i], vec4(1.0));
  }
  let mean = total(lane, sum) / width;
  var squares = 0.0;
  for (var i = lane; i < depth; i += LANES) {
    let above = x[start + i] - mean;
    squares += dot(above, above);
  }
  let inverse = inverseSqrt(total(lane, squares) / width + bitcast<f32>(sizes[4]));
  let sample = token / sizes[0];
  let noisy = token % sizes[0] >= sizes[1];
  let row = select(0u, sample * 6u * depth, noisy) + sizes[3] * depth;
  for (var i = lane; i < depth; i += LANES) {
    var shift: vec4<f32>;
    var scale: vec4<f32>;
    if (noisy) {
      shift = noise[row + i];
      scale = noise[row + depth + i];
    } else {
      shift = clean[row + i];
      scale = clean[row + depth + i];
    }
    y[start + i] = fma((x[start + i] - mean) * inverse, 1.0 + scale, shift);
  }
}
