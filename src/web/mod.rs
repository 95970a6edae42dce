//! The browser: the only code that knows of JavaScript.
//!
//! [`engine`] is the face that `www/worker.js` calls; [`fetch`] brings a pack's bytes, with `host` for the requests below it;
//! [`cache`] keeps them in the origin's private file system, with `folder` for the files below it; `tuned` remembers what
//! suits the adapter; `available` tells whether a device can hold a model; [`request`] reads what the page asked and `report` tells it
//! how far things are; [`wait`] is cancellation and time; `js` is the little of the browser that these need, declared by hand.
//!
//! Cancellation is dropping: an abort ends the outermost future ([`wait::or_abort`]), and what it held (requests, file
//! handles, timers) is closed by its own `Drop`. No function below the engine looks at a signal.

pub mod cache;
pub mod engine;
pub mod fetch;
mod folder;
mod host;
mod js;
mod memory_check;
mod report;
pub mod request;
mod tuned;
pub mod wait;

use wasm_bindgen::prelude::*;

/// Runs once when the module starts: a panic then shows its message and place in the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}
