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
pub mod weights {
    pub mod manifest;
    pub mod module;
    pub mod quant;
    pub mod source;
}
#[cfg(feature = "tools")]
pub mod tools;
