//! Hostile requests: whatever their prompt and numbers are, checking and tokenising answer with a typed error or with a
//! text in which every image that is named is there.
#![no_main]

#[path = "../../request/mod.rs"]
mod request;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    request::ask(data);
});
