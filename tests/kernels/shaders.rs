//! Compares every shader with its reference on the CPU: in the browser on WebGPU, natively on the adapter that wgpu finds.

use super::*;
use unireal::internals::gpu::device::{Choice, startup_check};
use unireal::internals::gpu::{Branch, Modulation};

/// Tolerance relative to the largest result, above the effect of the order of f32 sums.
const BAR: f32 = 2e-5;

async fn webgpu() -> Device {
    open(Choice::WebGpu, &[]).await.expect("WebGPU").device
}

fn seed(test: &str) -> Inputs {
    let seed = now();
    tell(format!("{test}: seed {seed}"));
    Inputs::new(seed)
}

async fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    numbers(&tensor.into_data_async().await.expect("readable"))
}

async fn check<const D: usize>(what: String, actual: Tensor<D>, expected: Tensor<D>) {
    near(what, actual, expected, BAR).await;
}

async fn near<const D: usize>(what: String, actual: Tensor<D>, expected: Tensor<D>, bar: f32) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let error = error(&read(actual).await, &read(expected).await);
    tell(format!("{what}: {error:e}"));
    assert!(error < bar, "{what}: {error}");
}

/// Textbook GELU with the tanh approximation.
fn gelu(x: Tensor<3>) -> Tensor<3> {
    let u = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (u.tanh() + 1.0)
}

pub(super) async fn modulation_and_gate_are_their_references() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let mut inputs = seed("modulation");
    // The width of 10 is not a multiple of four, so this case uses the fallback on the GPU.
    for (b, n, d, n_clean) in [
        (1, 2, 4, 1),
        (2, 7, 132, 3),
        (3, 40, 192, 39),
        (1, 9, 512, 5),
        (2, 3, 10, 1),
        (1, 6, 64, 0),
        (2, 7, 96, 7),
    ] {
        let (x, a) = (
            inputs.floats(&[b, n, d], 2.0),
            inputs.floats(&[b, n, d], 1.0),
        );
        let clean = inputs.floats(&[1, 1, 6 * d], 1.0);
        let noise = inputs.floats(&[b, 1, 6 * d], 1.0);
        let on = |device: &Device| {
            let tensor = |data: &TensorData| Tensor::<3>::from_data(data.clone(), device);
            let by = Modulation {
                clean: tensor(&clean),
                noise: tensor(&noise),
                n_clean,
            };
            (tensor(&x), tensor(&a), by)
        };
        let ((x1, a1, by1), (x2, a2, by2)) = (on(&gpu), on(&cpu));
        for branch in [Branch::Attention, Branch::Mlp] {
            let what = format!("modulated {b} {n} {d} {n_clean} {branch:?}");
            let actual = gpu::modulated(x1.clone(), &by1, branch, 1e-6);
            let plain = gpu::modulated_reference(x2.clone(), &by2, branch, 1e-6);
            check(what, actual, plain).await;
            let what = format!("gated {b} {n} {d} {n_clean} {branch:?}");
            let actual = gpu::gated(x1.clone(), a1.clone(), &by1, branch);
            let plain = gpu::gated_reference(x2.clone(), a2.clone(), &by2, branch);
            check(what, actual, plain).await;
        }
    }
}

pub(super) async fn heads_are_normalised_and_rotated() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let mut inputs = seed("rotation");
    for (b, n, h, d) in [(1, 1, 1, 4), (2, 19, 3, 32), (1, 33, 8, 64)] {
        let qkv = inputs.floats(&[b, n, 3 * h * d], 2.0);
        let norms = [0; 2].map(|_| inputs.floats(&[d], 1.5));
        let angles = numbers(&inputs.floats(&[n * d / 2], 3.0));
        let table = |of: fn(f32) -> f32| {
            let twice = angles.iter().flat_map(|&angle| [of(angle); 2]);
            TensorData::new(twice.collect::<Vec<f32>>(), [1, 1, n, d])
        };
        let (cos, sin) = (table(f32::cos), table(f32::sin));
        let on = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &gpu);
        let row = |data: &TensorData| Tensor::<1>::from_data(data.clone(), &gpu);
        let (query, key) = (row(&norms[0]), row(&norms[1]));
        let (c, s) = (on(&cos), on(&sin));
        let x = Tensor::<3>::from_data(qkv.clone(), &gpu);
        let all = gpu::rotated(&x, h, [&query, &key], [&c, &s], 1e-6).expect("a shader");
        // The expected values, in naive loops.
        let (qkv, cos, sin) = (numbers(&qkv), numbers(&cos), numbers(&sin));
        for (part, actual) in all.into_iter().enumerate() {
            let mut expected = Vec::new();
            for (sample, head, token) in
                (0..b).flat_map(|s| (0..h).flat_map(move |k| (0..n).map(move |t| (s, k, t))))
            {
                let start = (((sample * n + token) * 3 + part) * h + head) * d;
                let u = &qkv[start..start + d];
                if part == 2 {
                    expected.extend(u);
                    continue;
                }
                let square = u.iter().map(|u| u * u).sum::<f32>() / d as f32;
                let weight = numbers(&norms[part]);
                let u: Vec<f32> = u
                    .iter()
                    .zip(&weight)
                    .map(|(u, w)| u * w / (square + 1e-6).sqrt())
                    .collect();
                for i in 0..d {
                    let rotated_pairs = if i % 2 == 0 { -u[i + 1] } else { u[i - 1] };
                    expected.push(u[i] * cos[token * d + i] + rotated_pairs * sin[token * d + i]);
                }
            }
            let expected = TensorData::new(expected, [b, h, n, d]);
            let expected = Tensor::<4>::from_data(expected, &cpu);
            check(format!("part {part} of {b} {n} {h} {d}"), actual, expected).await;
        }
    }
}

pub(super) async fn linear_is_its_reference() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    tell(format!("tiles: {}", gpu::tile_names(&gpu).join(", ")));
    let mut inputs = seed("linear");
    for tiles in gpu::tile_names(&gpu) {
        assert!(gpu::use_tiles(&gpu, tiles), "{tiles}");
        // The last case has no vectors of four, so it uses the fallback on the GPU.
        for (b, n, k, o) in [
            (1, 1, 4, 1),
            (2, 13, 36, 17),
            (1, 64, 64, 16),
            (1, 65, 256, 768),
            (2, 8, 512, 130),
            // Large products use a separate tile.
            (1, 2050, 1032, 260),
            (1, 5, 7, 3),
        ] {
            for biased in [true, false] {
                let x = inputs.floats(&[b, n, k], 1.0);
                let weight = inputs.floats(&[o, k], 1.0);
                let bias = biased.then(|| inputs.floats(&[o], 1.0));
                let on = |device: &Device| {
                    (
                        Tensor::<3>::from_data(x.clone(), device),
                        Tensor::<2>::from_data(weight.clone(), device),
                        bias.clone()
                            .map(|bias| Tensor::<1>::from_data(bias, device)),
                    )
                };
                let ((x1, w1, b1), (x2, w2, b2)) = (on(&gpu), on(&cpu));
                let what = format!("{tiles} linear {b} {n} {k} {o} {biased}");
                let plain = gpu::linear_reference(x2, w2, b2);
                let actual = gpu::linear(x1.clone(), w1.clone(), b1.clone(), Activation::None);
                check(what.clone(), actual, plain.clone()).await;
                let actual = gpu::linear(x1, w1, b1, Activation::Gelu);
                check(format!("{what} gelu"), actual, gelu(plain)).await;
            }
        }
    }
}

pub(super) async fn quantised_linear_is_the_dequantised_one() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let mut inputs = seed("quantised linear");
    for tiles in gpu::tile_names(&gpu) {
        assert!(gpu::use_tiles(&gpu, tiles), "{tiles}");
        for encoding in [Encoding::Q8, Encoding::Q4] {
            for (b, n, k, o) in [
                (1, 1, 64, 1),
                (2, 13, 192, 19),
                (1, 70, 256, 768),
                (1, 8, 1024, 256),
                (1, 2050, 1024, 260),
            ] {
                let x = inputs.floats(&[b, n, k], 1.0);
                let mut matrix = numbers(&inputs.floats(&[o, k], 1.0));
                matrix[..32].fill(0.0);
                matrix[32..64].fill(-1e-5);
                let matrix = quantise(encoding, &matrix, o);
                let bias = (n > 1).then(|| inputs.floats(&[o], 1.0));
                let int = |data: &TensorData| Tensor::<2, Int>::from_data(data.clone(), &gpu);
                let on = |device: &Device| {
                    bias.clone()
                        .map(|bias| Tensor::<1>::from_data(bias, device))
                };
                let run = |activation| {
                    let (packed, scales) = (int(&matrix.packed), int(&matrix.scales));
                    let x = Tensor::from_data(x.clone(), &gpu);
                    gpu::quant_linear(x, packed, scales, encoding, on(&gpu), activation)
                };
                let values =
                    Tensor::from_data(TensorData::new(matrix.values.clone(), [o, k]), &cpu);
                let x = Tensor::from_data(x.clone(), &cpu);
                let plain = gpu::linear_reference(x, values, on(&cpu));
                let what = format!("{tiles} {encoding} {b} {n} {k} {o}");
                check(what.clone(), run(Activation::None), plain.clone()).await;
                check(format!("{what} gelu"), run(Activation::Gelu), gelu(plain)).await;
            }
        }
    }
}

pub(super) async fn attention_is_its_reference() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let mut inputs = seed("attention");
    for tiles in gpu::tile_names(&gpu) {
        assert!(gpu::use_tiles(&gpu, tiles), "{tiles}");
        for (b, h, n, m, d, [batches, heads]) in [
            (1, 1, 1, 1, 4, [0, 1]),
            (2, 3, 5, 17, 12, [2, 1]),
            (1, 4, 100, 100, 32, [1, 4]),
            (2, 8, 66, 130, 64, [0, 1]),
            (2, 2, 33, 48, 64, [1, 1]),
            (2, 2, 33, 48, 64, [2, 2]),
            (1, 1, 64, 64, 128, [0, 1]),
            // Large attention uses a separate tile.
            (1, 1, 2050, 8200, 16, [1, 1]),
            (1, 2, 6, 9, 6, [1, 1]),
        ] {
            let [q, k, v] = [n, m, m].map(|rows| inputs.floats(&[b, h, rows, d], 3.0));
            let mask = (batches > 0).then(|| inputs.mask([batches * heads, n, m]));
            let on = |device: &Device| {
                let part = |data: &TensorData| Tensor::<4>::from_data(data.clone(), device);
                let mask = mask.clone().map(|mask| {
                    Tensor::<3>::from_data(mask, device).reshape([batches, heads, n, m])
                });
                (part(&q), part(&k), part(&v), mask)
            };
            let ((q1, k1, v1, m1), (q2, k2, v2, m2)) = (on(&gpu), on(&cpu));
            let what = format!("{tiles} attention {b} {h} {n} {m} {d} mask {batches} {heads}");
            let expected = gpu::attention_reference(q2, k2, v2, m2);
            // Sums of thousands of terms have larger rounding errors.
            let bar = if m > 4096 { 1e-4 } else { BAR };
            near(what, gpu::attention(q1, k1, v1, m1), expected, bar).await;
        }
    }
}

/// The product of the sizes is 2^32, which overflows 32-bit addresses, and the score matrix would take 1 GiB, so only the
/// shader can complete this.
pub(super) async fn attention_over_many_tokens_holds_no_matrix() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let mut inputs = seed("many tokens");
    let (tokens, d, some) = (16384, 16, 32);
    let [q, k, v] = [0; 3].map(|_| inputs.floats(&[1, 1, tokens, d], 3.0));
    let on =
        |device: &Device| [&q, &k, &v].map(|data| Tensor::<4>::from_data(data.clone(), device));
    let ([q1, k1, v1], [q2, k2, v2]) = (on(&gpu), on(&cpu));
    let y = gpu::attention(q1, k1, v1, None);
    for first in [0, tokens - some] {
        let rows = |x: &Tensor<4>| x.clone().narrow(2, first, some);
        let expected = gpu::attention_reference(rows(&q2), k2.clone(), v2.clone(), None);
        near(format!("queries from {first}"), rows(&y), expected, 1e-4).await;
    }
}

/// f16 factors have 11 significant bits; the tolerance is above the resulting error of a sum of products.
const HALF_BAR: f32 = 2e-3;

pub(super) async fn half_precision_is_near_single() {
    let opened = match open(Choice::WebGpuHalf, &[]).await {
        Ok(opened) => opened,
        Err(error) => {
            assert!(error.to_string().contains("shader-f16"), "{error}");
            return tell(format!("SKIPPED 16-bit floats: {error}"));
        }
    };
    let (gpu, cpu) = (opened.device, Device::flex());
    let mut inputs = seed("half precision");
    for tiles in gpu::tile_names(&gpu) {
        assert!(
            gpu::use_tiles(&gpu, tiles) && gpu::f16_enabled(&gpu),
            "{tiles}"
        );
        startup_check(&gpu, &Encoding::QUANTIZED)
            .await
            .expect("near the CPU");
        for (n, k, o) in [(2, 64, 19), (65, 256, 130)] {
            let (x, weight) = (inputs.floats(&[1, n, k], 1.0), inputs.floats(&[o, k], 1.0));
            let on = |device: &Device| {
                let x = Tensor::<3>::from_data(x.clone(), device);
                (x, Tensor::<2>::from_data(weight.clone(), device))
            };
            let ((x1, w1), (x2, w2)) = (on(&gpu), on(&cpu));
            let actual = gpu::linear(x1, w1, None, Activation::None);
            let expected = gpu::linear_reference(x2, w2, None);
            let what = format!("{tiles} half linear {n} {k} {o}");
            near(what.clone(), actual.clone(), expected.clone(), HALF_BAR).await;
            // The result must differ from f32, which shows that f16 is in use.
            let error = error(&read(actual).await, &read(expected).await);
            assert!(error > 1e-6, "{what}: {error} is too near");
        }
        let x = inputs.floats(&[1, 12, 9, 9], 1.0);
        let weight = inputs.floats(&[20, 12, 3, 3], 1.0);
        let conv = |device: &Device| {
            let part = |data: &TensorData| Tensor::<4>::from_data(data.clone(), device);
            (part(&x), part(&weight))
        };
        let ((x1, w1), (x2, w2)) = (conv(&gpu), conv(&cpu));
        let actual = gpu::conv2d(x1, w1, None, 1, [1; 4]);
        let expected = gpu::conv2d_reference(x2, w2, None, 1, [1; 4]);
        near(format!("{tiles} half conv2d"), actual, expected, HALF_BAR).await;
        for m in [37, 530] {
            let [q, k, v] = [33, m, m].map(|rows| inputs.floats(&[1, 2, rows, 32], 2.0));
            let on = |device: &Device| {
                [&q, &k, &v].map(|data| Tensor::<4>::from_data(data.clone(), device))
            };
            let ([q1, k1, v1], [q2, k2, v2]) = (on(&gpu), on(&cpu));
            let actual = gpu::attention(q1, k1, v1, None);
            let expected = gpu::attention_reference(q2, k2, v2, None);
            near(
                format!("{tiles} half attention {m}"),
                actual,
                expected,
                4.0 * HALF_BAR,
            )
            .await;
        }
    }
    two_devices_keep_their_numerics(&webgpu().await, &gpu, &mut inputs).await;
}

/// Results on a device do not depend on another device that was opened later and computes otherwise.
async fn two_devices_keep_their_numerics(single: &Device, half: &Device, inputs: &mut Inputs) {
    assert_ne!(single, half);
    assert!(!gpu::f16_enabled(single) && gpu::f16_enabled(half));
    let (x, weight) = (
        inputs.floats(&[1, 65, 256], 1.0),
        inputs.floats(&[130, 256], 1.0),
    );
    let linear = |device: &Device| {
        let x = Tensor::<3>::from_data(x.clone(), device);
        gpu::linear(
            x,
            Tensor::from_data(weight.clone(), device),
            None,
            Activation::None,
        )
    };
    let expected = read(linear(&Device::flex())).await;
    for _ in 0..2 {
        let exact = error(&read(linear(single)).await, &expected);
        assert!(exact < BAR, "in f32: {exact}");
        let rounded = error(&read(linear(half)).await, &expected);
        assert!((1e-6..HALF_BAR).contains(&rounded), "in f16: {rounded}");
    }
    // The choice of tiles belongs to a device, too.
    let [first, other] = [single, half].map(gpu::tile_names);
    assert!(
        first.contains(&"large") && !other.contains(&"large"),
        "{first:?} {other:?}"
    );
}

/// Passes one tensor three times, and views into one buffer: WebGPU rejects two writable bindings of the same memory.
pub(super) async fn shared_memory_is_no_error() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let x = seed("shared").floats(&[3, 2, 16, 8], 1.0);
    let on = |device: &Device| Tensor::<4>::from_data(x.clone(), device);
    let (same, plain) = (on(&gpu), on(&cpu));
    let actual = gpu::attention(same.clone(), same.clone(), same.clone(), None);
    let expected = gpu::attention_reference(plain.clone(), plain.clone(), plain.clone(), None);
    check("one tensor".into(), actual, expected).await;
    let part = |x: &Tensor<4>, i| x.clone().narrow(0, i, 1);
    let actual = gpu::attention(part(&same, 0), part(&same, 1), part(&same, 2), None);
    let expected =
        gpu::attention_reference(part(&plain, 0), part(&plain, 1), part(&plain, 2), None);
    check("parts of one".into(), actual, expected).await;
}

pub(super) async fn convolution_is_its_reference() {
    let (gpu, cpu) = (webgpu().await, Device::flex());
    let mut inputs = seed("conv2d");
    for tiles in gpu::tile_names(&gpu) {
        assert!(gpu::use_tiles(&gpu, tiles), "{tiles}");
        for (b, c, h, w, o, kernel, stride, padding) in [
            (1, 3, 16, 16, 32, 3, 1, [1, 1, 1, 1]),
            (2, 5, 7, 9, 18, 3, 2, [0, 0, 1, 1]),
            (1, 32, 12, 12, 64, 3, 1, [1, 1, 1, 1]),
            (1, 64, 8, 8, 4, 1, 1, [0, 0, 0, 0]),
            (1, 4, 6, 5, 7, 3, 2, [2, 1, 0, 3]),
        ] {
            let x = inputs.floats(&[b, c, h, w], 1.0);
            let weight = inputs.floats(&[o, c, kernel, kernel], 1.0);
            let bias = (o > 4).then(|| inputs.floats(&[o], 1.0));
            let on = |device: &Device| {
                (
                    Tensor::<4>::from_data(x.clone(), device),
                    Tensor::<4>::from_data(weight.clone(), device),
                    bias.clone()
                        .map(|bias| Tensor::<1>::from_data(bias, device)),
                )
            };
            let ((x1, w1, b1), (x2, w2, b2)) = (on(&gpu), on(&cpu));
            let what = format!("{tiles} conv2d {b} {c} {h} {w} {o} {kernel} {stride} {padding:?}");
            let expected = gpu::conv2d_reference(x2, w2, b2, stride, padding);
            check(what, gpu::conv2d(x1, w1, b1, stride, padding), expected).await;
        }
    }
}

pub(super) async fn the_start_up_check_passes_here() {
    let opened = open(Choice::WebGpu, &[]).await.expect("a device");
    tell(format!("{opened:?}"));
    startup_check(&opened.device, &Encoding::QUANTIZED)
        .await
        .expect("the same as on the CPU");
    // A software adapter is not faster than the CPU path, so `auto` selects the CPU.
    let auto = open(Choice::Auto, &Encoding::QUANTIZED)
        .await
        .expect("a device");
    let adapter = opened.adapter.to_lowercase();
    let software = ["swiftshader", "llvmpipe"]
        .iter()
        .any(|name| adapter.contains(name));
    assert_eq!(
        auto.kind,
        if software { "cpu" } else { "webgpu" },
        "{auto:?}"
    );
    assert_eq!(auto.note.is_some(), software);
}
