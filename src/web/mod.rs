//! The browser backend: the only code that uses JavaScript.
//!
//! - [`engine`]: the API that `www/worker.js` calls
//! - [`fetch`]: downloads a pack, with `server` for its HTTP requests
//! - [`cache`]: caches packs in the origin's private file system, with `folder` for its files
//! - `tuned`: remembers the fastest tiles of an adapter
//! - [`gpu`]: opens WebGPU
//! - `memory_check`: tells whether a device can hold a model
//! - [`request`]: parses a request from the page
//! - `report`: reports progress and timings to the page
//! - [`wait`]: timers and cancellation
//! - `js`: hand-written bindings of browser APIs
//!
//! Cancellation works by dropping futures. An abort drops the outermost future ([`wait::or_abort`]), and the `Drop` of
//! what it held closes requests, file handles and timers. No function below the engine checks a signal.

pub mod cache;
pub mod engine;
pub mod fetch;
mod folder;
pub mod gpu;
mod js;
mod memory_check;
mod report;
pub mod request;
mod server;
mod tuned;
pub mod wait;

use wasm_bindgen::prelude::*;

/// Runs once when the module starts: prints the message and location of a panic to the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}
