//! Speed in the browser: our kernels against burn's and against the adapter's peak rate, and whole evaluations of the
//! transformer against onnxruntime-web on the same network. All times of a comparison alternate within one page.
//!
//! `scripts/bench browser` creates the networks, serves them beside onnxruntime-web, runs these tests and checks the printed
//! JSON lines against the required ratios.
#![cfg(target_arch = "wasm32")]

use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, activation::gelu};
use js_sys::{Float32Array, JsString, Object, Reflect, Uint8Array};
use safetensors::SafeTensors;
use serde::Deserialize;
use unireal::Role;
use unireal::internals::config::Attention;
use unireal::internals::gpu::{self, Activation, Branch, Modulation, device};
use unireal::internals::model::Model;
use unireal::internals::model::rope::Rope;
use unireal::internals::model::sequence::{Grid, InputFrame, Sequence, TextStates};
use unireal::internals::web::{
    self,
    fetch::{Http, RetryPolicy},
};
use unireal::internals::weights::quant::Encoding;
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen(module = "/tests/bench/peer.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn bytes(path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    async fn open(provider: &str, path: &str, inputs: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    async fn run(session: &JsValue) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    async fn close(session: &JsValue) -> Result<(), JsValue>;
    #[wasm_bindgen(catch)]
    async fn peak() -> Result<JsValue, JsValue>;
}

#[wasm_bindgen(module = "/www/subgroups.js")]
extern "C" {
    #[wasm_bindgen(js_name = requestSubgroups)]
    fn request_subgroups();
}

/// The address at which `scripts/bench` serves the cases.
const HOST: &str = "http://127.0.0.1:8571/";
const ROUNDS: usize = 3;

/// One entry of `cases.json`, which `tests/bench/export.py` writes.
#[derive(Deserialize)]
struct Case {
    name: String,
    onnx: Vec<String>,
}

fn now() -> f64 {
    let performance = Reflect::get(&js_sys::global(), &"performance".into()).expect("a clock");
    let read = Reflect::get(&performance, &"now".into()).expect("a clock");
    let read: js_sys::Function = read.into();
    read.call0(&performance)
        .ok()
        .and_then(|ms| ms.as_f64())
        .expect("a clock")
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Returns the milliseconds until the result is computed; reading one value waits for all of it.
async fn time<const D: usize>(run: impl Fn() -> Tensor<D>) -> f64 {
    let start = now();
    let y = run();
    let first = y.reshape([-1]).narrow(0, 0, 1);
    first.into_data_async().await.expect("readable");
    now() - start
}

/// Alternates both after one warm-up round of ours, and returns the median milliseconds of each.
async fn race<const D: usize, const E: usize>(
    rounds: usize,
    ours: impl Fn() -> Tensor<D>,
    theirs: impl Fn() -> Tensor<E>,
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

/// Prints one line of results: name, milliseconds of both, and our speedup.
fn report(what: &str, against: &str, (ours, theirs): (f64, f64)) {
    let ratio = theirs / ours;
    console_log!(
        "{{\"what\":\"{what}\",\"against\":\"{against}\",\"ours_ms\":{ours:.1},\"theirs_ms\":{theirs:.1},\"ratio\":{ratio:.3}}}"
    );
}

async fn webgpu() -> Device {
    request_subgroups();
    let opened = web::gpu::open(device::Choice::WebGpu, &[]).await;
    let device = opened.expect("WebGPU").device;
    let tiles = gpu::measure_tiles(&device, &Encoding::QUANTIZED, now).await;
    console_log!("tiles: {}", tiles.expect("some"));
    device
}

/// Benchmarks the linear layer in every encoding, attention and convolution against burn's kernels and the adapter's peak rate.
#[wasm_bindgen_test]
async fn kernels() {
    let device = webgpu().await;
    linear_kernels(&device).await;
    attention_kernels(&device).await;
    convolution_kernel(&device).await;
}

/// Rows, inputs and outputs of the linear layer.
const LINEAR: (usize, usize, usize) = (1024, 512, 1536);

async fn linear_kernels(device: &Device) {
    let peak_rate = peak().await.expect("a rate").as_f64().expect("a number");
    let (n, k, o) = LINEAR;
    let (x, weight, bias) = (
        random([1, n, k], device),
        random([o, k], device),
        random([o], device),
    );
    let linear = || {
        gpu::linear(
            x.clone(),
            weight.clone(),
            Some(bias.clone()),
            Activation::None,
        )
    };
    let slow = || gpu::linear_reference(x.clone(), weight.clone(), Some(bias.clone()));
    let times = race(ROUNDS, linear, slow).await;
    report("linear 1024x512x1536", "burn", times);
    let flop = (2 * n * k * o) as f64;
    // The time at the adapter's peak rate, so that the ratio is the fraction of the peak.
    let ideal = flop / peak_rate / 1e6;
    report(
        "linear 1024x512x1536",
        "the adapter's rate",
        (times.0, ideal),
    );
    for encoding in [Encoding::Q8, Encoding::Q4] {
        let integers = |columns: usize| Tensor::<2, Int>::zeros([o, columns], device);
        let (packed, scales) = (integers(k / encoding.values_per_word()), integers(k / 64));
        let quantised = || {
            let (x, packed, scales) = (x.clone(), packed.clone(), scales.clone());
            gpu::quant_linear(
                x,
                packed,
                scales,
                encoding,
                Some(bias.clone()),
                Activation::None,
            )
        };
        let times = race(ROUNDS, quantised, linear).await;
        report(
            &format!("{encoding} linear 1024x512x1536"),
            "f32 linear",
            times,
        );
    }
}

/// Benchmarks attention against burn's, and against the linear layer per operation.
async fn attention_kernels(device: &Device) {
    let (h, d) = (8, 64);
    let [q, k, v] = [0; 3].map(|_| random([1, h, 512, d], device));
    let fast = || gpu::attention(q.clone(), k.clone(), v.clone(), None);
    let slow = || gpu::attention_reference(q.clone(), k.clone(), v.clone(), None);
    report("attention 8x512x64", "burn", race(1, fast, slow).await);
    let (rows, inputs, outputs) = LINEAR;
    let (x, weight, bias) = (
        random([1, rows, inputs], device),
        random([outputs, inputs], device),
        random([outputs], device),
    );
    let linear = || {
        let bias = Some(bias.clone());
        gpu::linear(x.clone(), weight.clone(), bias, Activation::None)
    };
    let tokens = 4096;
    let [q, k, v] = [0; 3].map(|_| random([1, h, tokens, d], device));
    let fast = || gpu::attention(q.clone(), k.clone(), v.clone(), None);
    let (ours, linear_ms) = race(1, fast, linear).await;
    // In floating point, because the products overflow 32 bits.
    let linear_flop = 2.0 * rows as f64 * (inputs * outputs) as f64;
    let attention_flop = 4.0 * (h * d) as f64 * (tokens as f64).powi(2);
    report(
        "attention 8x4096x64",
        "the linear layer per flop",
        (ours, linear_ms * attention_flop / linear_flop),
    );
}

async fn convolution_kernel(device: &Device) {
    let (c, side) = (64, 64);
    let (x, weight) = (
        random([1, c, side, side], device),
        random([c, c, 3, 3], device),
    );
    let fast = || gpu::conv2d(x.clone(), weight.clone(), None, 1, [1; 4]);
    let slow = || gpu::conv2d_reference(x.clone(), weight.clone(), None, 1, [1; 4]);
    report("conv2d 64x64x64 3x3", "burn", race(1, fast, slow).await);
}

/// Benchmarks fused kernels against the same computation in separate operations.
#[wasm_bindgen_test]
async fn fused_passes() {
    let device = webgpu().await;
    let (n, h, d) = (1024, 8, 64);
    let width = h * d;
    let x = random([1, n, width], &device);
    let by = Modulation {
        clean: random([1, 1, 6 * width], &device),
        noise: random([1, 1, 6 * width], &device),
        n_clean: n / 2,
    };
    let fused = || gpu::modulated(x.clone(), &by, Branch::Attention, 1e-6);
    let plain = || gpu::modulated_reference(x.clone(), &by, Branch::Attention, 1e-6);
    let times = race(ROUNDS, fused, plain).await;
    report("norm and modulation 1024x512", "burn", times);

    let weight = random([4 * width, width], &device);
    let bias = Some(random([4 * width], &device));
    let layer = |activation| gpu::linear(x.clone(), weight.clone(), bias.clone(), activation);
    let apart = || gelu(layer(Activation::None));
    let times = race(ROUNDS, || layer(Activation::Gelu), apart).await;
    report(
        "linear and GELU 1024x512x2048",
        "our linear, burn's GELU",
        times,
    );
    rotation([n, h, d], &device).await;
}

/// Benchmarks the norm and rotation of queries and keys: `n` tokens, `h` heads of dimension `d`.
async fn rotation([n, h, d]: [usize; 3], device: &Device) {
    let width = h * d;
    let positions: Vec<[f32; 3]> = (0..n)
        .map(|i| [1.0, (i / 32) as f32, (i % 32) as f32])
        .collect();
    let rope = Rope::new(&positions, [16, 24, 24], 100.0, device);
    let qkv = random([1, n, 3 * width], device);
    let norm = random([d], device);
    let fused = || {
        let heads = gpu::rotated(&qkv, h, [&norm, &norm], rope.tables(), 1e-6);
        // The last one launched.
        heads
            .expect("a shader")
            .into_iter()
            .next_back()
            .expect("three")
    };
    let plain = || {
        let heads = qkv
            .clone()
            .reshape([1, n, 3, h, d])
            .permute([2, 0, 3, 1, 4]);
        let select = |i| heads.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
        let rotated_pairs = |x: Tensor<4>| {
            let size = (x.clone().square().mean_dim(3) + 1e-6).sqrt();
            rope.rotate(x / size * norm.clone().unsqueeze())
        };
        // Computes all three; one value of the sum is read.
        rotated_pairs(select(0)) + rotated_pairs(select(1)) + select(2)
    };
    let times = race(ROUNDS, fused, plain).await;
    report(
        "norm and rotation of queries and keys 8x1024x64",
        "burn",
        times,
    );
}

/// A network with the inputs of one evaluation.
struct Step {
    model: Model,
    patch: usize,
    device: Device,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Step {
    async fn load(case: &str, pack: &str, attention: Attention, device: Device) -> Self {
        let source = Http::new(
            &format!("{HOST}{case}/{pack}/"),
            None,
            RetryPolicy::default(),
        );
        let (mut plan, _) = source.plan().await.expect("a pack");
        plan.config.transformer.attention = attention;
        let model = plan
            .load(&source, &device, &mut |_| ())
            .await
            .expect("weights");
        let file = bytes(&format!("{case}/step.safetensors"))
            .await
            .expect("served");
        let file = Uint8Array::from(file).to_vec();
        let tensors = SafeTensors::deserialize(&file).expect("safetensors");
        let tensors = tensors.iter().map(|(name, view)| {
            let values = view.data().chunks_exact(4);
            let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            (name.to_owned(), view.shape().to_vec(), values.collect())
        });
        let tensors = tensors.collect();
        Step {
            model,
            patch: plan.config.transformer.patch_size,
            device,
            tensors,
        }
    }

    fn named(&self, name: &str) -> &(String, Vec<usize>, Vec<f32>) {
        let found = self.tensors.iter().find(|tensor| tensor.0 == name);
        found.expect("export.py writes all of them")
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (_, shape, values) = self.named(name);
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), &self.device)
    }

    /// Computes the velocity without a KV cache: text and input tokens are recomputed, as in the peer's graph.
    fn velocity(&self) -> Tensor<4> {
        let (text, inputs, grid) = self.arguments();
        let sequence = self.model.transformer.sequence(&text, &inputs, &[grid]);
        self.forward(&sequence)
    }

    /// Returns the inputs other than the noise.
    fn arguments(&self) -> (TextStates, [InputFrame; 1], Grid) {
        let states = self.tensor::<3>("text");
        let [b, n, _] = states.dims();
        let mask = self.tensor::<2>("mask");
        let text = TextStates {
            states,
            image_refs: Tensor::zeros([b, n], &self.device),
            mask: (b > 1).then_some(mask),
        };
        let inputs = [InputFrame {
            latent: self.tensor("source"),
            role: Role::Canvas,
        }];
        let grid = Grid::of(&self.tensor("noise"), self.patch);
        (text, inputs, grid)
    }

    fn forward(&self, sequence: &Sequence) -> Tensor<4> {
        let noise = self.tensor::<4>("noise");
        let network = &self.model.transformer;
        network
            .forward(sequence, &[noise], self.tensor("t"))
            .remove(0)
    }

    /// Returns the inputs for the peer.
    fn inputs(&self) -> Object {
        let all = Object::new();
        for (name, shape, values) in &self.tensors {
            let shape: js_sys::Array = shape
                .iter()
                .map(|&side| JsValue::from(side as u32))
                .collect();
            let tensor = Object::new();
            let set = |key: &str, value: &JsValue| {
                Reflect::set(&tensor, &key.into(), value).expect("a plain object");
            };
            set("shape", &shape);
            set("values", &Float32Array::from(&values[..]));
            Reflect::set(&all, &JsString::from(name.as_str()), &tensor).expect("a plain object");
        }
        all
    }

    /// Returns the maximum absolute difference from torch's velocity, relative to its maximum absolute value.
    fn error(&self, found: &[f32]) -> f32 {
        let (.., expected) = self.named("velocity");
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        let pairs = std::iter::zip(found, expected);
        pairs.fold(0f32, |max, (a, b)| max.max((a - b).abs())) / largest
    }

    async fn ours(&self) -> (f64, Vec<f32>) {
        let start = now();
        let data = self.velocity().into_data_async().await.expect("readable");
        let taken = now() - start;
        (taken, data.iter::<f32>().collect())
    }
}

/// Alternates our evaluation with the peer's for each variant of its graph, and reports the variant in which the peer is
/// fastest. A machine's speed drifts over minutes, so times are compared within a round.
async fn against_onnxruntime(case: &Case, pack: &str, bound: f32, on: Device, provider: &str) {
    let step = Step::load(&case.name, pack, Attention::Full, on).await;
    let (_, found) = step.ours().await;
    let error = step.error(&found);
    assert!(
        error < bound,
        "{} {pack}: ours {error} from torch, expected below {bound}",
        case.name
    );
    let inputs = step.inputs();
    let mut best: Option<(f64, f64)> = None;
    for onnx in &case.onnx {
        let path = format!("{}/{onnx}", case.name);
        let session = match open(provider, &path, &inputs).await {
            Ok(session) => session,
            Err(reason) => {
                console_log!("{path} on {provider}: {reason:?}");
                continue;
            }
        };
        let (ours, theirs) = rounds(&step, &session, &format!("{path} on {provider}")).await;
        close(&session).await.ok();
        if theirs.is_empty() {
            continue;
        }
        let ratios = std::iter::zip(&ours, &theirs).map(|(ours, theirs)| theirs / ours);
        let (ratio, ours, theirs) = (median(ratios.collect()), median(ours), median(theirs));
        console_log!(
            "{path} on {provider}: {theirs:.0} ms, ours {ours:.0} ms, {ratio:.2} times as fast"
        );
        if best.is_none_or(|(ours, theirs)| ratio < theirs / ours) {
            best = Some((ours, ours * ratio));
        }
    }
    let times = best.expect("a graph that runs");
    report(
        &format!("{} {pack}", case.name),
        &format!("onnxruntime-web {provider}"),
        times,
    );
}

/// Alternates the peer's evaluation with ours, and returns the milliseconds of ours and of theirs in every round but the first,
/// which compiles. Ends early if the peer fails.
async fn rounds(step: &Step, session: &JsValue, peer: &str) -> (Vec<f64>, Vec<f64>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut rounds = ROUNDS;
    for round in 0.. {
        if round > rounds {
            break;
        }
        let start = now();
        let found = match run(session).await {
            Ok(found) => Float32Array::from(found).to_vec(),
            Err(reason) => {
                console_log!("{peer}: {reason:?}");
                break;
            }
        };
        let peer_ms = now() - start;
        let error = step.error(&found);
        assert!(
            error < 1e-3,
            "{peer}: {error} from torch, expected below 1e-3"
        );
        let (own_ms, _) = step.ours().await;
        if round > 0 {
            ours.push(own_ms);
            theirs.push(peer_ms);
        } else if peer_ms > 1e4 {
            // For evaluations above ten seconds, two more rounds suffice.
            rounds = 2;
        }
    }
    (ours, theirs)
}

async fn cases() -> Vec<Case> {
    let json = bytes("cases.json")
        .await
        .expect("scripts/bench serves the cases");
    serde_json::from_slice(&Uint8Array::from(json).to_vec()).expect("cases")
}

#[wasm_bindgen_test]
async fn transformer_on_webgpu() {
    let device = webgpu().await;
    for case in cases().await {
        against_onnxruntime(&case, "f32", 1e-4, device.clone(), "webgpu").await;
        // q8 changes the velocity itself; the pack's own test bounds by how much.
        against_onnxruntime(&case, "q8", 0.1, device.clone(), "webgpu").await;
    }
}

#[wasm_bindgen_test]
async fn transformer_on_the_cpu() {
    for case in cases().await {
        against_onnxruntime(&case, "f32", 1e-4, Device::flex(), "wasm").await;
    }
}

/// Benchmarks a step with a KV cache of the clean tokens against one that recomputes them.
async fn kv_cache(on: Device, name: &str) {
    for (attention, what) in [
        (Attention::InputsApart, "KV cache of the input"),
        (Attention::CleanApart, "KV cache of text and input"),
    ] {
        let step = Step::load("block", "f32", attention, on.clone()).await;
        let (text, inputs, grid) = step.arguments();
        let network = &step.model.transformer;
        let whole = network.sequence(&text, &inputs, &[grid]);
        let prepared = network.prepare(&text, &inputs, &[grid]);
        let difference = (step.forward(&whole) - step.forward(&prepared)).abs().max();
        let difference = difference.into_data_async().await.expect("readable");
        let difference = difference.iter::<f32>().next().expect("a number");
        assert!(difference < 1e-4, "{what} on {name}: {difference} apart");
        let times = race(ROUNDS, || step.forward(&prepared), || step.forward(&whole)).await;
        report(&format!("block {name}, {what}"), "no KV cache", times);
    }
}

#[wasm_bindgen_test]
async fn kv_cache_on_both_devices() {
    kv_cache(webgpu().await, "WebGPU").await;
    kv_cache(Device::flex(), "CPU").await;
}
