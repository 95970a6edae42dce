// light[pixel] = mean over samples of the light that arrives along a path from the camera; src/world/trace.rs says how paths
// go, and this is that file with form.rs, stage.rs, surface.rs and sampling.rs, function by function and in the same order of
// operations. The same points and the same turns make the same decisions, so that a picture differs from the CPU's only
// where rounding sends a path another way.
//
// scene: vec4s at the places that the constants below name, then BODY of them a solid. points: of each sample its decisions,
// as sampling.rs orders them. out: a pixel's light r, g, b, then of its middle the id (0 or 1 + the solid) and the depth.
// sizes: width, height of the whole picture, samples, bounces, solids, ground, backdrop, first row, rows of this launch.
//
// Grid: a thread makes a pixel, id = (column, row - first row); a workgroup is 8 x 8 threads. Row bands keep one launch short.
//
// Why: no tensor operation traces rays.
@group(0) @binding(0) var<storage, read_write> scene: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> points: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> sizes: array<u32>;

// Places in scene.
const EYE = 0u;
const RIGHT = 1u;
const UP = 2u;
const FORWARD = 3u;
const LAMP_DIRECTION = 4u;
const LAMP_SIDE = 5u;
const LAMP_UP = 6u;
const KEY = 7u;
const SKY = 8u;
const AMBIENT = 10u;
const GROUND_ALBEDO = 12u;
const BACKDROP_ALBEDO = 13u;
const BODIES = 14u;
// Places in a body: centre and bounding radius; its axes with form, first and second measure; albedo and coat; mirror.
const BODY = 6u;

// Forms, grounds and backdrops by their order in scene.rs.
const SPHERE = 0u;
const CUBE = 1u;
const CYLINDER = 2u;
const CONE = 3u;
const TORUS = 4u;
const CAPSULE = 5u;
const TILES = 1u;
const WOOD = 2u;
const GLASS = 3u;
const STRIPES = 1u;
const OPEN_SKY = 2u;

const HALF = 0.245;
const BACK = -3.0;
const WALL = 4.0;
const LAMP = 0.14;
const FAR = 100.0;
const LIFT = 5e-4;
const GLARE = 6.0;
const MIRRORS = 4u;
const LARGEST = 3e38;

// form.rs

// How far along the ray a form is entered, and the outward normal there; met is false where it is not.
struct Hit {
  met: bool,
  t: f32,
  normal: vec3<f32>,
}

const NONE = Hit(false, 0.0, vec3(0.0));

fn divisor(v: f32) -> f32 {
  return select(v, 1e-9, abs(v) < 1e-9);
}

fn unit(a: vec3<f32>) -> vec3<f32> {
  return a * (1.0 / sqrt(max(dot(a, a), 1e-12)));
}

fn sphere(o: vec3<f32>, d: vec3<f32>, radius: f32, near: f32) -> Hit {
  let b = dot(o, d);
  let square = b * b - dot(o, o) + radius * radius;
  if (square <= 0.0) {
    return NONE;
  }
  let t = -b - sqrt(square);
  return Hit(t > near, t, (o + t * d) / radius);
}

fn cube(o: vec3<f32>, d: vec3<f32>, half: f32, near: f32) -> Hit {
  var enter = -LARGEST;
  var leave = LARGEST;
  var normal = vec3(0.0);
  for (var i = 0u; i < 3u; i++) {
    let inverse = 1.0 / divisor(d[i]);
    let middle = -o[i] * inverse;
    let width = half * abs(inverse);
    if (middle - width > enter) {
      enter = middle - width;
      normal = vec3(0.0);
      normal[i] = select(1.0, -1.0, d[i] > 0.0);
    }
    leave = min(leave, middle + width);
  }
  return Hit(enter < leave && enter > near, enter, normal);
}

fn cylinder(o: vec3<f32>, d: vec3<f32>, radius: f32, half: f32, near: f32) -> Hit {
  let a = max(d.x * d.x + d.z * d.z, 1e-12);
  let b = o.x * d.x + o.z * d.z;
  let square = b * b - a * (o.x * o.x + o.z * o.z - radius * radius);
  if (square <= 0.0) {
    return NONE;
  }
  let root = sqrt(square);
  let inverse = 1.0 / divisor(d.y);
  let middle = -o.y * inverse;
  let width = half * abs(inverse);
  let side = (-b - root) / a;
  let enter = max(side, middle - width);
  let leave = min((-b + root) / a, middle + width);
  if (enter >= leave || enter <= near) {
    return NONE;
  }
  if (side < enter) {
    return Hit(true, enter, vec3(0.0, select(1.0, -1.0, d.y > 0.0), 0.0));
  }
  let p = o + enter * d;
  return Hit(true, enter, vec3(p.x / radius, 0.0, p.z / radius));
}

fn cone(o: vec3<f32>, d: vec3<f32>, radius: f32, half: f32, near: f32) -> Hit {
  let slope = radius / (2.0 * half);
  let k = slope * slope;
  if (d.y > 1e-9) {
    let t = (-half - o.y) / d.y;
    let p = o + t * d;
    if (t > near && p.x * p.x + p.z * p.z < radius * radius) {
      return Hit(true, t, vec3(0.0, -1.0, 0.0));
    }
  }
  let down = half - o.y;
  let a = d.x * d.x + d.z * d.z - k * d.y * d.y;
  let b = o.x * d.x + o.z * d.z + k * down * d.y;
  let c = o.x * o.x + o.z * o.z - k * down * down;
  let square = b * b - a * c;
  if (square <= 0.0) {
    return NONE;
  }
  let root = sqrt(square);
  let q = -(b + select(root, -root, b < 0.0));
  var hit = NONE;
  for (var i = 0u; i < 2u; i++) {
    let t = select(c / divisor(q), q / divisor(a), i == 0u);
    let p = o + t * d;
    let normal = vec3(p.x, k * (half - p.y), p.z);
    let first = !hit.met || t < hit.t;
    if (t > near && abs(p.y) <= half && dot(normal, d) < 0.0 && first) {
      hit = Hit(true, t, unit(normal));
    }
  }
  return hit;
}

fn capsule(o: vec3<f32>, d: vec3<f32>, radius: f32, half: f32, near: f32) -> Hit {
  let a = d.x * d.x + d.z * d.z;
  let b = o.x * d.x + o.z * d.z;
  let square = b * b - a * (o.x * o.x + o.z * o.z - radius * radius);
  if (square <= 0.0 && a > 1e-9) {
    return NONE;
  }
  var end = select(half, -half, d.y > 0.0);
  if (a > 1e-9) {
    let t = (-b - sqrt(square)) / a;
    let y = o.y + t * d.y;
    if (abs(y) < half) {
      let p = o + t * d;
      return Hit(t > near, t, vec3(p.x / radius, 0.0, p.z / radius));
    }
    end = select(-half, half, y > 0.0);
  }
  return sphere(vec3(o.x, o.y - end, o.z), d, radius, near);
}

// The direction in which the distance to the torus grows, then the distance.
fn torus_distance(p: vec3<f32>, ring: f32, tube: f32) -> vec4<f32> {
  let around = sqrt(max(p.x * p.x + p.z * p.z, 1e-12));
  let beyond = around - ring;
  let away = sqrt(max(beyond * beyond + p.y * p.y, 1e-12));
  let share = beyond / (around * away);
  return vec4(p.x * share, p.y / away, p.z * share, away - tube);
}

fn torus(o: vec3<f32>, d: vec3<f32>, ring: f32, tube: f32, near: f32) -> Hit {
  let b = dot(o, d);
  let outer = ring + tube;
  let square = b * b - dot(o, o) + outer * outer;
  if (square <= 0.0) {
    return NONE;
  }
  let root = sqrt(square);
  let inverse = 1.0 / divisor(d.y);
  let middle = -o.y * inverse;
  let width = tube * abs(inverse);
  let leave = min(-b + root, middle + width);
  var t = max(max(-b - root, middle - width), near);
  for (var step = 0u; step < 96u; step++) {
    if (t >= leave) {
      return NONE;
    }
    let here = torus_distance(o + t * d, ring, tube);
    let towards = dot(here.xyz, d);
    if (here.w < 2e-5 && towards < 0.0) {
      let exact = t - here.w / min(towards, -0.02);
      return Hit(exact > near, exact, torus_distance(o + exact * d, ring, tube).xyz);
    }
    t += max(here.w, 2e-4);
  }
  return NONE;
}

// stage.rs

// The body's form, entered; o from its centre.
fn body_hit(body: u32, o: vec3<f32>, d: vec3<f32>, near: f32) -> Hit {
  let x = scene[body + 1u];
  let y = scene[body + 2u];
  let z = scene[body + 3u];
  let inside_o = vec3(dot(x.xyz, o), dot(y.xyz, o), dot(z.xyz, o));
  let inside_d = vec3(dot(x.xyz, d), dot(y.xyz, d), dot(z.xyz, d));
  switch (u32(x.w)) {
    case SPHERE: {
      return sphere(inside_o, inside_d, y.w, near);
    }
    case CUBE: {
      return cube(inside_o, inside_d, y.w, near);
    }
    case CYLINDER: {
      return cylinder(inside_o, inside_d, y.w, z.w, near);
    }
    case CONE: {
      return cone(inside_o, inside_d, y.w, z.w, near);
    }
    case TORUS: {
      return torus(inside_o, inside_d, y.w, z.w, near);
    }
    default: {
      return capsule(inside_o, inside_d, y.w, z.w, near);
    }
  }
}

// How far along the ray the body's centre is passed, and 1 where its bounding sphere may be met, else 0.
fn passes(body: u32, o: vec3<f32>, d: vec3<f32>) -> vec2<f32> {
  let sphere = scene[body];
  let to = sphere.xyz - o;
  let along = dot(to, d);
  let miss = dot(to, to) - along * along;
  return vec2(along, select(0.0, 1.0, miss < sphere.w * sphere.w && along > -sphere.w));
}

const NOTHING = 0u;
const GROUND = 1u;
const BEHIND = 2u;
const SOLID = 3u;

// What a ray meets: one of the four above, a solid as SOLID + its place.
struct Meeting {
  thing: u32,
  distance: f32,
  normal: vec3<f32>,
}

fn room(o: vec3<f32>, d: vec3<f32>) -> Meeting {
  if (d.y < 0.0 && o.y > 0.0) {
    let t = -o.y / d.y;
    if (t < FAR && o.z + t * d.z > BACK) {
      return Meeting(GROUND, t, vec3(0.0, 1.0, 0.0));
    }
  }
  if (sizes[6] != OPEN_SKY && d.z < 0.0 && o.z > BACK) {
    let t = (BACK - o.z) / d.z;
    let y = o.y + t * d.y;
    if (t < FAR && y >= 0.0 && y < WALL) {
      return Meeting(BEHIND, t, vec3(0.0, 0.0, 1.0));
    }
  }
  return Meeting(NOTHING, FAR, vec3(0.0));
}

fn meet(o: vec3<f32>, d: vec3<f32>) -> Meeting {
  var first = room(o, d);
  for (var i = 0u; i < sizes[4]; i++) {
    let body = BODIES + i * BODY;
    let along = passes(body, o, d);
    if (along.y == 0.0) {
      continue;
    }
    let hit = body_hit(body, o + along.x * d - scene[body].xyz, d, -along.x);
    if (hit.met && hit.t + along.x < first.distance) {
      let n = hit.normal;
      let normal = scene[body + 1u].xyz * n.x + scene[body + 2u].xyz * n.y + scene[body + 3u].xyz * n.z;
      first = Meeting(SOLID + i, hit.t + along.x, normal);
    }
  }
  return first;
}

fn shadowed(p: vec3<f32>, d: vec3<f32>) -> bool {
  for (var i = 0u; i < sizes[4]; i++) {
    let body = BODIES + i * BODY;
    let along = passes(body, p, d);
    if (along.y != 0.0) {
      if (body_hit(body, p + along.x * d - scene[body].xyz, d, -along.x).met) {
        return true;
      }
    }
  }
  return d.y <= 0.0;
}

fn sky(d: vec3<f32>) -> vec3<f32> {
  return mix(scene[SKY].xyz, scene[SKY + 1u].xyz, clamp(1.25 * d.y + 0.75, 0.0, 1.0));
}

fn ambient(normal: vec3<f32>) -> vec3<f32> {
  return mix(scene[AMBIENT].xyz, scene[AMBIENT + 1u].xyz, 0.5 + 0.5 * normal.y);
}

fn glare(d: vec3<f32>) -> vec3<f32> {
  let facing = dot(d, scene[LAMP_DIRECTION].xyz);
  if (facing * facing * (1.0 + LAMP * LAMP) < 1.0 || facing < 0.0) {
    return vec3(0.0);
  }
  return scene[KEY].xyz * ((1.0 + LAMP * LAMP) / (LAMP * LAMP));
}

// surface.rs

struct Surface {
  albedo: vec3<f32>,
  coat: f32,
  mirror: bool,
}

fn whole(v: f32) -> i32 {
  return i32(floor(v));
}

fn field(x: i32, y: i32) -> f32 {
  return fraction(hash(bitcast<u32>(x) + hash(bitcast<u32>(y))));
}

fn noise_row(left: i32, y: i32, u: f32) -> f32 {
  let a = field(left, y);
  let b = field(left + 1, y);
  return a + u * (b - a);
}

fn noise(x: f32, y: f32) -> f32 {
  let left = whole(x);
  let top = whole(y);
  let s = x - f32(left);
  let t = y - f32(top);
  let u = s * s * (3.0 - 2.0 * s);
  let v = t * t * (3.0 - 2.0 * t);
  let a = noise_row(left, top, u);
  let b = noise_row(left, top + 1, u);
  return a + v * (b - a);
}

fn wood(x: f32, z: f32) -> f32 {
  let across = z / 0.42;
  let row = whole(across);
  let lengthwise = x / 2.6 + field(row, 77);
  let plank = whole(lengthwise);
  let brightness = 0.78 + 0.44 * field(row, plank);
  let grain = 0.62 * noise(1.3 * x + 31.0 * brightness, 26.0 * z) + 0.38 * noise(5.0 * x, 61.0 * z);
  let edge = abs(across - f32(row) - 0.5);
  let end = abs(lengthwise - f32(plank) - 0.5);
  let joint = select(1.0, 0.45, edge > 0.475 || end > 0.496);
  return brightness * (0.82 + 0.36 * grain) * joint;
}

fn ground(p: vec3<f32>) -> Surface {
  let tone = scene[GROUND_ALBEDO].xyz;
  switch (sizes[5]) {
    case TILES: {
      let even = ((whole(p.x / 0.8) ^ whole(p.z / 0.8)) & 1) == 0;
      return Surface(tone * select(0.55, 1.25, even), 0.04, false);
    }
    case WOOD: {
      return Surface(tone * wood(p.x, p.z), 0.0, false);
    }
    case GLASS: {
      return Surface(tone, 0.16, false);
    }
    default: {
      return Surface(tone, 0.0, false);
    }
  }
}

fn wall(p: vec3<f32>) -> Surface {
  var factor = 1.0;
  if (sizes[6] == STRIPES) {
    factor = select(0.6, 1.25, (whole(p.x / 0.6) & 1) == 0);
  }
  return Surface(scene[BACKDROP_ALBEDO].xyz * factor, 0.0, false);
}

fn surface(p: vec3<f32>, thing: u32) -> Surface {
  if (thing == GROUND) {
    return ground(p);
  }
  if (thing == BEHIND) {
    return wall(p);
  }
  let body = BODIES + (thing - SOLID) * BODY;
  return Surface(scene[body + 4u].xyz, scene[body + 4u].w, scene[body + 5u].x != 0.0);
}

// sampling.rs

fn hash(v: u32) -> u32 {
  let state = v * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}

fn fraction(v: u32) -> f32 {
  return f32(v >> 8u) * (1.0 / 16777216.0);
}

// A number of 0..1 for a pixel, given by its hash, and a purpose.
fn random(pixel: u32, purpose: u32) -> f32 {
  return fraction(hash(pixel + purpose));
}

fn sine(quarter: f32) -> f32 {
  let z = 6.2831853 * quarter;
  let s = z * z;
  return z * (1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s / 362880.0))));
}

fn cos_sin(turns: f32) -> vec2<f32> {
  let cosine = 0.25 - abs(turns - 0.5);
  let away = abs(turns - 0.25);
  return vec2(sine(-cosine), sine(0.25 - min(away, 1.0 - away)));
}

fn rotation(u: f32, v: f32, w: f32) -> mat3x3<f32> {
  let one = cos_sin(v) * sqrt(1.0 - u);
  let two = cos_sin(w) * sqrt(u);
  let q = vec4(one.y, one.x, two.y, two.x);
  let n = q / sqrt(dot(q, q));
  let x = n.x;
  let y = n.y;
  let z = n.z;
  let r = n.w;
  return mat3x3(
    vec3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + z * r), 2.0 * (x * z - y * r)),
    vec3(2.0 * (x * y - z * r), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + x * r)),
    vec3(2.0 * (x * z + y * r), 2.0 * (y * z - x * r), 1.0 - 2.0 * (x * x + y * y)),
  );
}

// first: where the sample's points begin.
fn place(pixel: u32, first: u32) -> vec2<f32> {
  let sum = points[first].xy + vec2(random(pixel, 0u), random(pixel, 1u));
  return select(sum, sum - 1.0, sum >= vec2(1.0));
}

fn lamp_place(pixel: u32, first: u32, bounces: u32) -> vec2<f32> {
  let p = points[first + 1u + 2u * bounces].xy;
  let turn = cos_sin(random(pixel, 4u * bounces + 2u));
  return vec2(p.x * turn.x - p.y * turn.y, p.x * turn.y + p.y * turn.x);
}

fn bounce(pixel: u32, first: u32, bounces: u32, normal: vec3<f32>) -> vec3<f32> {
  let p = points[first + 2u + 2u * bounces].xyz;
  let purpose = 4u * bounces;
  let turn = rotation(random(pixel, purpose + 3u), random(pixel, purpose + 4u), random(pixel, purpose + 5u));
  let sum = normal + turn * p;
  let square = dot(sum, sum);
  if (square < 1e-6) {
    return normal;
  }
  return sum * (1.0 / sqrt(square));
}

// trace.rs

struct Ray {
  o: vec3<f32>,
  d: vec3<f32>,
  through: vec3<f32>,
  bounces: u32,
  mirrors: u32,
}

// goes_on: whether the path itself does; waiting: whether there is a reflection to follow.
struct Path {
  pixel: u32,
  first: u32,
  ray: Ray,
  light: vec3<f32>,
  reflection: Ray,
  waiting: bool,
  split: bool,
  goes_on: bool,
}

fn fresnel(normal: f32, facing: f32) -> f32 {
  let rest = clamp(1.0 - facing, 0.0, 1.0);
  let square = rest * rest;
  return normal + (1.0 - normal) * square * square * rest;
}

fn lamp_light(start: vec3<f32>, normal: vec3<f32>, p: vec2<f32>) -> vec3<f32> {
  let off = scene[LAMP_DIRECTION].xyz + scene[LAMP_SIDE].xyz * p.x + scene[LAMP_UP].xyz * p.y;
  let towards = unit(off);
  let facing = dot(normal, towards);
  if (facing <= 0.0) {
    return vec3(0.0);
  }
  if (shadowed(start, towards)) {
    return vec3(0.0);
  }
  return scene[KEY].xyz * facing;
}

fn leaves(before: Path) -> Path {
  var path = before;
  path.light += path.ray.through * sky(path.ray.d);
  if (path.ray.bounces == 0u) {
    path.light += min(path.ray.through * glare(path.ray.d), vec3(GLARE));
  }
  path.goes_on = false;
  return path;
}

fn scatters(before: Path, normal: vec3<f32>) -> Path {
  var path = before;
  let bounces = path.ray.bounces;
  let lit = lamp_light(path.ray.o, normal, lamp_place(path.pixel, path.first, bounces));
  path.light += path.ray.through * lit;
  path.goes_on = bounces < sizes[3];
  if (path.goes_on) {
    path.ray.d = bounce(path.pixel, path.first, bounces, normal);
    path.ray.bounces += 1u;
  } else {
    path.light += path.ray.through * ambient(normal);
  }
  return path;
}

fn meets(before: Path, meeting: Meeting) -> Path {
  var path = before;
  let normal = meeting.normal;
  let p = path.ray.o + meeting.distance * path.ray.d;
  let surface = surface(p, meeting.thing);
  let facing = -dot(normal, path.ray.d);
  let mirrored = path.ray.d - 2.0 * dot(path.ray.d, normal) * normal;
  path.ray.o = p + LIFT * normal;
  if (surface.mirror) {
    path.ray.through *= mix(surface.albedo, vec3(1.0), fresnel(0.0, facing));
    path.ray.d = mirrored;
    path.ray.mirrors += 1u;
    path.goes_on = path.ray.mirrors <= MIRRORS;
    if (!path.goes_on) {
      path.light += path.ray.through * sky(mirrored);
    }
    return path;
  }
  if (surface.coat > 0.0 && !path.split && path.ray.bounces == 0u) {
    let share = fresnel(surface.coat, facing);
    path.split = true;
    path.waiting = true;
    path.reflection = Ray(path.ray.o, mirrored, path.ray.through * share, 0u, path.ray.mirrors);
    path.ray.through *= 1.0 - share;
  }
  path.ray.through *= surface.albedo;
  return scatters(path, normal);
}

fn radiance(pixel: u32, first: u32, o: vec3<f32>, d: vec3<f32>) -> vec3<f32> {
  let ray = Ray(o, d, vec3(1.0), 0u, 0u);
  var path = Path(pixel, first, ray, vec3(0.0), ray, false, false, true);
  // A path and its reflection end by themselves; the count is for what is not a number.
  for (var count = 0u; count < 64u; count++) {
    let meeting = meet(path.ray.o, path.ray.d);
    if (meeting.thing == NOTHING) {
      path = leaves(path);
    } else {
      path = meets(path, meeting);
    }
    if (!path.goes_on) {
      if (!path.waiting) {
        break;
      }
      path.ray = path.reflection;
      path.waiting = false;
    }
  }
  return path.light;
}

// The direction through a place in the frame.
fn direction(u: f32, v: f32) -> vec3<f32> {
  let x = (2.0 * u - 1.0) * HALF * scene[EYE].w;
  let y = (1.0 - 2.0 * v) * HALF;
  return unit(scene[FORWARD].xyz + (scene[RIGHT].xyz * x + scene[UP].xyz * y));
}

@compute @workgroup_size(8, 8, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let width = sizes[0];
  if (id.x >= width || id.y >= sizes[8]) {
    return;
  }
  let row = id.y + sizes[7];
  let across = 1.0 / f32(width);
  let down = 1.0 / f32(sizes[1]);
  let pixel = hash(id.x + hash(row));
  let decisions = 2u * (sizes[3] + 1u);
  let eye = scene[EYE].xyz;
  var sum = vec3(0.0);
  for (var sample = 0u; sample < sizes[2]; sample++) {
    let first = sample * decisions;
    let p = place(pixel, first);
    let d = direction((f32(id.x) + p.x) * across, (f32(row) + p.y) * down);
    sum += radiance(pixel, first, eye, d);
  }
  let light = sum * (1.0 / f32(sizes[2]));
  let middle = direction((f32(id.x) + 0.5) * across, (f32(row) + 0.5) * down);
  let meeting = meet(eye, middle);
  let at = 5u * (id.y * width + id.x);
  out[at] = light.x;
  out[at + 1u] = light.y;
  out[at + 2u] = light.z;
  out[at + 3u] = f32(max(meeting.thing, 2u) - 2u);
  out[at + 4u] = select(meeting.distance * dot(middle, scene[FORWARD].xyz), FAR, meeting.thing == NOTHING);
}
