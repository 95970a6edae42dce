//! The native commands around the model: the tabletop world, training, packing, generating, evaluating.

pub mod data;
pub mod evaluate;
pub mod generate;
pub mod pack;
pub mod train;
pub mod world;
