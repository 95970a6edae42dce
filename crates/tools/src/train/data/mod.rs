//! From shards to batches: a thread reads shards while training already runs; every distinct picture is encoded once and its
//! latent kept on disk, so that memory holds the words of the samples alone.

mod crops;
mod latents;
mod pool;
mod watch;

pub(super) use crops::{Crop, Crops};
pub(super) use latents::{Encoder, Entry, Latents};
pub(super) use pool::{Drawn, Geometry, Pool};
pub(super) use watch::{Watch, list};
