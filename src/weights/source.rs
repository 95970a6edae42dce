//! Where a pack's bytes come from, and the one type that says that they are the promised ones.

use sha2::{Digest, Sha256};

use super::manifest::Shard;
use crate::error::{Error, Result};

/// A folder that holds a pack: local files, or a host on the network with a cache in front of it.
///
/// Nothing that a source returns is trusted: shards pass through [`VerifiedShard`], JSON through its parsers.
#[expect(
    async_fn_in_trait,
    reason = "the same trait serves one thread in the browser, where futures cannot be Send"
)]
pub trait ShardSource {
    /// A small file, whole.
    ///
    /// # Errors
    /// [`Error::Network`] or [`Error::Format`] when it is not there or is longer than `limit` bytes.
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>>;

    /// A shard's bytes. `arrived` is told of bytes as they come, in pieces that add up to at most the shard's length.
    ///
    /// # Errors
    /// [`Error::Network`] when the bytes cannot be had, [`Error::Integrity`] when their number is wrong.
    async fn shard(
        &self,
        shard: &Shard,
        origin: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched>;

    /// Offers verified bytes for keeping; a source that cannot keep them goes on without.
    async fn cache(&self, shard: &VerifiedShard);

    /// Takes back the memory of a shard that was read, for another one.
    fn reuse(&self, _memory: Vec<u8>) {}

    /// The SHA-256 of bytes that came, in the fastest way that there is where they came.
    async fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }
}

/// Where a shard may be taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the cache if it is there.
    Any,
    /// Not from the cache: what it held was damaged.
    Fresh,
}

/// Bytes that have just come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// How many.
    pub bytes: u64,
    /// Whether they came from the cache.
    pub cached: bool,
}

/// A shard as it came.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes, not verified.
    pub bytes: Vec<u8>,
    /// Whether they came from the cache, which then keeps them already.
    pub cached: bool,
}

impl Fetched {
    /// Reports bytes that arrived in one piece, not from a cache.
    pub fn at_once(bytes: Vec<u8>, arrived: &mut dyn FnMut(Arrived)) -> Fetched {
        arrived(Arrived {
            bytes: bytes.len() as u64,
            cached: false,
        });
        Fetched {
            bytes,
            cached: false,
        }
    }
}

/// A shard whose length and hash are those of the manifest. Only these go to the device or into the cache.
#[derive(Debug)]
pub struct VerifiedShard {
    shard: Shard,
    bytes: Vec<u8>,
}

impl VerifiedShard {
    /// Checks bytes against what the manifest promises.
    ///
    /// # Errors
    /// [`Error::Integrity`] with the expected and the found length or hash.
    pub fn new(shard: &Shard, bytes: Vec<u8>) -> Result<Self> {
        let digest = Sha256::digest(&bytes).into();
        Self::judged(shard, bytes, digest)
    }

    /// [`VerifiedShard::new`] with the source's own way to a digest.
    ///
    /// # Errors
    /// As [`VerifiedShard::new`].
    pub async fn verify(shard: &Shard, bytes: Vec<u8>, source: &impl ShardSource) -> Result<Self> {
        let digest = source.digest(&bytes).await;
        Self::judged(shard, bytes, digest)
    }

    fn judged(shard: &Shard, bytes: Vec<u8>, digest: [u8; 32]) -> Result<Self> {
        let wrong = |reason: String| Error::Integrity {
            file: shard.path.clone(),
            reason,
        };
        if bytes.len() as u64 != shard.length {
            return Err(wrong(format!(
                "{} bytes arrived, the index promises {}",
                bytes.len(),
                shard.length
            )));
        }
        let found = hex(&digest);
        if found != shard.sha256 {
            return Err(wrong(format!(
                "the bytes have SHA-256 {found}, the index promises {}",
                shard.sha256
            )));
        }
        Ok(VerifiedShard {
            shard: shard.clone(),
            bytes,
        })
    }

    /// What the manifest says of it.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The memory that they lie in.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
