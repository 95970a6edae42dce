//! What the model asks of a device beyond plain tensor operations: one file a kernel, with the launch of the WGSL in
//! `shaders/` and, beside it, the same function in plain operations.
//!
//! Each function looks at where its tensors lie. On WebGPU, in 32-bit floats and with sizes that the shader takes, it
//! launches the shader; on the CPU it takes its form in `src/cpu`, where there is one; anywhere else (an odd size, a
//! device that records gradients) it is its `*_reference`. All forms are tested against the references, the shaders in a
//! browser, so they are one function for the caller.

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

pub use attention::{attention, attention_reference};
pub(crate) use conv2d::output_sides;
pub use conv2d::{conv2d, conv2d_reference};
pub use linear::{Activation, linear, linear_reference};
pub use modulate::{Modulation, gated, gated_reference, modulated, modulated_reference};
pub use quant_linear::{dequantize, quant_linear, quant_linear_reference};
pub use rotate::rotated;
pub use tile::{f16_enabled, in_use, measure_tiles, tile_names, use_tiles};
