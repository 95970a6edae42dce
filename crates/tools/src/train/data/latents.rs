//! The on-disk format of cached latents. For each shard, one file holds the latents as 16-bit floats, and a JSON index the texts and
//! offsets of the samples. A restart reads the index; training reads latents when it draws them, so that a sample takes about a
//! kilobyte of memory, whatever the size of its images.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::RwLock;

use half::f16;
use serde::{Deserialize, Serialize};

use crate::data::Kind;
use unireal::{Error, Result, Role, Tag};

/// Version of the index format.
pub(super) const INDEX_VERSION: u32 = 2;

/// The location of a latent on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct LatentLocation {
    pub(super) file: u32,
    pub(super) offset: u64,
    /// Rows and columns of cells.
    pub(in super::super) sides: [u16; 2],
}

#[cfg(test)]
impl LatentLocation {
    /// Returns a square latent without a file, for tests that use only sizes.
    pub(super) fn square(side: u16) -> Self {
        let (file, offset) = (0, 0);
        let sides = [side; 2];
        LatentLocation {
            file,
            offset,
            sides,
        }
    }
}

/// A sample without its images.
#[derive(Clone, Debug)]
pub(in super::super) struct Entry {
    pub(in super::super) kind: Kind,
    pub(in super::super) variant: String,
    /// The context prompt.
    pub(in super::super) context: Vec<Tag>,
    /// The paraphrases of the base prompt.
    pub(in super::super) prompts: Vec<String>,
    pub(in super::super) inputs: Vec<(LatentLocation, Role)>,
    pub(in super::super) outputs: Vec<LatentLocation>,
    /// For each cell of the outputs, whether the sample changes it or its mask covers it; empty for kinds without an edited region.
    pub(in super::super) changed: Vec<bool>,
}

/// The files of latents. They are opened for each read, because a large data set has more files than a process may hold open.
#[derive(Default)]
pub(in super::super) struct Latents {
    files: RwLock<Vec<PathBuf>>,
}

impl Latents {
    /// Adds a file and returns its index.
    pub(super) fn add(&self, file: PathBuf) -> u32 {
        let mut files = self.files.write().unwrap_or_else(|e| e.into_inner());
        files.push(file);
        files.len() as u32 - 1
    }

    /// Appends a latent of `channels` channels, `[c, y, x]`, to `values`.
    ///
    /// # Errors
    /// [`Error::Format`] when the file is missing or too short.
    pub(in super::super) fn read(
        &self,
        location: LatentLocation,
        channels: usize,
        values: &mut Vec<f32>,
    ) -> Result<()> {
        let files = self.files.read().unwrap_or_else(|e| e.into_inner());
        let path = &files[location.file as usize];
        let fail = |e: std::io::Error| Error::io(path, e);
        let count = channels * usize::from(location.sides[0]) * usize::from(location.sides[1]);
        let mut bytes = vec![0u8; 2 * count];
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(location.offset)).map_err(fail)?;
        file.read_exact(&mut bytes).map_err(fail)?;
        let floats = bytes.chunks_exact(2);
        values.extend(floats.map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()));
        Ok(())
    }
}

/// The key of a latent: the hash of its image, and its rows and columns of cells.
pub(super) type Key = ([u8; 32], [u16; 2]);

/// The JSON index of a file of latents.
#[derive(Deserialize, Serialize)]
pub(super) struct Index {
    /// Length and modification time of the shard, to detect that it was replaced.
    pub(super) shard: (u64, u64),
    pub(super) samples: Vec<IndexRow>,
}

/// A sample in an [`Index`].
#[derive(Deserialize, Serialize)]
pub(super) struct IndexRow {
    pub(super) kind: Kind,
    pub(super) variant: String,
    pub(super) context: Vec<String>,
    pub(super) prompts: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) inputs: Vec<FrameRef>,
    pub(super) outputs: Vec<FrameRef>,
    pub(super) changed: String,
}

/// A frame in an [`IndexRow`]: the hash of its image in hexadecimal, `[rows, columns]` of its latent, and the latent's offset, which
/// is null if another shard's file holds the latent.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct FrameRef(
    pub(super) String,
    pub(super) [u16; 2],
    pub(super) Option<u64>,
);

impl FrameRef {
    /// Returns the key of the frame's latent.
    pub(super) fn key(&self) -> Result<Key> {
        let byte = |i: usize| u8::from_str_radix(self.0.get(2 * i..2 * i + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        let hash = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let fail = || {
            let found = &self.0;
            Error::Internal(format!(
                "reading an index of latents: the hash {found:?}, expected 64 hexadecimal digits"
            ))
        };
        Ok((hash.ok_or_else(fail)?, self.1))
    }
}

/// Formats bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
