//! The browser: the only code that knows of JavaScript.
//!
//! [`engine`] is the face that `www/worker.js` calls; [`fetch`] brings a pack's bytes over HTTP and [`cache`] keeps them
//! in the origin's private file system; [`request`] reads what the page asked; [`wait`] is cancellation and time;
//! [`js`] is the little of the browser that these need, declared by hand.
//!
//! Cancellation is dropping: an abort ends the outermost future ([`wait::or_abort`]), and what it held (requests, file
//! handles, timers) is closed by its own `Drop`. No function below the engine looks at a signal.

pub mod cache;
pub mod engine;
pub mod fetch;
pub mod js;
pub mod request;
pub mod wait;

use wasm_bindgen::prelude::*;

/// Runs once when the module starts: a panic then shows its message and place in the console.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
}
