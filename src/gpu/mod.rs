//! Operations with several implementations, of which the tensors' device chooses one: a shader in `shaders/` on WebGPU with 32-bit
//! floats and supported sizes, a kernel of `src/cpu` on the CPU, else plain tensor operations (`*_reference`). All are tested
//! against the references, the shaders in a browser, so callers need not distinguish them.
//!
//! `model` calls whole-layer CPU kernels itself: attention with norm and rotation, RMS norm, group norm with SiLU, upsampling.
//! [`rotated`] returns `None` where its shader cannot run.

mod attention;
mod conv2d;
pub mod device;
mod launch;
mod linear;
mod modulate;
mod quant_linear;
mod rotate;
mod tile;

pub use crate::cpu::{Branch, Modulation};
pub use attention::{attention, attention_reference};
pub use conv2d::{conv2d, conv2d_reference};
pub use linear::{Activation, linear, linear_reference};
pub use modulate::{gated, gated_reference, modulated, modulated_reference};
pub use quant_linear::{dequantize, quant_linear, quant_linear_reference};
pub use rotate::rotated;
pub use tile::{f16_enabled, in_use, measure_tiles, tile_names, use_tiles};
