//! Runs the shader tests in a browser's worker.

use super::shaders;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

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
