//! Compares the references with naive loops on the CPU, and runs the shader tests natively.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
pub(super) use unireal::internals::gpu::device::open;

fn tensor<const D: usize>(data: &TensorData) -> Tensor<D> {
    Tensor::from_data(data.clone(), &Device::flex())
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    numbers(&tensor.into_data())
}

/// Computes `x W^T + b` in double precision.
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
            let (x1, bias1) = (tensor(&x), Some(tensor(&bias)));
            let y = gpu::quant_linear(x1, packed, scales, encoding, bias1, Activation::None);
            let expected = naive_linear(&numbers(&x), &matrix.values, &numbers(&bias), k);
            let error = error(&read(y), &expected);
            assert!(error < 1e-5, "{encoding} {n} {k} {o}: {error}");
        }
    }
}

#[test]
fn attention_is_a_weighted_mean() {
    let (b, h, n, m, d) = (2, 3, 5, 7, 8);
    for [batches, heads] in [[0, 1], [1, 1], [2, 1], [1, 3], [2, 3]] {
        let mut inputs = Inputs::new(3);
        let q = inputs.floats(&[b, h, n, d], 2.0);
        let k = inputs.floats(&[b, h, m, d], 2.0);
        let v = inputs.floats(&[b, h, m, d], 2.0);
        let mask = (batches > 0).then(|| inputs.mask([batches * heads, n, m]));
        let y = gpu::attention(
            tensor(&q),
            tensor(&k),
            tensor(&v),
            mask.as_ref()
                .map(|mask| tensor::<3>(mask).reshape([batches, heads, n, m])),
        );
        let (q, k, v) = (numbers(&q), numbers(&k), numbers(&v));
        let mask = mask.as_ref().map(numbers);
        let mut expected = vec![0.0; b * h * n * d];
        for head in 0..b * h {
            for i in 0..n {
                let weight = |j: usize| {
                    let products = (0..d)
                        .map(|t| f64::from(q[(head * n + i) * d + t] * k[(head * m + j) * d + t]));
                    let added = mask.as_ref().map_or(0.0, |mask| {
                        let batch = if batches > 1 { head / h } else { 0 };
                        let plane = batch * heads + if heads > 1 { head % h } else { 0 };
                        f64::from(mask[(plane * n + i) * m + j])
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
            for (out, bias) in bias.iter().enumerate().take(o) {
                for v in 0..rows {
                    for u in 0..columns {
                        let mut sum = f64::from(*bias);
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
    let gradients = gpu::linear(x.clone(), weight.clone(), None, Activation::None)
        .sum()
        .backward();
    let gradient = read(weight.grad(&gradients).expect("a gradient").inner());
    let columns = read(x.inner().sum_dim(1).reshape([4]));
    assert!(error(&gradient, &[&columns[..], &columns[..]].concat()) < 1e-6);
}

#[test]
fn the_cpu_opens_and_a_wrong_name_says_what_is_right() {
    use unireal::internals::gpu::device::{Choice, open};
    let opened = pollster::block_on(open(Choice::Cpu, &[])).expect("a CPU");
    assert_eq!((opened.kind, opened.note), ("cpu", None));
    assert_eq!("gpu".parse::<Choice>().ok(), Some(Choice::WebGpu));
    let error = "cuda".parse::<Choice>().expect_err("no such device");
    assert!(error.to_string().contains("webgpu"), "{error}");
}

/// Writes to stderr directly, because the test runner captures println.
pub(super) fn tell(text: String) {
    writeln!(std::io::stderr(), "{text}").expect("stderr");
}

/// Returns the time in milliseconds, as a seed.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_millis() as u64
}

/// Runs a shader test on the native adapter (`scripts/setup` installs Mesa's software one); one at a time, because the selected tiles are
/// global.
fn on_gpu(test: impl Future<Output = ()>) {
    use unireal::internals::gpu::device::{Choice, open};
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    pollster::block_on(open(Choice::WebGpu, &[])).expect("a Vulkan adapter");
    pollster::block_on(test);
}

macro_rules! test {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                on_gpu(shaders::$name());
            }
        )*
    };
}

shaders!(test);
