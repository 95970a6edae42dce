//! The browser: the only code that knows of JavaScript.
//!
//! [`engine`] is the face that `www/worker.js` calls; [`fetch`] brings a pack's bytes, with `host` for the requests below it;
//! [`cache`] keeps them in the origin's private file system, with `folder` for the files below it; `tuned` remembers what
//! suits the adapter; [`request`] reads what the page asked and `report` tells it how far things are; [`wait`] is cancellation
//! and time; `js` is the little of the browser that these need, declared by hand.
//!
//! Cancellation is dropping: an abort ends the outermost future ([`wait::or_abort`]), and what it held (requests, file
//! handles, timers) is closed by its own `Drop`. No function below the engine looks at a signal.

pub mod cache;
pub mod engine;
pub mod fetch;
mod folder;
mod host;
mod js;
mod report;
pub mod request;
mod tuned;
pub mod wait;

use wasm_bindgen::prelude::*;

unsafe extern "C" {
    /// Made by the linker: runs the constructors of statics, with which burn's compiler registers some hundred operations.
    safe fn __wasm_call_ctors();
}

/// Runs once when the module starts: a panic then shows its message and place in the console.
///
/// Where nothing calls the constructors, the linker has every exported function call them first, so that each object that passes
/// from JavaScript would cost a hundred microseconds (seen in a load's profile, where they took most of its time).
#[wasm_bindgen(start)]
pub fn start() {
    __wasm_call_ctors();
    console_error_panic_hook::set_once();
}
