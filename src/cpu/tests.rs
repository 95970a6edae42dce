//! Compares the result and all gradients of each operation with a reference in burn's own operations.

use std::cell::RefCell;

use burn::tensor::activation::softmax;
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;

use super::*;
use crate::gpu::Modulation;
use crate::model::rope::Rope;
use crate::noise::Noise;
use crate::weights::quant::Encoding;

fn device() -> Device {
    Device::flex().autodiff()
}

thread_local! {
    /// The random numbers of the running test, from a fresh seed that a failure prints.
    static NUMBERS: RefCell<Noise> = {
        let seed = rand::random();
        println!("seed {seed}");
        RefCell::new(Noise::new(seed))
    };
}

/// Returns standard normal values.
fn drawn<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    NUMBERS.with_borrow_mut(|numbers| numbers.tensor(shape, device))
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    drawn(shape, &device()).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Compares the largest error in f32, and the root mean square in bf16, where each operand is rounded by up to 2^-9 of itself and the
/// largest error of a sum has a long tail.
fn near(what: &str, ours: &[f32], plain: &[f32]) {
    assert_eq!(ours.len(), plain.len(), "{what}");
    let off = || std::iter::zip(ours, plain).map(|(a, b)| (a - b).abs());
    match gemm::precision() {
        gemm::Precision::F32 => {
            let scale = plain.iter().fold(0f32, |most, x| most.max(x.abs()));
            let worst = off().fold(0f32, f32::max);
            assert!(
                worst <= 3e-5 * scale.max(1.0),
                "{what}: off by {worst} where the largest is {scale}"
            );
        }
        gemm::Precision::Bf16 => {
            let norm = |squares: f32| squares.sqrt();
            let error = norm(off().map(|x| x * x).sum());
            let size = norm(plain.iter().map(|x| x * x).sum());
            assert!(error <= 2e-2 * size, "{what}: off by {error} of {size}");
        }
    }
}

/// Returns the gradients of the sum of `y` times fixed weights.
fn gradients<const D: usize>(y: &Tensor<D>) -> burn::tensor::Gradients {
    let count = y.shape().num_elements();
    let weights: Vec<f32> = (0..count)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let weights = Tensor::<1>::from_floats(weights.as_slice(), &device());
    (y.clone().flatten::<1>(0, D - 1) * weights)
        .sum()
        .backward()
}

macro_rules! compare {
    ($ours:expr, $plain:expr, $($input:ident),+) => {{
        let (ours, plain) = ($ours.expect("this is the CPU"), $plain);
        near("the result", &values(ours.clone()), &values(plain.clone()));
        let (a, b) = (gradients(&ours), gradients(&plain));
        $(
            let (ours, plain) = ($input.grad(&a).expect("a gradient"), $input.grad(&b).expect("a gradient"));
            near(concat!("the gradient of ", stringify!($input)), &values(ours), &values(plain));
        )+
    }};
}

/// Repeats the comparisons in bf16.
#[test]
fn products_in_bf16_are_the_plain_ones() {
    let _precision = gemm::engine::scoped(gemm::Precision::Bf16);
    if gemm::precision() == gemm::Precision::F32 {
        eprintln!("SKIPPED operations in bf16: this CPU has no instructions for them");
        return;
    }
    linear_is_the_plain_one();
    convolution_is_the_plain_one();
    a_convolution_in_bands_is_the_plain_one();
    attention_is_the_plain_one();
    attention_without_norms_and_positions_is_the_plain_one();
    without_gradients_the_results_are_the_same();
}

#[test]
fn gelu_is_the_plain_one() {
    let x = random([2, 7, 33]) * 4.0;
    let x = x.detach().require_grad();
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let u = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * root;
    compare!(
        gelu(&x, GeluApproximation::Tanh),
        x.clone() * 0.5 * (u.tanh() + 1.0),
        x
    );
    let quick = x.clone() * burn::tensor::activation::sigmoid(x.clone() * 1.702);
    compare!(gelu(&x, GeluApproximation::Quick), quick, x);
    compare!(
        gelu(&x, GeluApproximation::Exact),
        burn::tensor::activation::gelu(x.clone()),
        x
    );
}

#[test]
fn layer_norm_is_the_plain_one() {
    let (x, weight, bias) = (random([2, 5, 37]), random([37]), random([37]));
    compare!(
        super::layer_norm(&x, &weight, &bias, 1e-5),
        layer_norm(x.clone(), weight.clone(), Some(bias.clone()), 1e-5),
        x,
        weight,
        bias
    );
}

/// Tests with and without a mask, at lengths that are no multiple of the SIMD lanes.
#[test]
fn attention_without_norms_and_positions_is_the_plain_one() {
    for (n, heads, width) in [(7, 2, 32), (70, 1, 64)] {
        let qkv = random([2, n, 3 * heads * width]);
        let hidden: Vec<f32> = (0..n * n)
            .map(|i| if i % n > i / n { -1e9 } else { 0.0 })
            .collect();
        let mask = Tensor::<1>::from_floats(hidden.as_slice(), &device()).reshape([1, n, n]);
        for mask in [None, Some(mask)] {
            let [q, k, v] = [0, 1, 2].map(|i| {
                let part = qkv.clone().narrow(2, i * heads * width, heads * width);
                part.reshape([2, n, heads, width]).swap_dims(1, 2)
            });
            let plain = crate::gpu::attention_reference(
                q,
                k,
                v,
                mask.clone().map(|mask| mask.unsqueeze_dim(1)),
            );
            let plain = plain.swap_dims(1, 2).reshape([2, n, heads * width]);
            compare!(plain_attention(&qkv, heads, mask.as_ref()), plain, qkv);
        }
    }
}

#[test]
fn linear_is_the_plain_one() {
    let (x, weight, bias) = (random([2, 5, 24]), random([40, 24]), random([40]));
    let plain = crate::gpu::linear_reference;
    compare!(
        linear(&x, &weight, Some(&bias)),
        plain(x.clone(), weight.clone(), Some(bias.clone())),
        x,
        weight,
        bias
    );
    compare!(
        linear(&x, &weight, None),
        plain(x.clone(), weight.clone(), None),
        x,
        weight
    );
    let constant = x.clone().detach();
    compare!(
        linear(&constant, &weight, None),
        plain(constant.clone(), weight.clone(), None),
        weight
    );
}

#[test]
fn convolution_is_the_plain_one() {
    // Rows of the result that fill whole vectors, half a vector, and neither.
    for (kernel, stride, padding, [h, w]) in [
        (3, 1, [1; 4], [8, 11]),
        (3, 1, [1; 4], [6, 8]),
        (3, 1, [1; 4], [5, 8]),
        (3, 1, [1; 4], [4, 32]),
        (3, 1, [2, 0, 0, 2], [5, 16]),
        (3, 1, [0; 4], [6, 18]),
        (1, 1, [0; 4], [8, 11]),
        (1, 1, [0; 4], [3, 16]),
        (3, 2, [0, 0, 1, 1], [8, 11]),
        (3, 2, [1, 2, 0, 1], [8, 11]),
    ] {
        let (x, bias) = (random([2, 3, h, w]), random([5]));
        let weight = random([5, 3, kernel, kernel]);
        let plain = crate::gpu::conv2d_reference;
        compare!(
            conv2d(&x, &weight, Some(&bias), stride, padding),
            plain(
                x.clone(),
                weight.clone(),
                Some(bias.clone()),
                stride,
                padding
            ),
            x,
            weight,
            bias
        );
        let constant = x.clone().detach();
        compare!(
            conv2d(&constant, &weight, Some(&bias), stride, padding),
            plain(
                constant.clone(),
                weight.clone(),
                Some(bias.clone()),
                stride,
                padding
            ),
            weight,
            bias
        );
    }
}

#[test]
fn a_convolution_in_bands_is_the_plain_one() {
    let device = Device::flex();
    // The im2col matrix of 64 channels by 9 kernel offsets by 67600 pixels takes 156 MB: three bands.
    let x = drawn([1, 64, 338, 200], &device);
    let weight = drawn([2, 64, 3, 3], &device);
    let bias = drawn([2], &device);
    let ours = conv2d(&x, &weight, Some(&bias), 1, [1; 4]).expect("this is the CPU");
    let plain = crate::gpu::conv2d_reference(x, weight, Some(bias), 1, [1; 4]);
    near("the result", &values(ours), &values(plain));
}

#[test]
fn group_norm_and_silu_are_the_plain_ones() {
    let x = random([2, 6, 5, 7]) * 2.0 + 3.0;
    let x = x.detach().require_grad();
    let (gamma, beta) = (random([6]), random([6]));
    let flat = x.clone().reshape([2, 3, 2 * 5 * 7]);
    let centred = flat.clone() - flat.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2) + 1e-6;
    let normed = (centred / variance.sqrt()).reshape([2, 6, 5, 7]);
    let of = |row: &Tensor<1>| row.clone().reshape([1, 6, 1, 1]);
    let plain = burn::tensor::activation::silu(normed * of(&gamma) + of(&beta));
    compare!(
        group_norm_silu(&x, &gamma, &beta, 3, 1e-6),
        plain,
        x,
        gamma,
        beta
    );
}

#[test]
fn rms_norm_is_the_plain_one() {
    let (x, weight) = (random([3, 5, 40]), random([40]));
    let variance = x.clone().square().mean_dim(2) + 1e-6;
    let plain = x.clone() / variance.sqrt() * weight.clone().unsqueeze();
    compare!(rms_norm(&x, &weight, 1e-6), plain, x, weight);
}

#[test]
fn modulation_is_the_plain_one() {
    let (b, n, d, n_clean) = (3, 7, 40, 4);
    let (x, a) = (random([b, n, d]), random([b, n, d]));
    let (clean, noise) = (random([1, 1, 6 * d]), random([b, 1, 6 * d]));
    let by = Modulation {
        clean: clean.clone(),
        noise: noise.clone(),
        n_clean,
    };
    let part = |at: usize| {
        let clean = clean.clone().narrow(2, at * d, d).expand([b, n_clean, d]);
        let noise = noise
            .clone()
            .narrow(2, at * d, d)
            .expand([b, n - n_clean, d]);
        Tensor::cat(vec![clean, noise], 1)
    };
    let ones = Tensor::ones([d], &device());
    let plain = layer_norm(x.clone(), ones, None, 1e-6) * (part(4) + 1.0) + part(3);
    compare!(
        modulated(&x, &by, Branch::Mlp, 1e-6),
        plain,
        x,
        clean,
        noise
    );
    let plain = x.clone() + a.clone() * part(5);
    compare!(gated(&x, &a, &by, Branch::Mlp), plain, x, a, clean, noise);
}

#[test]
fn upsampling_repeats_rows_and_columns() {
    let [b, c, h, w] = [2, 3, 5, 7];
    let x = random([b, c, h, w]);
    let plain = x.clone().reshape([b * c, h, 1, w, 1]);
    let plain = plain.expand([b * c, h, 2, w, 2]);
    let plain = plain.reshape([b, c, 2 * h, 2 * w]);
    compare!(upsample(&x), plain, x);
}

#[test]
fn attention_is_the_plain_one() {
    // The last case has more queries than a block.
    for (n, width, axes) in [
        (21, 32, [8, 12, 12]),
        (9, 128, [16, 56, 56]),
        (70, 64, [16, 24, 24]),
    ] {
        let (b, heads) = (2, 3);
        let d = heads * width;
        let positions: Vec<[f32; 3]> = (0..n)
            .map(|i| [1.0, (i / 5) as f32, (i % 5) as f32])
            .collect();
        let rope = Rope::new(&positions, axes, 100.0, &device());
        let qkv = random([b, n, 3 * d]);
        let (query, key) = (random([width]), random([width]));
        // Hides one pair in five.
        let hidden = drawn([b, n, n], &device()).greater_elem(0.84).float() * -1e9;
        for mask in [None, Some(hidden)] {
            let heads_first = qkv
                .clone()
                .reshape([b, n, 3, heads, width])
                .permute([2, 0, 3, 1, 4]);
            let part = |i| heads_first.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
            let normed = |x: Tensor<4>, weight: &Tensor<1>| {
                let variance = x.clone().square().mean_dim(3) + 1e-6;
                rope.rotate(x / variance.sqrt() * weight.clone().unsqueeze())
            };
            let scores = normed(part(0), &query).matmul(normed(part(1), &key).swap_dims(2, 3));
            let scores = scores / (width as f64).sqrt();
            let scores = match &mask {
                Some(mask) => scores + mask.clone().unsqueeze_dim::<4>(1),
                None => scores,
            };
            let plain = softmax(scores, 3)
                .matmul(part(2))
                .swap_dims(1, 2)
                .reshape([b, n, d]);
            let [cos, sin] = rope.tables();
            let run = |qkv: &Tensor<3>, query: &Tensor<1>, key: &Tensor<1>| {
                attention(
                    qkv,
                    heads,
                    [query, key],
                    [cos, sin],
                    mask.as_ref(),
                    None,
                    1e-6,
                )
            };
            compare!(run(&qkv, &query, &key), plain.clone(), qkv, query, key);
            let (cos, sin) = (cos.clone().inner(), sin.clone().inner());
            let mask = mask.map(Tensor::inner);
            let inner = [query.clone().inner(), key.clone().inner()];
            let norms = inner.each_ref();
            let rotation = [&cos, &sin];
            let ours = attention(
                &qkv.clone().inner(),
                heads,
                norms,
                rotation,
                mask.as_ref(),
                None,
                1e-6,
            );
            near(
                "without gradients",
                &values(ours.unwrap()),
                &values(plain.clone()),
            );
            if mask.is_some() {
                continue;
            }
            // With the first tokens' keys and values in a KV cache, the results of the others stay the same.
            let (m, rest) = (4, n - 4);
            let keys = normed(part(1), &key).narrow(2, 0, m).inner();
            let cache = [keys, part(2).narrow(2, 0, m).inner()];
            let others = |table: &Tensor<4>| table.clone().narrow(2, m, rest);
            let ours = attention(
                &qkv.clone().inner().narrow(1, m, rest),
                heads,
                norms,
                [&others(&cos), &others(&sin)],
                None,
                Some(&cache),
                1e-6,
            );
            let plain = plain.narrow(1, m, rest);
            near("with kept keys", &values(ours.unwrap()), &values(plain));
        }
    }
}

#[test]
fn without_gradients_the_results_are_the_same() {
    let (x, weight, bias) = (random([2, 5, 24]), random([40, 24]), random([40]));
    let row = random([24]);
    let same = |ours: Option<Tensor<3>>, tracked: Option<Tensor<3>>| {
        let (ours, tracked) = (ours.unwrap(), tracked.unwrap());
        assert!(!ours.is_autodiff() && tracked.is_autodiff());
        assert_eq!(values(ours), values(tracked));
    };
    let (x1, weight1) = (x.clone().inner(), weight.clone().inner());
    let (bias1, row1) = (bias.clone().inner(), row.clone().inner());
    same(
        gelu(&x1, GeluApproximation::Tanh),
        gelu(&x, GeluApproximation::Tanh),
    );
    same(
        linear(&x1, &weight1, Some(&bias1)),
        linear(&x, &weight, Some(&bias)),
    );
    same(linear(&x1, &weight1, None), linear(&x, &weight, None));
    same(rms_norm(&x1, &row1, 1e-6), rms_norm(&x, &row, 1e-6));
    let by = Modulation {
        clean: random([1, 1, 144]),
        noise: random([2, 1, 144]),
        n_clean: 3,
    };
    let by1 = Modulation {
        clean: by.clean.clone().inner(),
        noise: by.noise.clone().inner(),
        n_clean: 3,
    };
    same(
        modulated(&x1, &by1, Branch::Attention, 1e-6),
        modulated(&x, &by, Branch::Attention, 1e-6),
    );
    same(
        gated(&x1, &x1, &by1, Branch::Attention),
        gated(&x, &x, &by, Branch::Attention),
    );
    let (image, kernel) = (random([2, 4, 6, 5]), random([40, 4, 3, 3]));
    let (image1, kernel1) = (image.clone().inner(), kernel.clone().inner());
    let flat = |y: Option<Tensor<4>>| y.map(|y| y.flatten(1, 2));
    same(
        flat(conv2d(&image1, &kernel1, Some(&bias1), 1, [1; 4])),
        flat(conv2d(&image, &kernel, Some(&bias), 1, [1; 4])),
    );
    let (gamma, beta) = (random([4]), random([4]));
    let (gamma1, beta1) = (gamma.clone().inner(), beta.clone().inner());
    same(
        flat(group_norm_silu(&image1, &gamma1, &beta1, 2, 1e-6)),
        flat(group_norm_silu(&image, &gamma, &beta, 2, 1e-6)),
    );
}

#[test]
fn dequantising_is_the_plain_one() {
    let device = Device::flex();
    for encoding in [Encoding::Q8, Encoding::Q4] {
        let floats = values(drawn([6 * 128], &device));
        let quantised = encoding.quantize(&floats);
        let integers = |integers: Vec<u32>| {
            let columns = integers.len() / 6;
            let integers: Vec<i32> = integers.into_iter().map(u32::cast_signed).collect();
            Tensor::<2, Int>::from_data(TensorData::new(integers, [6, columns]), &device)
        };
        let pair = |pair: &[f16]| u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16;
        let packed = integers(quantised.packed);
        let scales = integers(quantised.scales.chunks(2).map(pair).collect());
        let ours = dequantize(&packed, &scales, encoding).unwrap();
        let plain = crate::gpu::dequantize(packed, scales, encoding);
        assert_eq!(values(ours), values(plain), "{encoding}");
    }
}
