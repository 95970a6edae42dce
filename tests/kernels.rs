//! The shaders against their references. In the browser every shader runs on WebGPU and its reference on the CPU, with
//! inputs that are new in each run (the seed is printed); natively the references are held against naive loops.
//!
//! In the browser: `CHROMEDRIVER=$(command -v chromedriver) wasm-pack test --headless --chrome --mode no-install --release
//! --no-default-features --test kernels`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use unireal::gpu;
use unireal::weights::quant::Encoding;

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
            .map(|i| match i % keys == 0 || self.0.random_range(0..3) > 0 {
                true => 0.0,
                false => -1e9,
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
    differences.fold(0.0, |worst: f32, d| if d <= worst { worst } else { d }) / size
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::*;

    fn tensor<const D: usize>(data: &TensorData) -> Tensor<D> {
        Tensor::from_data(data.clone(), &Device::flex())
    }

    fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        numbers(&tensor.into_data())
    }

    /// `x W^T + b` in double precision.
    fn naive_linear(x: &[f32], weight: &[f32], bias: &[f32], k: usize) -> Vec<f32> {
        let row = |x: &[f32]| -> Vec<f32> {
            let dot = |w: &[f32]| -> f64 {
                let products = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                products.sum()
            };
            let sums = weight.chunks_exact(k).zip(bias);
            sums.map(|(w, b)| (dot(w) + f64::from(*b)) as f32).collect()
        };
        x.chunks_exact(k).flat_map(row).collect()
    }

    #[test]
    fn a_quantised_product_is_that_of_the_dequantised_matrix() {
        for (seed, encoding) in [(1, Encoding::Q8), (2, Encoding::Q4)] {
            for [n, k, o] in [[1, 64, 1], [7, 192, 33], [30, 512, 96]] {
                let mut inputs = Inputs::new(seed);
                let (x, bias) = (inputs.floats(&[1, n, k], 1.0), inputs.floats(&[o], 1.0));
                let mut matrix = numbers(&inputs.floats(&[o, k], 0.1));
                // A block of zeros, one whose scale is a subnormal f16, and one whose scale is large.
                matrix[..32].fill(0.0);
                matrix[32..64].fill(-1e-5);
                if o > 1 {
                    matrix[k..k + 32].fill(-300.0);
                }
                let matrix = quantise(encoding, &matrix, o);
                let int =
                    |data: &TensorData| Tensor::<2, Int>::from_data(data.clone(), &Device::flex());
                let (packed, scales) = (int(&matrix.packed), int(&matrix.scales));
                let values = gpu::dequantize(packed.clone(), scales.clone(), encoding);
                assert_eq!(read(values), matrix.values, "{encoding} {o} by {k}");
                let y =
                    gpu::quant_linear(tensor(&x), packed, scales, encoding, Some(tensor(&bias)));
                let expected = naive_linear(&numbers(&x), &matrix.values, &numbers(&bias), k);
                let error = error(&read(y), &expected);
                assert!(error < 1e-5, "{encoding} {n} {k} {o}: {error}");
            }
        }
    }

    #[test]
    fn attention_is_a_weighted_mean() {
        let (b, h, n, m, d) = (2, 3, 5, 7, 8);
        for batches in [0, 1, 2] {
            let mut inputs = Inputs::new(3);
            let q = inputs.floats(&[b, h, n, d], 2.0);
            let k = inputs.floats(&[b, h, m, d], 2.0);
            let v = inputs.floats(&[b, h, m, d], 2.0);
            let mask = (batches > 0).then(|| inputs.mask([batches, n, m]));
            let y = gpu::attention(
                tensor(&q),
                tensor(&k),
                tensor(&v),
                mask.as_ref().map(tensor),
            );
            let (q, k, v) = (numbers(&q), numbers(&k), numbers(&v));
            let mask = mask.as_ref().map(numbers);
            let mut expected = vec![0.0; b * h * n * d];
            for head in 0..b * h {
                for i in 0..n {
                    let weight = |j: usize| {
                        let products = (0..d).map(|t| {
                            f64::from(q[(head * n + i) * d + t] * k[(head * m + j) * d + t])
                        });
                        let added = mask.as_ref().map_or(0.0, |mask| {
                            let batch = if batches > 1 { head / h } else { 0 };
                            f64::from(mask[(batch * n + i) * m + j])
                        });
                        (products.sum::<f64>() / (d as f64).sqrt() + added).exp()
                    };
                    let weights: Vec<f64> = (0..m).map(weight).collect();
                    let total: f64 = weights.iter().sum();
                    for t in 0..d {
                        let values = (0..m).map(|j| f64::from(v[(head * m + j) * d + t]));
                        let mean = weights.iter().zip(values).map(|(w, v)| w * v).sum::<f64>();
                        expected[(head * n + i) * d + t] = (mean / total) as f32;
                    }
                }
            }
            let error = error(&read(y), &expected);
            assert!(error < 1e-5, "mask of {batches}: {error}");
        }
    }

    #[test]
    fn convolution_pads_each_side_by_itself() {
        let (b, c, h, w, o) = (2, 3, 6, 5, 4);
        for (kernel, stride, padding) in [
            (1, 1, [0, 0, 0, 0]),
            (3, 1, [1, 1, 1, 1]),
            (3, 2, [0, 0, 1, 1]),
            (3, 2, [2, 1, 0, 3]),
        ] {
            let mut inputs = Inputs::new(4);
            let x = inputs.floats(&[b, c, h, w], 1.0);
            let weight = inputs.floats(&[o, c, kernel, kernel], 1.0);
            let bias = inputs.floats(&[o], 1.0);
            let y = gpu::conv2d(
                tensor(&x),
                tensor(&weight),
                Some(tensor(&bias)),
                stride,
                padding,
            );
            let (x, weight, bias) = (numbers(&x), numbers(&weight), numbers(&bias));
            let [top, left, bottom, right] = padding;
            let rows = (h + top + bottom - kernel) / stride + 1;
            let columns = (w + left + right - kernel) / stride + 1;
            assert_eq!(y.dims(), [b, o, rows, columns]);
            let mut expected = Vec::new();
            for image in 0..b {
                for out in 0..o {
                    for v in 0..rows {
                        for u in 0..columns {
                            let mut sum = f64::from(bias[out]);
                            for (channel, i, j) in (0..c * kernel * kernel)
                                .map(|t| (t / kernel / kernel, t / kernel % kernel, t % kernel))
                            {
                                let (Some(v), Some(u)) = (
                                    (v * stride + i).checked_sub(top),
                                    (u * stride + j).checked_sub(left),
                                ) else {
                                    continue;
                                };
                                if v < h && u < w {
                                    let x = x[((image * c + channel) * h + v) * w + u];
                                    let at = ((out * c + channel) * kernel + i) * kernel + j;
                                    sum += f64::from(x) * f64::from(weight[at]);
                                }
                            }
                            expected.push(sum as f32);
                        }
                    }
                }
            }
            let error = error(&read(y), &expected);
            assert!(error < 1e-5, "{kernel} {stride} {padding:?}: {error}");
        }
    }

    #[test]
    fn gradients_go_through() {
        let device = Device::flex().autodiff();
        let mut inputs = Inputs::new(5);
        let (x, weight) = (inputs.floats(&[1, 3, 4], 1.0), inputs.floats(&[2, 4], 1.0));
        let x = Tensor::<3>::from_data(x, &device);
        let weight = Tensor::<2>::from_data(weight, &device).require_grad();
        let gradients = gpu::linear(x.clone(), weight.clone(), None)
            .sum()
            .backward();
        let gradient = read(weight.grad(&gradients).expect("a gradient").inner());
        let columns = read(x.inner().sum_dim(1).reshape([4]));
        assert!(error(&gradient, &[&columns[..], &columns[..]].concat()) < 1e-6);
    }

    #[test]
    fn the_cpu_opens_and_a_wrong_name_says_what_is_right() {
        use unireal::gpu::device::{Choice, open};
        let opened = pollster::block_on(open(Choice::Cpu)).expect("a CPU");
        assert_eq!((opened.kind, opened.note), ("cpu", None));
        assert_eq!("gpu".parse::<Choice>().ok(), Some(Choice::WebGpu));
        let error = "cuda".parse::<Choice>().expect_err("no such device");
        assert!(error.to_string().contains("webgpu"), "{error}");
    }
}

#[cfg(target_arch = "wasm32")]
mod browser {
    use super::*;
    use unireal::gpu::device::{Choice, open};
    use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

    wasm_bindgen_test_configure!(run_in_dedicated_worker);

    /// Relative to the largest result: what the order of f32 sums may change, with room.
    const BAR: f32 = 2e-5;

    async fn webgpu() -> Device {
        open(Choice::WebGpu).await.expect("WebGPU").device
    }

    fn seed(test: &str) -> Inputs {
        let seed = js_sys::Date::now() as u64;
        console_log!("{test}: seed {seed}");
        Inputs::new(seed)
    }

    async fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        numbers(&tensor.into_data_async().await.expect("readable"))
    }

    async fn check<const D: usize>(what: String, actual: Tensor<D>, expected: Tensor<D>) {
        assert_eq!(actual.dims(), expected.dims(), "{what}");
        let error = error(&read(actual).await, &read(expected).await);
        console_log!("{what}: {error:e}");
        assert!(error < BAR, "{what}: {error}");
    }

    #[wasm_bindgen_test]
    async fn linear_is_its_reference() {
        let (gpu, cpu) = (webgpu().await, Device::flex());
        let mut inputs = seed("linear");
        // The last has no vectors of four: it takes the plain way on the GPU, and must still be right.
        for (b, n, k, o) in [
            (1, 1, 4, 1),
            (2, 13, 36, 17),
            (1, 64, 64, 16),
            (1, 65, 256, 768),
            (2, 8, 512, 130),
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
                let what = format!("linear {b} {n} {k} {o} {biased}");
                check(
                    what,
                    gpu::linear(x1, w1, b1),
                    gpu::linear_reference(x2, w2, b2),
                )
                .await;
            }
        }
    }

    #[wasm_bindgen_test]
    async fn quantised_linear_is_the_dequantised_one() {
        let (gpu, cpu) = (webgpu().await, Device::flex());
        let mut inputs = seed("quantised linear");
        for encoding in [Encoding::Q8, Encoding::Q4] {
            for (b, n, k, o) in [
                (1, 1, 64, 1),
                (2, 13, 192, 19),
                (1, 70, 256, 768),
                (1, 8, 1024, 256),
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
                let actual = gpu::quant_linear(
                    Tensor::from_data(x.clone(), &gpu),
                    int(&matrix.packed),
                    int(&matrix.scales),
                    encoding,
                    on(&gpu),
                );
                let values = Tensor::from_data(TensorData::new(matrix.values, [o, k]), &cpu);
                let expected = gpu::linear_reference(Tensor::from_data(x, &cpu), values, on(&cpu));
                check(format!("{encoding} {b} {n} {k} {o}"), actual, expected).await;
            }
        }
    }

    #[wasm_bindgen_test]
    async fn attention_is_its_reference() {
        let (gpu, cpu) = (webgpu().await, Device::flex());
        let mut inputs = seed("attention");
        for (b, h, n, m, d, batches) in [
            (1, 1, 1, 1, 4, 0),
            (2, 3, 5, 17, 12, 2),
            (1, 4, 100, 100, 32, 1),
            (2, 8, 66, 130, 64, 0),
            (2, 2, 33, 48, 64, 1),
            (1, 1, 64, 64, 128, 0),
            (1, 2, 6, 9, 6, 1),
        ] {
            let [q, k, v] = [n, m, m].map(|rows| inputs.floats(&[b, h, rows, d], 3.0));
            let mask = (batches > 0).then(|| inputs.mask([batches, n, m]));
            let on = |device: &Device| {
                let part = |data: &TensorData| Tensor::<4>::from_data(data.clone(), device);
                let mask = mask
                    .clone()
                    .map(|mask| Tensor::<3>::from_data(mask, device));
                (part(&q), part(&k), part(&v), mask)
            };
            let ((q1, k1, v1, m1), (q2, k2, v2, m2)) = (on(&gpu), on(&cpu));
            let what = format!("attention {b} {h} {n} {m} {d} mask {batches}");
            let expected = gpu::attention_reference(q2, k2, v2, m2);
            check(what, gpu::attention(q1, k1, v1, m1), expected).await;
        }
    }

    /// The same tensor three times, and views into one buffer: WebGPU refuses two writable bindings of the same memory.
    #[wasm_bindgen_test]
    async fn shared_memory_is_no_error() {
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

    #[wasm_bindgen_test]
    async fn convolution_is_its_reference() {
        let (gpu, cpu) = (webgpu().await, Device::flex());
        let mut inputs = seed("conv2d");
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
            let what = format!("conv2d {b} {c} {h} {w} {o} {kernel} {stride} {padding:?}");
            let expected = gpu::conv2d_reference(x2, w2, b2, stride, padding);
            check(what, gpu::conv2d(x1, w1, b1, stride, padding), expected).await;
        }
    }

    #[wasm_bindgen_test]
    async fn the_start_up_check_passes_here() {
        let opened = open(Choice::Auto).await.expect("a device");
        console_log!("{opened:?}");
        assert_eq!((opened.kind, opened.note), ("webgpu", None));
    }
}
