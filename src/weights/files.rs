//! Reads packs from disk.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::manifest::Shard;
use super::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};
use crate::error::{Error, Result};

/// A pack in a local folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Names a folder, which is read only when files are requested.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Folder(path.as_ref().to_owned())
    }
}

impl ReadFile for Folder {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let path = self.0.join(path);
        let file = std::fs::File::open(&path).map_err(|e| Error::io(&path, e))?;
        read_at_most(file, limit).map_err(|e| Error::format(path.display().to_string(), e))
    }
}

/// A source that reads whole files and caches nothing.
pub trait ReadFile {
    /// Reads a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Network`] when it cannot be read, [`Error::Format`] when it is longer.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>>;
}

impl<F: ReadFile> ShardSource for F {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(path, limit)
    }

    async fn shard(
        &self,
        shard: &Shard,
        _: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        let bytes = self.read(&shard.path, shard.length)?;
        arrived(Arrived {
            bytes: bytes.len() as u64,
            cached: false,
        });
        Ok(Fetched {
            bytes,
            cached: false,
        })
    }

    async fn cache(&self, _: &VerifiedShard) {}
}

/// Reads everything. The error is the reason as text: an I/O error, or more than `limit` bytes.
pub fn read_at_most(reader: impl Read, limit: u64) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit {
        Err(format!("is longer than {limit} bytes"))
    } else {
        Ok(bytes)
    }
}
