//! Runs the shader tests in a browser's worker.

use super::shaders;
use unireal::Result;
use unireal::internals::gpu::device::{Choice, Opened};
use unireal::internals::web;
use unireal::internals::weights::quant::Encoding;
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[wasm_bindgen(module = "/www/subgroups.js")]
extern "C" {
    #[wasm_bindgen(js_name = requestSubgroups)]
    fn request_subgroups();
}

/// Opens a device as the page's worker does.
pub(super) async fn open(choice: Choice, quantized: &[Encoding]) -> Result<Opened> {
    request_subgroups();
    web::gpu::open(choice, quantized).await
}

pub(super) fn tell(text: String) {
    console_log!("{text}");
}

/// Returns the time in milliseconds, as a seed.
pub(super) fn now() -> u64 {
    js_sys::Date::now() as u64
}

macro_rules! test {
    ($($name:ident)*) => {
        $(
            #[wasm_bindgen_test]
            async fn $name() {
                shaders::$name().await;
            }
        )*
    };
}

shaders!(test);
