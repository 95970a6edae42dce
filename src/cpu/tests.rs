//! Each operation against its plain form in burn's own operations: results and all gradients.

use burn::backend::Flex;
use burn::tensor::activation::softmax;
use burn::tensor::module::layer_norm;
use burn::tensor::{Device, Distribution, Tensor};

use super::*;
use crate::model::rope::Rope;

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device()).require_grad()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn near(what: &str, ours: &[f32], plain: &[f32]) {
    assert_eq!(ours.len(), plain.len(), "{what}");
    let scale = plain.iter().fold(0f32, |most, x| most.max(x.abs()));
    let worst = std::iter::zip(ours, plain).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(
        worst <= 3e-5 * scale.max(1.0),
        "{what}: off by {worst} where the largest is {scale}"
    );
}

/// Gradients of the sum of `y` times fixed numbers.
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
        let (ours, plain) = ($ours.expect("this is training on the CPU"), $plain);
        near("the result", &values(ours.clone()), &values(plain.clone()));
        let (a, b) = (gradients(&ours), gradients(&plain));
        $(
            let (ours, plain) = ($input.grad(&a).expect("a gradient"), $input.grad(&b).expect("a gradient"));
            near(concat!("the gradient of ", stringify!($input)), &values(ours), &values(plain));
        )+
    }};
}

#[test]
fn gelu_is_the_plain_one() {
    let x = random([2, 7, 33]) * 4.0;
    let x = x.detach().require_grad();
    let root = (2.0 / std::f64::consts::PI).sqrt();
    let u = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * root;
    compare!(gelu(&x), x.clone() * 0.5 * (u.tanh() + 1.0), x);
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
    for (kernel, stride, padding) in [
        (3, 1, [1; 4]),
        (1, 1, [0; 4]),
        (3, 2, [0, 0, 1, 1]),
        (3, 2, [1, 2, 0, 1]),
    ] {
        let (x, bias) = (random([2, 3, 8, 11]), random([5]));
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
        modulated(&x, &clean, &noise, n_clean, 3, 1e-6),
        plain,
        x,
        clean,
        noise
    );
    let plain = x.clone() + a.clone() * part(5);
    compare!(
        gated(&x, &a, &clean, &noise, n_clean, 5),
        plain,
        x,
        a,
        clean,
        noise
    );
}

#[test]
fn attention_is_the_plain_one() {
    let (b, n, heads, width) = (2, 21, 3, 32);
    let d = heads * width;
    let positions: Vec<[f32; 3]> = (0..n)
        .map(|i| [1.0, (i / 5) as f32, (i % 5) as f32])
        .collect();
    let rope = Rope::new(&positions, [8, 12, 12], 100.0, &device());
    let qkv = random([b, n, 3 * d]);
    let (query, key) = (random([width]), random([width]));
    let hidden = Tensor::<3>::random([b, n, n], Distribution::Bernoulli(0.2), &device()) * -1e9;
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
        let (cos, sin) = rope.tables();
        let ours = attention(&qkv, [&query, &key], [cos, sin], mask.as_ref(), 1e-6);
        compare!(ours, plain, qkv, query, key);
    }
}

#[test]
fn other_devices_take_the_plain_form() {
    let x = Tensor::<3>::ones([1, 2, 4], &Device::flex());
    assert!(gelu(&x).is_none());
    assert!(x.try_into_primitive::<Flex>().is_ok());
}
