//! Data loading: a thread reads shards while training runs. It encodes every distinct image once and caches its latent on disk, so
//! that memory holds only the texts and metadata of the samples.

mod crops;
mod encoder;
mod latents;
mod pool;
mod watch;

pub(super) use crops::{Crop, Crops};
pub(super) use encoder::Encoder;
pub(super) use latents::{Entry, Latents};
pub(super) use pool::{Geometry, Pool, SampleGroup};
pub(super) use watch::{ShardWatcher, list};
