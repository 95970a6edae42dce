//! Tests the web engine without a page, in a dedicated worker of a real browser. Scripted HTTP servers simulate each failure;
//! files are stored in the browser's origin private file system.
#![cfg(target_arch = "wasm32")]

#[path = "engine/caching.rs"]
mod caching;
#[path = "engine/fetching.rs"]
mod fetching;
#[path = "engine/requests.rs"]
mod requests;
#[path = "engine/support.rs"]
mod support;
#[path = "engine/whole.rs"]
mod whole;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
