//! Shared helpers: scripted HTTP servers, shards and a small pack with random weights.

use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use unireal::internals::config::Config;
use unireal::internals::model::{Encodings, Model, text, transformer, vae};
use unireal::internals::weights::load::COMPONENTS;
use unireal::internals::weights::manifest::{Manifest, Shard};
use unireal::internals::weights::module::{CpuTensor, collect};
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

#[wasm_bindgen(module = "/tests/engine/host.js")]
extern "C" {
    pub(crate) fn script(prefix: &str);
    pub(crate) fn answer(prefix: &str, status: u16, headers: &str, body: &[u8], then: &str);
    pub(crate) fn put(prefix: &str, path: &str, body: &[u8]);
    #[wasm_bindgen(js_name = remove)]
    pub(crate) fn take_down(prefix: &str);
    #[wasm_bindgen(js_name = requests)]
    fn requests_json(prefix: &str) -> String;
    pub(crate) fn run(source: &str) -> JsValue;
    #[wasm_bindgen(js_name = abortAfter)]
    pub(crate) fn abort_after(milliseconds: u32) -> AbortSignal;
    #[wasm_bindgen(js_name = kept)]
    async fn kept_json() -> JsValue;
    pub(crate) async fn wipe();
    pub(crate) async fn damage(name: &str, at: u32, cut: bool);
    #[wasm_bindgen(js_name = canRename)]
    pub(crate) fn can_rename(can: bool);
    pub(crate) fn full(is: bool);
    pub(crate) async fn hold(name: &str) -> JsValue;
}

/// A request received by a scripted server.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) aborted: bool,
}

pub(crate) fn requests(prefix: &str) -> Vec<Seen> {
    serde_json::from_str(&requests_json(prefix)).unwrap()
}

/// Returns the names of all cached files.
pub(crate) async fn kept() -> Vec<String> {
    serde_json::from_str(&kept_json().await.as_string().unwrap()).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Returns a shard and its bytes, which depend on the seed.
pub(crate) fn shard(seed: u32, length: usize) -> (Shard, Vec<u8>) {
    let bytes: Vec<u8> = (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 13) as u8)
        .collect();
    (describe("transformer/a.safetensors", &bytes), bytes)
}

pub(crate) fn describe(path: &str, bytes: &[u8]) -> Shard {
    Shard {
        path: path.to_owned(),
        length: bytes.len() as u64,
        sha256: hex(&Sha256::digest(bytes)),
    }
}

/// Returns the code and the message of an error thrown by the engine.
pub(crate) fn thrown(error: &JsValue) -> (String, String) {
    let get = |name: &str| {
        let value = js_sys::Reflect::get(error, &name.into()).unwrap();
        value.as_string().unwrap()
    };
    (get("code"), get("message"))
}

pub(crate) fn get(value: &JsValue, path: &str) -> JsValue {
    path.split('.').fold(value.clone(), |value, name| {
        js_sys::Reflect::get(&value, &name.into()).unwrap()
    })
}

pub(crate) fn number(value: &JsValue, path: &str) -> f64 {
    get(value, path).as_f64().unwrap()
}

/// Returns the path of a pack's cached files.
pub(crate) fn cache_path(prefix: &str) -> String {
    format!("unireal/{}", prefix.trim_matches('/'))
}

/// Serves a pack with random weights at `prefix`, with one shard per component; returns all shards.
pub(crate) fn put_pack(prefix: &str, name: &str) -> Vec<Shard> {
    let mut config = Config::preset("tiny").unwrap();
    config.index.name = name.to_owned();
    config.transformer.num_layers = 1;
    let file = |path: &str, value: Value| put(prefix, path, value.to_string().as_bytes());
    file("model_index.json", json!(config.index));
    file("text_encoder/config.json", json!(config.text_encoder));
    file("vae/config.json", json!(config.vae));
    file("transformer/config.json", json!(config.transformer));
    file("scheduler/scheduler_config.json", json!(config.scheduler));
    file("tokenizer/tokenizer.json", tokenizer());
    let model = Model::new(&config, Encodings::FLOAT, &Device::flex());
    let mut tensors = [
        collect(&model.text, text::NAMES).unwrap(),
        collect(&model.transformer, transformer::NAMES).unwrap(),
        collect(&model.vae, vae::NAMES).unwrap(),
    ];
    // Packs of different names have different weights.
    let seed = name
        .bytes()
        .fold(0, |seed, byte| 31 * seed + u64::from(byte));
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    for tensor in tensors.iter_mut().flatten() {
        randomise(tensor, random);
    }
    let mut shards = Vec::new();
    for (component, tensors) in COMPONENTS.iter().zip(tensors) {
        let path = format!("{component}/model.safetensors");
        let bytes = safetensors(&tensors);
        let shard = describe(&path, &bytes);
        put(prefix, &path, &bytes);
        let map: serde_json::Map<String, Value> = tensors
            .iter()
            .map(|t| (t.name.clone(), json!("model.safetensors")))
            .collect();
        file(
            &Manifest::path(component),
            json!({
                "metadata": {
                    "total_size": bytes.len(),
                    "encoding": "f32",
                    "shards": { "model.safetensors": { "length": shard.length, "sha256": shard.sha256 } },
                },
                "weight_map": map,
            }),
        );
        shards.push(shard);
    }
    shards
}

/// Fills a weight matrix or kernel with uniformly distributed values whose spread keeps the size of activations. Norms stay one and
/// biases zero.
fn randomise(tensor: &mut CpuTensor, random: &mut ChaCha8Rng) {
    let fan_in: usize = tensor.shape.iter().skip(1).product();
    if tensor.shape.len() > 1 {
        let bound = (3.0 / fan_in as f32).sqrt();
        tensor
            .values
            .fill_with(|| random.random_range(-bound..bound));
    }
}

fn safetensors(tensors: &[CpuTensor]) -> Vec<u8> {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap();
        (tensor.name.clone(), view)
    });
    serialize(views, None).unwrap()
}

/// Returns a word-level tokenizer.
fn tokenizer() -> Value {
    let names = ["<pad>", "</s>", "<unk>", "remove", "the", "red", "cube"].map(str::to_owned);
    let images = (1..=10).flat_map(|k| [format!("IMG{k}"), format!("RES{k}")]);
    let vocabulary: serde_json::Map<String, Value> = names
        .into_iter()
        .chain(images)
        .zip(0..)
        .map(|(word, id)| (word, json!(id)))
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "SpecialToken": { "id": "</s>", "type_id": 0 } },
            ],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 0 } },
            ],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    })
}
