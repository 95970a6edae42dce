//! GEMM on bf16 operands with f32 sums: `c = a b^T`, with both operands in any layout.
//!
//! Operands are rounded and packed into tiles panel by panel ([`pack`]), so that a panel is multiplied while it is in the CPU cache;
//! [`avx512`] and [`amx`] multiply blocks of 32 x 32. f32 products use burn's GEMM (the crate `gemm`).

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod emulator;
pub mod engine;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod pack;
#[cfg(target_arch = "x86_64")]
mod product;
#[cfg(target_arch = "x86_64")]
mod weights;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

pub use engine::{Precision, precision};
#[cfg(target_arch = "x86_64")]
pub(crate) use pack::{Patches, Side};
#[cfg(target_arch = "x86_64")]
pub use product::{Matrix, long_product};
#[cfg(target_arch = "x86_64")]
pub(crate) use product::{Packed, PatchRows, multiply, rows_times};
#[cfg(target_arch = "x86_64")]
pub(crate) use weights::packed_weight;
#[cfg(target_arch = "x86_64")]
pub use weights::share_packed_weights;
