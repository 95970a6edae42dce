//! GPU kernels beyond plain tensor operations. Each file holds one kernel: the launch of its WGSL in `shaders/`, and the same
//! function in plain tensor operations, its reference.
//!
//! Each function dispatches on the device of its tensors. On WebGPU, with 32-bit floats and sizes that the shader supports, it
//! launches the shader. On the CPU it calls the kernel in `src/cpu`, if there is one. Otherwise (an unsupported size, a device
//! that records gradients) it calls its `*_reference`. All variants are tested against the references, the shaders in a browser,
//! so callers need not distinguish them.

mod attention;
mod conv2d;
pub mod device;
mod launch;
mod linear;
mod modulate;
mod quant_linear;
mod rotate;
#[cfg(target_arch = "wasm32")]
mod subgroups;
mod tile;

pub use crate::cpu::Modulation;
pub use attention::{attention, attention_reference};
pub use conv2d::{conv2d, conv2d_reference};
pub use linear::{Activation, linear, linear_reference};
pub use modulate::{gated, gated_reference, modulated, modulated_reference};
pub use quant_linear::{dequantize, quant_linear, quant_linear_reference};
pub use rotate::rotated;
pub use tile::{f16_enabled, in_use, measure_tiles, tile_names, use_tiles};
