//! Checks the memory requirements of a model before anything is loaded.

use super::gpu;
use super::js::property;
use crate::error::{Error, Result};
use crate::gpu::device::{Choice, Opened};
use crate::weights::load::Plan;
use crate::weights::memory::Needs;

/// Bytes available to the CPU: wasm addresses 4 GiB, of which loading needs a part.
const CPU_MEMORY: u64 = 3 << 30;

/// Returns the size in bytes of the largest buffer of the browser's WebGPU adapter, or `None` without an adapter. Does
/// not open the device.
pub(super) async fn largest_buffer() -> Option<u64> {
    let adapter = gpu::adapter().await.ok()?;
    let limits = property(&adapter, "limits");
    let limit = |name| property(&limits, name).as_f64().unwrap_or(f64::MAX);
    let limit = limit("maxBufferSize").min(limit("maxStorageBufferBindingSize"));
    Some(limit as u64)
}

/// Returns why the pack cannot run on an adapter whose largest buffer has `limit` bytes, or `None` if it can. Browsers
/// do not tell the total memory of a GPU.
pub(super) fn gpu_problem(needs: Needs, limit: u64) -> Option<Error> {
    (needs.largest > limit).then(|| {
        let [needed, available] = [needs.largest, limit].map(|bytes| bytes as f64 / f64::from(1 << 20));
        Error::Memory(format!(
            "a matrix of the model needs {needed:.0} MiB in one piece, this device gives {available:.0} MiB at most"
        ))
    })
}

/// Returns why the pack cannot run on the CPU, or `None` if it can.
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

/// Returns why the pack cannot run on the device of `choice`, or `None` if it can. `limit` is the GPU's largest buffer.
pub(super) fn problem(choice: Choice, needs: Needs, limit: Option<u64>) -> Option<Error> {
    let on_gpu = |limit| gpu_problem(needs, limit);
    match (choice, limit) {
        (Choice::Cpu, _) | (Choice::Auto, None) => cpu_problem(needs),
        // What exceeds the GPU's limit runs on the CPU.
        (Choice::Auto, Some(limit)) => on_gpu(limit).and(cpu_problem(needs)),
        // Without an adapter, opening the device reports the error.
        (Choice::WebGpu | Choice::WebGpuHalf, limit) => limit.and_then(on_gpu),
    }
}

/// Opens the device of `choice` after checking that the plan's model fits it. A buffer that is refused during a load
/// would abort the module.
pub(super) async fn open_device(choice: Choice, plan: &Plan) -> Result<Opened> {
    let quantized = plan.encodings().quantized();
    let limit = match choice {
        Choice::Cpu => None,
        Choice::Auto | Choice::WebGpu | Choice::WebGpuHalf => largest_buffer().await,
    };
    match limit.and_then(|limit| gpu_problem(plan.needs(), limit)) {
        None => gpu::open(choice, &quantized).await,
        Some(problem) if choice == Choice::Auto => {
            let mut opened = gpu::open(Choice::Cpu, &quantized).await?;
            opened.note = Some(problem.to_string());
            Ok(opened)
        }
        Some(problem) => Err(problem),
    }
}
