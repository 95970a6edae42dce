//! Data loading: a thread reads shards while training runs. It encodes every distinct image once and caches its latent on disk, so
//! that memory holds only the texts and metadata of the samples.

mod crops;
mod latents;
mod pool;
mod watch;

pub(super) use crops::{Crop, Crops};
pub(super) use latents::{Encoder, Entry, Latents};
pub(super) use pool::{Drawn, Geometry, Pool};
pub(super) use watch::{Watch, list};
