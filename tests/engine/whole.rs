//! The whole engine on the CPU, with a small pack of random weights.

use js_sys::{Array, Function, Uint8Array};
use unireal::internals::web::engine::Engine;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::*;

use super::support::*;

const NONE: JsValue = JsValue::UNDEFINED;

/// Returns options as www/worker.js passes them.
fn options_of(url: &str, options: &str) -> JsValue {
    run(&format!(
        "{{ cachePath: '{}', ...{options} }}",
        cache_path(url)
    ))
}

async fn open(url: &str, options: &str) -> Result<Engine, JsValue> {
    Engine::open(url.into(), options_of(url, options), NONE, NONE).await
}

async fn generate(engine: &Engine, request: &str, on_step: JsValue) -> Result<JsValue, JsValue> {
    JsFuture::from(engine.generate(run(request), on_step, NONE)).await
}

const EDIT: &str = r#"{
    prompt: "remove the red cube", steps: 3, seed: 5, previewEvery: 2,
    images: [{ width: 64, height: 64, data: new Uint8Array(64 * 64 * 4).fill(200), role: "canvas" }],
}"#;

#[wasm_bindgen_test]
async fn from_an_address_to_images_and_again_from_the_cache() {
    wipe().await;
    let shards = put_pack("/whole/", "random");
    let bytes: u64 = shards.iter().map(|shard| shard.length).sum();
    let support = Engine::check(
        "/whole/".into(),
        "auto".into(),
        cache_path("/whole/").into(),
    )
    .await
    .unwrap();
    assert_eq!(get(&support, "ok"), JsValue::TRUE);
    assert_eq!(get(&support, "name"), JsValue::from("random"));
    assert_eq!(number(&support, "bytes"), bytes as f64);
    assert_eq!(number(&support, "cachedBytes"), 0.0);
    let memory = get(&support, "memory");
    let weights = number(&memory, "weights");
    assert!((bytes as f64..=2.0 * bytes as f64).contains(&weights));
    assert!(number(&memory, "activations") > 0.0);
    // The test browser has an adapter whose largest buffer far exceeds this pack.
    assert!(number(&memory, "largest") < weights && weights < number(&memory, "limit"));
    assert_eq!(number(&support, "sampleSize"), 64.0);
    assert_eq!(
        number(&support, "components.vae.bytes"),
        shards[2].length as f64
    );
    assert!(get(&support, "code").is_undefined());
    assert_eq!(kept().await, [] as [String; 0], "a check keeps nothing");

    let events = run("(globalThis.events = [], (event) => { events.push(event); })");
    let options = options_of("/whole/", "{ device: 'cpu', cache: 'opfs' }");
    let engine = Engine::open("/whole/".into(), options, events, NONE)
        .await
        .unwrap();
    let info = engine.info().unwrap();
    assert_eq!(get(&info, "device"), JsValue::from("cpu"));
    assert_eq!(get(&info, "note"), JsValue::NULL);
    assert_eq!(number(&info, "bytes"), bytes as f64);
    assert_eq!(number(&info, "sampleSize"), 64.0);
    let last = run("events.at(-1)");
    assert_eq!(get(&last, "stage"), JsValue::from("download"));
    assert_eq!(number(&last, "loaded"), bytes as f64);
    assert_eq!(number(&last, "total"), bytes as f64);
    assert_eq!(get(&last, "cached"), JsValue::FALSE);

    let steps = run("(globalThis.steps = [], async (event) => { steps.push(event); })");
    let first = generate(&engine, EDIT, steps).await.unwrap();
    assert_eq!(number(&first, "seed"), 5.0);
    assert_eq!(
        run("steps.map(({ step }) => step).join()"),
        JsValue::from("1,2,3")
    );
    assert_eq!(
        run("steps.map(({ preview }) => preview?.[0].data.length ?? 0).join()"),
        JsValue::from("0,16384,0")
    );
    let parts: f64 = ["text", "encode", "sample", "decode"]
        .map(|stage| number(&first, &format!("timings.{stage}")))
        .iter()
        .sum();
    let total = number(&first, "timings.total");
    assert!(parts > 0.0 && parts <= total, "{parts} ms of {total} ms");
    let image = get(&first, "images.0");
    assert_eq!(
        (number(&image, "width"), number(&image, "height")),
        (64.0, 64.0)
    );

    // From the cache: no request, the same pixels, and `check` reports that everything is cached.
    let before = requests("/whole/").len();
    take_down("/whole/");
    let events = run("(globalThis.events = [], (event) => { events.push(event); })");
    let options = options_of("/whole/", "{ device: 'cpu' }");
    let again = Engine::open("/whole/".into(), options, events, NONE)
        .await
        .unwrap();
    assert_eq!(run("events.every(({ cached }) => cached)"), JsValue::TRUE);
    let support = Engine::check(
        "/whole/".into(),
        "auto".into(),
        cache_path("/whole/").into(),
    )
    .await
    .unwrap();
    assert_eq!(number(&support, "cachedBytes"), bytes as f64);
    let second = generate(&again, EDIT, NONE).await.unwrap();
    assert_eq!(requests("/whole/").len(), before);
    let pixels = |result: &JsValue| {
        let data: Uint8Array = get(result, "images.0.data").unchecked_into();
        data.to_vec()
    };
    assert_eq!(pixels(&first), pixels(&second));

    // A damaged shard of a pack that is no longer on the server is an error.
    damage(&shards[1].sha256, 5_000, false).await;
    let (code, _) = thrown(&open("/whole/", "{ device: 'cpu' }").await.unwrap_err());
    assert_eq!(code, "network");
    // Without a private file system the model loads and says that it is not cached.
    put_pack("/whole/", "random");
    let engine = Engine::open("/whole/".into(), run("{ device: 'cpu' }"), NONE, NONE).await;
    let note = get(&engine.unwrap().info().unwrap(), "note")
        .as_string()
        .unwrap();
    assert!(note.contains("no private file system"), "{note}");
}

#[wasm_bindgen_test]
async fn a_pack_that_changed_on_its_host_is_loaded_whole_and_new() {
    wipe().await;
    let old = put_pack("/changed/", "old");
    open("/changed/", "{ device: 'cpu' }").await.unwrap();
    put_pack("/changed/", "new");
    damage(&old[2].sha256, 5_000, false).await;
    let engine = open("/changed/", "{ device: 'cpu' }").await.unwrap();
    assert_eq!(get(&engine.info().unwrap(), "name"), JsValue::from("new"));
    generate(&engine, EDIT, NONE).await.unwrap();
}

#[wasm_bindgen_test]
async fn a_damaged_cache_heals() {
    wipe().await;
    let shards = put_pack("/heal/", "random");
    open("/heal/", "{ device: 'cpu' }").await.unwrap();
    let before = requests("/heal/").len();
    damage(&shards[0].sha256, 5_000, false).await;
    open("/heal/", "{ device: 'cpu' }").await.unwrap();
    let seen = requests("/heal/");
    assert_eq!(seen.len(), before + 1);
    assert_eq!(seen[before].path, shards[0].path);
    open("/heal/", "{ device: 'cpu' }").await.unwrap();
    assert_eq!(requests("/heal/").len(), before + 1);
}

#[wasm_bindgen_test]
async fn no_room_and_no_cache_still_load() {
    wipe().await;
    put_pack("/roomless/", "random");
    full(true);
    let engine = open("/roomless/", "{ device: 'cpu' }").await;
    full(false);
    let note = get(&engine.unwrap().info().unwrap(), "note");
    assert!(note.as_string().unwrap().contains("storage is full"));
    let engine = open("/roomless/", "{ device: 'cpu', cache: 'none' }")
        .await
        .unwrap();
    assert_eq!(get(&engine.info().unwrap(), "note"), JsValue::NULL);
    assert_eq!(kept().await, [] as [String; 0]);
}

#[wasm_bindgen_test]
async fn what_cannot_be_opened_says_why() {
    let failure = async |url: JsValue, options: &str| {
        let opened = Engine::open(url, run(options), NONE, NONE).await;
        thrown(&opened.unwrap_err())
    };
    for (url, options, code, expected) in [
        (
            JsValue::from("/nothing-here/"),
            "{ cache: 'none' }",
            "network",
            "404",
        ),
        (JsValue::from(5), "{}", "request", "url"),
        (JsValue::from(""), "{}", "request", "url"),
        (JsValue::from("/x/"), "{ device: 'npu' }", "request", "npu"),
        (JsValue::from("/x/"), "{ device: 7 }", "request", "device"),
        (JsValue::from("/x/"), "{ cache: 'disk' }", "request", "disk"),
    ] {
        let (found, message) = failure(url, options).await;
        assert_eq!(found, code, "{options}: {message}");
        assert!(message.contains(expected), "{options}: {message}");
    }
    let (code, message) = thrown(
        &Engine::check("/nothing-here/".into(), "auto".into(), JsValue::NULL)
            .await
            .unwrap_err(),
    );
    assert_eq!(code, "network", "{message}");
}

#[wasm_bindgen_test]
async fn one_request_at_a_time_and_none_after_an_abort_is_stuck() {
    wipe().await;
    put_pack("/busy/", "random");
    let engine = open("/busy/", "{ device: 'cpu', cache: 'none' }")
        .await
        .unwrap();
    let first = engine.generate(run(EDIT), NONE, NONE);
    let second = thrown(&generate(&engine, EDIT, NONE).await.unwrap_err());
    assert_eq!(second.0, "busy");
    JsFuture::from(first).await.unwrap();

    // Aborted within a step: there is no next step.
    let controller = run("globalThis.stop = new AbortController()");
    let on_step =
        run("(globalThis.steps = [], async ({ step }) => { steps.push(step); stop.abort(); })");
    let run_aborted = engine.generate(run(EDIT), on_step, get(&controller, "signal"));
    let error = JsFuture::from(run_aborted).await.unwrap_err();
    assert_eq!(thrown(&error).0, "abort");
    assert_eq!(run("steps.join()"), JsValue::from("1"));
    // Aborted before it starts.
    let late = engine.generate(run(EDIT), NONE, get(&controller, "signal"));
    assert_eq!(thrown(&JsFuture::from(late).await.unwrap_err()).0, "abort");

    let bad = generate(&engine, "{ prompt: 'the cube of IMG3' }", NONE).await;
    let (code, message) = thrown(&bad.unwrap_err());
    assert_eq!(code, "request");
    assert!(message.contains("IMG3"), "{message}");
    let thrower: Function = run("() => { throw new Error('mine'); }").unchecked_into();
    let (code, message) = thrown(&generate(&engine, EDIT, thrower.into()).await.unwrap_err());
    assert_eq!(code, "internal");
    assert!(message.contains("mine"), "{message}");

    // A request completes after its engine is dropped.
    let last = engine.generate(run(EDIT), NONE, NONE);
    drop(engine);
    let images: Array = get(&JsFuture::from(last).await.unwrap(), "images").unchecked_into();
    assert_eq!(images.length(), 1);
}

#[wasm_bindgen_test]
async fn a_load_can_be_aborted_while_its_host_is_silent() {
    script("/silent/");
    answer("/silent/", 200, "{}", b"{", "stall");
    let start = js_sys::Date::now();
    let signal = abort_after(50);
    let options = run("{ device: 'cpu', cache: 'none' }");
    let opened = Engine::open("/silent/".into(), options, NONE, signal.into()).await;
    assert_eq!(thrown(&opened.unwrap_err()).0, "abort");
    assert!(js_sys::Date::now() - start < 1000.0);
    assert!(requests("/silent/")[0].aborted);
}
