//! The shaders against their references, with inputs that are new in each run (the seed is printed): every shader in the browser's
//! WebGPU, and natively where there is an adapter. Natively the references are held against naive loops besides.
//!
//! In the browser: `CHROMEDRIVER=$(command -v chromedriver) wasm-pack test --headless --chrome --mode no-install --release
//! --no-default-features --features engine --test kernels`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use unireal::gpu::{self, Activation};
use unireal::weights::quant::Encoding;
use unireal::world::{self, Frame, Scene};

/// Inputs for one test.
struct Inputs(ChaCha8Rng);

impl Inputs {
    fn new(seed: u64) -> Self {
        Inputs(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Values in `-bound..bound`.
    fn floats(&mut self, shape: &[usize], bound: f32) -> TensorData {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| self.0.random_range(-bound..bound))
            .collect();
        TensorData::new(values, shape.to_vec())
    }

    /// 0, or for about a third a number that keeps a key out; never a whole row of those.
    fn mask(&mut self, shape: [usize; 3]) -> TensorData {
        let keys = shape[2];
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i| {
                if i % keys == 0 || self.0.random_range(0..3) > 0 {
                    0.0
                } else {
                    -1e9
                }
            })
            .collect();
        TensorData::new(values, shape)
    }
}

/// A quantised matrix: the device's two tensors and the values that they stand for.
struct Quantised {
    packed: TensorData,
    scales: TensorData,
    values: Vec<f32>,
}

fn quantise(encoding: Encoding, values: &[f32], rows: usize) -> Quantised {
    let quantized = encoding.quantize(values);
    let words = |words: Vec<u32>| {
        let columns = words.len() / rows;
        let words: Vec<i32> = words.into_iter().map(u32::cast_signed).collect();
        TensorData::new(words, [rows, columns])
    };
    let pair = |pair: &[f16]| u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16;
    Quantised {
        scales: words(quantized.scales.chunks_exact(2).map(pair).collect()),
        packed: words(quantized.packed.clone()),
        values: encoding.dequantize(&quantized),
    }
}

fn numbers(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// Largest absolute difference, over the largest expected value; NaN anywhere makes it NaN.
fn error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(1e-6f32, |size, v| size.max(v.abs()));
    let differences = actual.iter().zip(expected).map(|(a, e)| (a - e).abs());
    differences.fold(
        0.0,
        |worst: f32, d| if d > worst || d.is_nan() { d } else { worst },
    ) / size
}

/// Scenes in which every form lies turned in any way, on every ground before every backdrop.
fn scenes(inputs: &mut Inputs) -> Vec<Scene> {
    use world::{
        Backdrop, Camera, Colour, Ground, Light, Material, Pose, Shape, Size, Solid, Tone,
    };
    let random = &mut inputs.0;
    let solid = |random: &mut ChaCha8Rng, i: usize| Solid {
        shape: Shape::ALL[i % 6],
        colour: Colour::ALL[random.random_range(0..10)],
        material: Material::ALL[random.random_range(0..3)],
        size: Size::ALL[random.random_range(0..2)],
        tint: std::array::from_fn(|_| random.random_range(0.9..1.1)),
        pose: Pose {
            position: [
                i as f32 * 0.6 - 1.5,
                random.random_range(0.5..0.7),
                random.random_range(-1.0..1.0),
            ],
            rotation: std::array::from_fn(|_| random.random_range(-1.0..1.0)),
        },
    };
    let scene = |i: usize| Scene {
        solids: (0..i % 7).map(|k| solid(random, k + i)).collect(),
        ground: Ground::ALL[i % 4],
        ground_tone: Tone::ALL[i % 6],
        backdrop: Backdrop::ALL[i % 3],
        backdrop_tone: Tone::ALL[(i + 2) % 6],
        light: Light {
            azimuth: random.random_range(-1.5..1.5),
            elevation: random.random_range(0.5..1.2),
            strength: random.random_range(0.8..1.2),
        },
        camera: Camera {
            azimuth: random.random_range(-0.5..0.5),
            ..Camera::default()
        },
    };
    (0..12).map(scene).collect()
}

/// How two pictures of a scene differ: the mean over all numbers, of 255; and the shares of pixels that are further than 4
/// of 255 apart, and whose ids differ.
fn apart(a: &Frame, b: &Frame) -> [f64; 3] {
    assert_eq!(
        (a.image.width, a.image.height),
        (b.image.width, b.image.height)
    );
    let pixels = a.ids.len() as f64;
    let pairs = a.image.rgb.iter().zip(&b.image.rgb);
    let differences: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
    let sum: f64 = differences.iter().map(|&d| f64::from(d)).sum();
    let far = differences
        .chunks_exact(3)
        .filter(|d| d.iter().any(|&d| d > 4));
    let ids = a.ids.iter().zip(&b.ids).filter(|(a, b)| a != b);
    [
        sum / (3.0 * pixels),
        far.count() as f64 / pixels,
        ids.count() as f64 / pixels,
    ]
}

/// Renders scenes on WebGPU and on the CPU. Rounding sends a few paths another way, past an edge or through a shadow, so
/// not every pixel is the same; gives the worst differences.
async fn traces_as_the_cpu(device: &Device, inputs: &mut Inputs) -> [f64; 3] {
    let scenes = scenes(inputs);
    let mut worst = [0f64; 3];
    for (i, scene) in scenes.iter().enumerate() {
        let settings = world::Settings {
            // More than one launch in the last.
            width: if i == 11 { 300 } else { 72 },
            height: if i == 11 { 200 } else { 56 },
            samples: if i == 11 { 32 } else { 12 },
            bounces: 1 + i as u32 % 3,
        };
        let on_gpu = world::render_on(scene, &settings, device)
            .await
            .expect("a picture");
        let on_cpu = world::render(scene, &settings);
        let apart = apart(&on_gpu, &on_cpu);
        assert!(
            apart[0] <= 0.5 && apart[1] <= 0.005 && apart[2] <= 0.001,
            "scene {i}: {apart:?}, {scene:?}"
        );
        let depths = on_gpu.depth.iter().zip(&on_cpu.depth);
        let off = depths.filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
        assert!(
            off as f64 <= 1e-3 * on_cpu.depth.len() as f64,
            "scene {i}: {off} depths differ"
        );
        // Another scene must be seen to be another.
        let other = world::render(&scenes[(i + 1) % scenes.len()], &settings);
        assert!(
            self::apart(&on_gpu, &other)[0] > 1.0,
            "scene {i} looks like the next"
        );
        worst = std::array::from_fn(|k| worst[k].max(apart[k]));
    }
    worst
}

/// Every test of a shader, for a macro that makes each a test of the platform.
macro_rules! shaders {
    ($test:ident) => {
        $test! {
            modulation_and_gate_are_their_references
            heads_are_normalised_and_rotated
            linear_is_its_reference
            quantised_linear_is_the_dequantised_one
            attention_is_its_reference
            attention_over_many_tokens_holds_no_matrix
            half_precision_is_near_single
            shared_memory_is_no_error
            convolution_is_its_reference
            the_start_up_check_passes_here
            path_tracing_is_the_cpus
        }
    };
}

#[path = "kernels/shaders.rs"]
mod shaders;

#[cfg(not(target_arch = "wasm32"))]
#[path = "kernels/native.rs"]
mod native;

#[cfg(target_arch = "wasm32")]
#[path = "kernels/browser.rs"]
mod browser;

#[cfg(not(target_arch = "wasm32"))]
use native::{now, tell};

#[cfg(target_arch = "wasm32")]
use browser::{now, tell};
