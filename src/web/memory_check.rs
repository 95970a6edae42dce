//! Whether a device has room for a model, told before anything is loaded.

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::js::property;
use crate::error::{Error, Result};
use crate::gpu::device::{self, Choice, Opened};
use crate::weights::load::Plan;
use crate::weights::memory::Needs;

/// Bytes that the CPU has room for: wasm addresses 4 GiB, and a load needs some of it.
const CPU_MEMORY: u64 = 3 << 30;

/// The largest buffer of the browser's WebGPU adapter; `None` when there is no adapter. Opening it is for the load.
pub(super) async fn largest_buffer() -> Option<u64> {
    let gpu = property(&property(&js_sys::global(), "navigator"), "gpu");
    let request: Function = property(&gpu, "requestAdapter").dyn_into().ok()?;
    let promise = Promise::resolve(&request.call0(&gpu).ok()?);
    let adapter = JsFuture::from(promise)
        .await
        .ok()
        .filter(JsValue::is_truthy)?;
    let limits = property(&adapter, "limits");
    let limit = |name| property(&limits, name).as_f64().unwrap_or(f64::MAX);
    let limit = limit("maxBufferSize").min(limit("maxStorageBufferBindingSize"));
    Some(limit as u64)
}

/// Why the pack cannot run on an adapter that gives buffers of so many bytes, if it cannot. How much memory a GPU has in all,
/// browsers do not tell.
pub(super) fn gpu_problem(needs: Needs, limit: u64) -> Option<Error> {
    (needs.largest > limit).then(|| {
        let [needed, available] = [needs.largest, limit].map(|bytes| bytes as f64 / f64::from(1 << 20));
        Error::Memory(format!(
            "a matrix of the model needs {needed:.0} MiB in one piece, this device gives {available:.0} MiB at most"
        ))
    })
}

/// Why the pack cannot run on the CPU, if it cannot.
pub(super) fn cpu_problem(needs: Needs) -> Option<Error> {
    let needed = needs.weights + needs.activations;
    (needed > CPU_MEMORY).then(|| {
        let [needed, available] =
            [needed, CPU_MEMORY].map(|bytes| bytes as f64 / f64::from(1 << 30));
        Error::Memory(format!(
            "the model needs {needed:.1} GiB, and on a CPU there is room for {available:.1} GiB"
        ))
    })
}

/// Why the pack cannot run on what `choice` asks for, where the largest buffer of the GPU is `limit`, if it cannot.
pub(super) fn problem(choice: Choice, needs: Needs, limit: Option<u64>) -> Option<Error> {
    let on_gpu = |limit| gpu_problem(needs, limit);
    match (choice, limit) {
        (Choice::Cpu, _) | (Choice::Auto, None) => cpu_problem(needs),
        // The CPU takes what the GPU cannot.
        (Choice::Auto, Some(limit)) => on_gpu(limit).and(cpu_problem(needs)),
        // Without an adapter, opening it says so.
        (Choice::WebGpu | Choice::WebGpuHalf, limit) => limit.and_then(on_gpu),
    }
}

/// Opens the device that `choice` asks for, on which the plan's model has room. Were a buffer refused in the middle of a load,
/// the module would end.
pub(super) async fn open_device(choice: Choice, plan: &Plan) -> Result<Opened> {
    let quantized = plan.encodings().quantized();
    let limit = match choice {
        Choice::Cpu => None,
        Choice::Auto | Choice::WebGpu | Choice::WebGpuHalf => largest_buffer().await,
    };
    match limit.and_then(|limit| gpu_problem(plan.needs(), limit)) {
        None => device::open(choice, &quantized).await,
        Some(problem) if choice == Choice::Auto => {
            let mut opened = device::open(Choice::Cpu, &quantized).await?;
            opened.note = Some(problem.to_string());
            Ok(opened)
        }
        Some(problem) => Err(problem),
    }
}
