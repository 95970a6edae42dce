//! UniReal (CVPR 2025) in the open: one full-attention diffusion transformer that treats input and output images as
//! frames of one sequence, so that one model generates, edits, customises and segments. It runs in the browser (wasm,
//! WebGPU through burn) and natively, by the same code.
//!
//! # One way through
//! ```text
//! Request ─► Sequence (text, input frames, noise frames) ─► velocity ─► latents ─► Image
//! ShardSource ─► bytes ─► VerifiedShard ─► parameters, still quantised, on the device
//! videos ─► samples (tar shards) ─► train ─► safetensors ─► pack ─► shards on a static host
//! ```
//! Each arrow is one function, each noun one type. A module uses only the layers below its own:
//! ```text
//! 5  web   scenes            tools
//! 4  pipeline
//! 3  model    sampler  world weights::{load, save, module}
//! 2  gpu  cpu  tokenizer  image  noise    weights::source
//! 1  request                 weights::{manifest, quant}
//! 0  config   error
//! ```
//!
//! # What holds
//! - [`model`] knows nothing of files, addresses or JavaScript; [`sampler`] takes a closure and knows nothing of the model.
//! - Only [`gpu`] names wgpu and includes shaders; only `web` and `scenes` name JavaScript. They are the page's two modules:
//!   one is built with the feature `engine`, the other with `world` alone, of which [`world`], [`image`] and [`error`] are all.
//! - Only [`model::linear`], [`gpu::quant_linear()`] and [`weights`] know that weights may be quantised.
//! - Bytes that were not verified have no path to the device: see [`weights::source::VerifiedShard`].
//! - No code path belongs to a task: text to image is a [`request::Request`] without frames.
//!
//! # Where to begin
//! [`pipeline`] reads like the paper's figure 2; from there [`model::sequence`] (the paper's section 3.2),
//! [`model::transformer`], [`sampler`]. For the pack, [`weights`]; for training, `tools::train`.
//!
//! # Letters
//! b batch, n tokens, d width, h heads, c channels, y and x a grid's rows and columns; q, k and v as in attention; x_t, v,
//! eps and t as in flow matching: `x_t = (1 - t) x0 + t eps`, `v = eps - x0`.

mod composite;
mod config;
mod cpu;
mod error;
mod gpu;
mod image;
mod model;
mod noise;
mod pipeline;
mod request;
mod sampler;
mod tokenizer;
#[cfg(target_arch = "wasm32")]
mod web;
mod weights;

pub use error::{Error, Result};
pub use image::Image;
pub use pipeline::{Event, Pipeline};
pub use request::{Frame, Method, Request, Role, Tag};

/// What the tools and the tests of this repository use beyond the front door. It changes without notice.
#[doc(hidden)]
pub mod internals {
    pub mod config {
        pub use crate::config::*;
    }
    pub mod cpu {
        pub use crate::cpu::*;
    }
    pub mod gpu {
        pub use crate::gpu::*;
    }
    pub mod model {
        pub use crate::model::*;
    }
    pub mod noise {
        pub use crate::noise::*;
    }
    pub mod pipeline {
        pub use crate::pipeline::*;
    }
    pub mod request {
        pub use crate::request::*;
    }
    pub mod sampler {
        pub use crate::sampler::*;
    }
    pub mod tokenizer {
        pub use crate::tokenizer::*;
    }
    pub mod weights {
        pub use crate::weights::*;
    }
    #[cfg(target_arch = "wasm32")]
    pub mod web {
        pub use crate::web::*;
    }
}
