//! Malformed requests: checking and tokenising return a typed error, or ids whose image references all exist.
#![no_main]

#[path = "../../request/mod.rs"]
mod request;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    request::ask(data);
});
