//! Interim.
pub mod config;
pub mod error;
pub mod gpu;
pub mod image;
pub mod model;
pub mod noise;
pub mod pipeline;
pub mod request;
pub mod sampler;
pub mod tokenizer;
#[cfg(feature = "tools")]
pub mod tools;
#[cfg(target_arch = "wasm32")]
pub mod web;
pub mod weights;
