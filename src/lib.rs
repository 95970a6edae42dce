//! UniReal (CVPR 2025) in the open: one full-attention diffusion transformer treats input and output images as frames of one sequence, so
//! one model generates, edits, customises and segments. It runs natively and, as WebAssembly on WebGPU, in the browser.
//!
//! ```ignore-wasm32
//! use unireal::{Image, Pipeline, Request};
//!
//! # fn main() -> unireal::Result<()> {
//! let pipeline = Pipeline::from_dir("www/models/tabletop").load_blocking()?;
//! let request = Request::builder("remove the cyan sphere")
//!     .canvas(Image::open("www/examples/tabletop-9.png")?)
//!     .seed(1)
//!     .build()?;
//! let images = pipeline.generate_blocking(&request)?;
//! images[0].save(std::env::temp_dir().join("edited.png"))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Architecture
//! ```text
//! Request -> Sequence (text, input frames, noise frames) -> velocity -> latents -> Image
//! ShardSource -> bytes -> VerifiedShard -> parameters, still quantised, on the device
//! ```
//! Each arrow is one function, each noun one type. A module uses its own layer and those below, which `tests/architecture.rs` checks:
//! ```text
//! 9  web
//! 8  loader
//! 7  pipeline
//! 6  weights::{load, memory, save}
//! 5  model, sampler, composite, weights::module
//! 4  gpu, tokenizer, weights::{files, source}
//! 3  cpu
//! 2  request, weights::{manifest, quant}
//! 1  config, image, noise
//! 0  error
//! ```
//! - `pipeline` follows the paper's figure 2; from there read `model::sequence` (section 3.2 of the paper), `model::transformer` and
//!   `sampler`.
//! - `model` knows nothing of files, URLs or JavaScript; `sampler` takes a closure and knows nothing of the model.
//! - Only `gpu` names wgpu and includes shaders; only `web` names JavaScript.
//! - `model::linear`, `gpu`, `cpu` and `weights` act on an encoding; other modules only pass it on.
//! - A source is not a format: a `ShardSource` moves a pack's bytes. Another file format is converted (`crates/tools/src/pack`).
//! - Bytes that were not verified have no path to the device: see `weights::source::VerifiedShard`.
//! - No code path belongs to a task: text to image is a request without images.
//!
//! Letters in shapes: b batch, n tokens, d width, h heads, c channels, y and x rows and columns of a grid; q, k and v as in attention; x_t, v,
//! eps and t as in flow matching: `x_t = (1 - t) x0 + t eps`, `v = eps - x0`.

mod composite;
mod config;
mod cpu;
mod error;
mod gpu;
mod image;
#[cfg(not(target_arch = "wasm32"))]
mod loader;
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
pub use gpu::device::Choice as Device;
pub use image::Image;
#[cfg(not(target_arch = "wasm32"))]
pub use loader::Loader;
pub use pipeline::{Event, Pipeline, Stage};
pub use request::{Frame, Method, Request, RequestBuilder, Role, Tag};
pub use weights::load::Progress;

/// Compiles the Rust code of the README.
#[cfg(all(doctest, not(target_arch = "wasm32")))]
#[doc = include_str!("../README.md")]
struct Readme;

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
    #[cfg(not(target_arch = "wasm32"))]
    pub mod loader {
        pub use crate::loader::open;
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
