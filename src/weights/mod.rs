//! Weights between files and modules: read shard by shard, checked before use, quantised until the product that needs
//! them.
//!
//! Reading: [`source`] brings bytes, [`source::VerifiedShard`] vouches for them, [`load`] puts their tensors on the device,
//! [`module`] gives each to the parameter of its name. Writing: `save` is the inverse. [`manifest`] is what both agree
//! on, [`quant`] the arithmetic of the encodings.

#[cfg(not(target_arch = "wasm32"))]
pub mod files;
pub mod load;
pub mod manifest;
pub mod memory;
pub mod module;
pub mod quant;
#[cfg(not(target_arch = "wasm32"))]
pub mod save;
pub mod source;
