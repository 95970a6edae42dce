//! Loading and saving of weights. They are read shard by shard, verified before use, and stay quantised until the product that needs
//! them.
//!
//! [`source`] fetches bytes, [`source::VerifiedShard`] verifies them, [`load`] uploads their tensors to the device, and [`module`]
//! assigns each tensor to the parameter of its name. `save` is the inverse. [`manifest`] is the index file that both share, and
//! [`quant`] implements the encodings.

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
