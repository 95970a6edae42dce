//! The API that `www/worker.js` calls: a model in this worker. Errors are thrown as a plain `{ code, message }` with
//! the codes of [`Error::code`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

use js_sys::{Array, Function, Promise};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};
use web_sys::AbortSignal;

use super::cache::Cache;
use super::fetch::{Http, RetryPolicy};
use super::js::{message, now, object, plain, property, thrown};
use super::memory_check;
use super::report::{Clock, Report};
use super::request::{image_array, parse};
use super::tuned;
use super::wait::{or_abort, turn};
use crate::error::{Error, Result};
use crate::gpu;
use crate::gpu::device::{Choice, Opened};
use crate::pipeline::{Event, Pipeline};
use crate::weights::load::Plan;
use crate::weights::memory::Needs;
use crate::weights::quant::Encoding;

/// A loaded model.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Engine {
    loaded: Rc<Loaded>,
}

/// The state that a running call keeps alive when the page frees its engine.
#[derive(Debug)]
struct Loaded {
    pipeline: Pipeline,
    info: Info,
    busy: Cell<bool>,
    /// Settles when the matrix tiles are tuned for the device. Tuning runs after the load, while the user writes a
    /// prompt.
    tuned: Promise,
}

/// `ModelInfo` of `unireal.d.ts`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    name: String,
    device: &'static str,
    adapter: String,
    note: Option<String>,
    sample_size: usize,
    steps: usize,
    guidance: f64,
    bytes: u64,
}

/// `Support` of `unireal.d.ts`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Support {
    ok: bool,
    name: String,
    bytes: u64,
    cached_bytes: u64,
    sample_size: usize,
    steps: usize,
    guidance: f64,
    components: BTreeMap<String, Component>,
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct Component {
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    #[serde(flatten)]
    needs: Needs,
    /// Size in bytes of the adapter's largest buffer; `None` without an adapter.
    limit: Option<u64>,
}

#[wasm_bindgen]
impl Engine {
    /// Returns what loading the pack at `url` on `device` needs, from its descriptions alone: `Support` of
    /// `unireal.d.ts`. `cache_path` is the folder of the pack's cached files, or null.
    ///
    /// # Errors
    /// `network` or `format` when the address holds no pack.
    pub async fn check(
        url: JsValue,
        device: JsValue,
        cache_path: JsValue,
    ) -> std::result::Result<JsValue, JsValue> {
        let check = check(&url, &device, cache_path.as_string());
        check.await.map_err(thrown)
    }

    /// Loads the pack at `url`. `options` is `{ device: "auto" | "webgpu" | "cpu", cache: "opfs" | "none",
    /// cachePath }`, the last as in [`Engine::check`]. `on_progress` is called with `{ stage: "download", loaded, total, cached }`.
    ///
    /// # Errors
    /// Any of [`Error`]'s; `abort` as soon as the signal aborts.
    pub async fn open(
        url: JsValue,
        options: JsValue,
        on_progress: JsValue,
        signal: JsValue,
    ) -> std::result::Result<Engine, JsValue> {
        let signal: Option<AbortSignal> = signal.dyn_into().ok();
        let on_progress: Option<Function> = on_progress.dyn_into().ok();
        let opened = or_abort(signal.as_ref(), open(&url, &options, on_progress)).await;
        opened.map_err(thrown)
    }

    /// Returns `ModelInfo` of `unireal.d.ts`.
    ///
    /// # Errors
    /// None are expected.
    pub fn info(&self) -> std::result::Result<JsValue, JsValue> {
        plain(&self.loaded.info).map_err(thrown)
    }

    /// Returns whether the shader with this text may be used again. False if it only served to measure tiles.
    #[wasm_bindgen(js_name = usesShader)]
    pub fn uses_shader(text: &str) -> bool {
        gpu::in_use(text)
    }

    /// Runs a request (see [`super::request::parse`] for its fields) and resolves to `{ images: [{ width, height, data
    /// }], seed, timings }`, with images in RGBA and times in milliseconds. After each sampler step, `on_step` is
    /// called with `{ step, steps, preview }`, and the promise that it returns is awaited.
    ///
    /// # Errors
    /// The promise rejects with `busy` while another request runs, with `request` for an invalid request, and with
    /// `abort` as soon as the signal aborts.
    #[wasm_bindgen(unchecked_return_type = "Promise<any>")]
    pub fn generate(&self, request: JsValue, on_step: JsValue, signal: JsValue) -> Promise {
        // Returns a promise over a clone of the state. An async method would borrow the engine until it ends, and
        // freeing the engine meanwhile would panic.
        let loaded = self.loaded.clone();
        future_to_promise(async move {
            let signal: Option<AbortSignal> = signal.dyn_into().ok();
            let on_step: Option<Function> = on_step.dyn_into().ok();
            let _turn = Running::begin(&loaded.busy).map_err(thrown)?;
            let request = parse(&request).map_err(thrown)?;
            let run = async {
                // Tuning cannot fail: if no tiles were measured, the device uses the default ones.
                let _ = JsFuture::from(loaded.tuned.clone()).await;
                generate(&loaded.pipeline, request, on_step).await
            };
            or_abort(signal.as_ref(), run).await.map_err(thrown)
        })
    }
}

/// Marks the engine as busy while a request runs, and clears the mark on drop.
struct Running<'a>(&'a Cell<bool>);

impl<'a> Running<'a> {
    fn begin(busy: &'a Cell<bool>) -> Result<Self> {
        if busy.replace(true) {
            Err(Error::Busy)
        } else {
            Ok(Running(busy))
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Returns an option's text.
fn text(name: &str, value: &JsValue) -> Result<String> {
    let wrong = || Error::Request(format!("{name} is {value:?}, expected a text"));
    value.as_string().ok_or_else(wrong)
}

fn address(url: &JsValue) -> Result<String> {
    url.as_string()
        .filter(|url| !url.is_empty())
        .ok_or_else(|| {
            Error::Request(format!(
                "url is {url:?}, expected the address of a pack's folder"
            ))
        })
}

async fn check(url: &JsValue, device: &JsValue, cache_path: Option<String>) -> Result<JsValue> {
    let (url, choice) = (address(url)?, text("device", device)?.parse()?);
    let cache = match cache_path {
        Some(path) => Cache::find(&path).await,
        None => None,
    };
    let source = Http::new(&url, cache, RetryPolicy::default());
    let (plan, _) = source.plan().await?;
    let components = plan.manifests.iter().map(|manifest| {
        let bytes = manifest.bytes();
        (manifest.component.clone(), Component { bytes })
    });
    let (needs, limit) = (plan.needs(), memory_check::largest_buffer().await);
    let problem = memory_check::problem(choice, needs, limit);
    plain(&Support {
        ok: problem.is_none(),
        name: plan.config.index.name.clone(),
        bytes: plan.bytes(),
        cached_bytes: source.cached_bytes(&plan),
        sample_size: plan.config.index.sample_size,
        steps: plan.config.index.num_inference_steps,
        guidance: plan.config.index.guidance_scale,
        components: components.collect(),
        memory: Memory { needs, limit },
        code: problem.as_ref().map(Error::code),
        message: problem.as_ref().map(Error::to_string),
    })
}

async fn open(url: &JsValue, options: &JsValue, on_progress: Option<Function>) -> Result<Engine> {
    let url = address(url)?;
    let choice: Choice = option(options, "device", "auto")?.parse()?;
    let (cache, no_cache) = open_cache(options).await?;
    let remember = cache.is_some();
    let source = Http::new(&url, cache, RetryPolicy::default());
    let (plan, from_cache) = source.plan().await?;
    let report = Report::new(on_progress);
    // A cached plan may be of a version that the host no longer has, or not fit this version of the engine. If loading
    // it fails because a shard is missing or differs, or the format is wrong, read the descriptions from the host and
    // try once more.
    let loaded = match load(plan, &source, choice, &report).await {
        Err(Error::Integrity { .. } | Error::Network { .. } | Error::Format { .. })
            if from_cache =>
        {
            load(source.read_anew().await?, &source, choice, &report).await
        }
        result => result,
    };
    let LoadedPipeline {
        opened,
        pipeline,
        bytes,
        quantized,
    } = loaded?;
    let notes = [
        opened.note.clone(),
        no_cache,
        source.note().map(str::to_owned),
    ];
    let notes: Vec<String> = notes.into_iter().flatten().collect();
    let info = Info {
        name: pipeline.config.index.name.clone(),
        device: opened.kind,
        adapter: opened.adapter.clone(),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
        sample_size: pipeline.config.index.sample_size,
        steps: pipeline.config.index.num_inference_steps,
        guidance: pipeline.config.index.guidance_scale,
        bytes,
    };
    let tuned = future_to_promise(async move {
        tuned::tune(&opened, &quantized, remember).await;
        Ok(JsValue::UNDEFINED)
    });
    let busy = Cell::new(false);
    Ok(Engine {
        loaded: Rc::new(Loaded {
            pipeline,
            info,
            busy,
            tuned,
        }),
    })
}

/// Returns a text option.
fn option(options: &JsValue, name: &str, default: &str) -> Result<String> {
    let value = property(options, name);
    if value.is_undefined() || value.is_null() {
        Ok(default.to_owned())
    } else {
        text(name, &value)
    }
}

/// Opens the cache that the options ask for; without one, may return a message for the user.
async fn open_cache(options: &JsValue) -> Result<(Option<Cache>, Option<String>)> {
    match option(options, "cache", "opfs")?.as_str() {
        "none" => Ok((None, None)),
        "opfs" => {
            let path = property(options, "cachePath").as_string();
            Ok(match Cache::open(path.as_deref()).await {
                Ok(cache) => (Some(cache), None),
                Err(reason) => (None, Some(reason)),
            })
        }
        other => Err(Error::Request(format!(
            "unknown cache \"{other}\", expected opfs or none"
        ))),
    }
}

/// A loaded pipeline and its device.
struct LoadedPipeline {
    opened: Opened,
    pipeline: Pipeline,
    /// Total size of the plan's shards in bytes.
    bytes: u64,
    quantized: Vec<Encoding>,
}

/// Loads a plan onto a device that has enough memory for it.
async fn load(
    plan: Plan,
    source: &Http,
    choice: Choice,
    report: &Report,
) -> Result<LoadedPipeline> {
    let opened = memory_check::open_device(choice, &plan).await?;
    if opened.kind == "cpu"
        && let Some(problem) = memory_check::cpu_problem(plan.needs())
    {
        return Err(problem);
    }
    let (bytes, quantized) = (plan.bytes(), plan.encodings().quantized());
    let shards: Vec<_> = plan.shards().cloned().collect();
    let mut on_progress = |progress| report.add(progress);
    let pipeline = Pipeline::load(plan, source, opened.clone(), &mut on_progress).await?;
    source.complete(&shards).await;
    Ok(LoadedPipeline {
        opened,
        pipeline,
        bytes,
        quantized,
    })
}

async fn generate(
    pipeline: &Pipeline,
    request: crate::request::Request,
    on_step: Option<Function>,
) -> Result<JsValue> {
    let (start, clock) = (now(), Clock::default());
    let failure = RefCell::new(None);
    // Every event yields to the event loop, so that an abort is noticed.
    let images = pipeline.generate_with(&request, async |event| match event {
        Event::Stage(stage) => {
            turn().await;
            clock.begin(stage);
            ControlFlow::Continue(())
        }
        Event::Step {
            step,
            steps,
            preview,
        } => {
            let preview = preview.map_or(JsValue::NULL, |images| image_array(&images));
            match call(on_step.as_ref(), step, steps, preview).await {
                Ok(()) => ControlFlow::Continue(()),
                Err(thrown) => {
                    failure.replace(Some(thrown));
                    ControlFlow::Break(())
                }
            }
        }
    });
    let images = images.await;
    if let Some(thrown) = failure.take() {
        let reason = message(&thrown);
        return Err(Error::Internal(format!("onStep failed: {reason}")));
    }
    let images: Array = image_array(&images?).unchecked_into();
    Ok(object(&[
        ("images", images.into()),
        ("seed", (request.seed as f64).into()),
        ("timings", clock.timings(start)),
    ])
    .into())
}

/// Calls `onStep` and awaits what it returns; without a callback, yields to the event loop.
async fn call(
    on_step: Option<&Function>,
    step: usize,
    steps: usize,
    preview: JsValue,
) -> std::result::Result<(), JsValue> {
    let Some(on_step) = on_step else {
        turn().await;
        return Ok(());
    };
    let event = object(&[
        ("step", (step as f64).into()),
        ("steps", (steps as f64).into()),
        ("preview", preview),
    ]);
    let returned = on_step.call1(&JsValue::NULL, &event)?;
    JsFuture::from(Promise::resolve(&returned)).await?;
    Ok(())
}
