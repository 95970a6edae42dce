//! Sources of a pack's bytes, and the type of verified shards.

use sha2::{Digest, Sha256};

use super::manifest::Shard;
use crate::error::{Error, Result};

/// A source of a pack's files: a local folder, or an HTTP server with a cache in front of it.
///
/// Its bytes are not trusted: [`VerifiedShard`] verifies shards, and parsers validate JSON.
#[expect(
    async_fn_in_trait,
    reason = "the same trait serves one thread in the browser, where futures cannot be Send"
)]
pub trait ShardSource {
    /// Reads a whole small file.
    ///
    /// # Errors
    /// [`Error::Network`] or [`Error::Format`] when it does not exist or is longer than `limit` bytes.
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>>;

    /// Fetches a shard. Calls `arrived` as bytes arrive, in pieces that add up to at most the shard's length.
    ///
    /// # Errors
    /// [`Error::Network`] when the bytes cannot be fetched, [`Error::Integrity`] when their number is wrong.
    async fn shard(
        &self,
        shard: &Shard,
        origin: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched>;

    /// Stores a verified shard in the cache, if the source has one; failures are ignored.
    async fn cache(&self, shard: &VerifiedShard);

    /// Takes back the memory of a loaded shard, to reuse it for another.
    fn reuse(&self, _memory: Vec<u8>) {}

    /// Returns the SHA-256 of fetched bytes, by the fastest implementation on the source's platform.
    async fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }
}

/// The permitted origin of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The cache, if it holds the shard.
    Any,
    /// Not the cache, because its copy is damaged.
    Fresh,
}

/// A number of bytes that have just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Number of bytes.
    pub bytes: u64,
    /// Whether they came from the cache.
    pub cached: bool,
}

/// A shard as fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Its bytes, not verified.
    pub bytes: Vec<u8>,
    /// Whether they came from the cache, which already holds them.
    pub cached: bool,
}

/// A shard whose length and hash match the manifest. Only verified shards go to the device or into the cache.
#[derive(Debug)]
pub struct VerifiedShard {
    shard: Shard,
    bytes: Vec<u8>,
}

impl VerifiedShard {
    /// Verifies bytes against length and hash in the manifest.
    ///
    /// # Errors
    /// [`Error::Integrity`] with the expected and the actual length or hash.
    pub fn new(shard: &Shard, bytes: Vec<u8>) -> Result<Self> {
        let digest = Sha256::digest(&bytes).into();
        Self::with_digest(shard, bytes, digest)
    }

    /// [`VerifiedShard::new`] with [`ShardSource::digest`].
    ///
    /// # Errors
    /// As [`VerifiedShard::new`].
    pub async fn verify(shard: &Shard, bytes: Vec<u8>, source: &impl ShardSource) -> Result<Self> {
        let digest = source.digest(&bytes).await;
        Self::with_digest(shard, bytes, digest)
    }

    fn with_digest(shard: &Shard, bytes: Vec<u8>, digest: [u8; 32]) -> Result<Self> {
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

    /// Its entry in the manifest.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns its bytes, to reuse their memory.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
