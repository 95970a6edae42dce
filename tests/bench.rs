//! The bar that the WGSL matrix product must clear: in one page, on one device, at least eight times as fast as burn's own.
#![cfg(target_arch = "wasm32")]

use burn::tensor::{Device, Distribution, Int, Tensor};
use unireal::gpu::{self, device};
use unireal::weights::quant::Encoding;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

const BAR: f64 = 8.0;
const ROUNDS: usize = 3;

fn now() -> f64 {
    let performance =
        js_sys::Reflect::get(&js_sys::global(), &"performance".into()).expect("a clock");
    let read = js_sys::Reflect::get(&performance, &"now".into()).expect("a clock");
    let read: js_sys::Function = read.into();
    read.call0(&performance)
        .ok()
        .and_then(|ms| ms.as_f64())
        .expect("a clock")
}

/// Milliseconds until the result is there: reading one number waits for all of it.
async fn time<const D: usize>(run: impl Fn() -> Tensor<D>) -> f64 {
    let start = now();
    let y = run();
    let first = y.reshape([-1]).narrow(0, 0, 1);
    first.into_data_async().await.expect("readable");
    now() - start
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Alternates the two, after one round that only compiles, and gives the median milliseconds of each.
async fn race<const D: usize>(
    rounds: usize,
    ours: impl Fn() -> Tensor<D>,
    theirs: impl Fn() -> Tensor<D>,
) -> (f64, f64) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    time(&ours).await;
    for _ in 0..rounds {
        a.push(time(&ours).await);
        b.push(time(&theirs).await);
    }
    (median(a), median(b))
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

fn report(what: &str, gflop: f64, (ours, theirs): (f64, f64)) -> f64 {
    let ratio = theirs / ours;
    let rate = gflop / ours * 1e3;
    console_log!(
        "{{\"what\":\"{what}\",\"wgsl_ms\":{ours:.0},\"burn_ms\":{theirs:.0},\"ratio\":{ratio:.2},\"wgsl_gflops\":{rate:.2}}}"
    );
    ratio
}

#[wasm_bindgen_test]
async fn linear_is_eight_times_as_fast_as_that_of_burn() {
    let device = device::open(device::Choice::WebGpu)
        .await
        .expect("WebGPU")
        .device;
    let (n, k, o) = (1024, 512, 1536);
    let (x, weight, bias) = (
        random([1, n, k], &device),
        random([o, k], &device),
        random([o], &device),
    );
    let times = race(
        ROUNDS,
        || gpu::linear(x.clone(), weight.clone(), Some(bias.clone())),
        || gpu::linear_reference(x.clone(), weight.clone(), Some(bias.clone())),
    )
    .await;
    let gflop = 2e-9 * (n * k * o) as f64;
    let ratio = report("linear 1024x512x1536", gflop, times);
    assert!(ratio >= BAR, "{ratio} times as fast, below {BAR}");

    for encoding in [Encoding::Q8, Encoding::Q4] {
        let words = |columns: usize| Tensor::<2, Int>::zeros([o, columns], &device);
        let (packed, scales) = (words(k / encoding.values_per_word()), words(k / 64));
        let run = || {
            gpu::quant_linear(
                x.clone(),
                packed.clone(),
                scales.clone(),
                encoding,
                Some(bias.clone()),
            )
        };
        time(run).await;
        let quantised = median(vec![time(run).await, time(run).await, time(run).await]);
        report(
            &format!("{encoding} linear 1024x512x1536"),
            gflop,
            (quantised, times.1),
        );
    }
}

#[wasm_bindgen_test]
async fn attention_and_convolution_are_faster_too() {
    let device = device::open(device::Choice::WebGpu)
        .await
        .expect("WebGPU")
        .device;
    let (h, n, d) = (8, 512, 64);
    let [q, k, v] = [0; 3].map(|_| random([1, h, n, d], &device));
    let times = race(
        1,
        || gpu::attention(q.clone(), k.clone(), v.clone(), None),
        || gpu::attention_reference(q.clone(), k.clone(), v.clone(), None),
    )
    .await;
    let ratio = report("attention 8x512x64", 4e-9 * (h * n * n * d) as f64, times);
    assert!(ratio > 1.5, "attention {ratio} times as fast");

    let (c, side) = (64, 64);
    let (x, weight) = (
        random([1, c, side, side], &device),
        random([c, c, 3, 3], &device),
    );
    let times = race(
        1,
        || gpu::conv2d(x.clone(), weight.clone(), None, 1, [1; 4]),
        || gpu::conv2d_reference(x.clone(), weight.clone(), None, 1, [1; 4]),
    )
    .await;
    let ratio = report(
        "conv2d 64x64x64 3x3",
        2e-9 * (c * c * 9 * side * side) as f64,
        times,
    );
    assert!(ratio > 1.5, "conv2d {ratio} times as fast");
}
