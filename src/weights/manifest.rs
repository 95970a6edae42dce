//! The index file of a component: Hugging Face's `model.safetensors.index.json`, with the encoding of the tensors and the length and
//! hash of every shard in its metadata. [`Manifest::parse`] validates untrusted bytes, so a [`Manifest`] needs no further checks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::quant::Encoding;
use crate::error::{Error, Result};

/// Maximum size of a shard in bytes. The browser holds a few shards in memory at a time.
pub const MAX_SHARD: u64 = 32 << 20;

/// Maximum size of an index or configuration file in bytes.
pub const MAX_JSON: u64 = 16 << 20;

/// Maximum number of shards of a component: 2 TiB at [`MAX_SHARD`].
const MAX_SHARDS: usize = 65_536;

/// Infix in the names of the parts of a tensor that is split by rows, before the part's first row: `name.rows.<first>`.
pub const ROWS: &str = ".rows.";

/// One file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The file's path in the pack, such as `transformer/model-00001-of-00003.safetensors`.
    pub path: String,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256 of the bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// The index of one component.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The component's folder in the pack, such as `transformer`.
    pub component: String,
    /// The encoding of its matrices. Tensors that are not quantised are F16 or F32 in every encoding.
    pub encoding: Encoding,
    /// Its shards in loading order.
    pub shards: Vec<Shard>,
    /// The shard of each tensor, as an index into `shards`.
    pub tensors: BTreeMap<String, usize>,
}

/// The JSON of the index file.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct IndexFile {
    pub(crate) metadata: Metadata,
    pub(crate) weight_map: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Metadata {
    /// Bytes of all tensors, as Hugging Face counts them.
    pub(crate) total_size: u64,
    pub(crate) encoding: Encoding,
    pub(crate) shards: BTreeMap<String, ShardEntry>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ShardEntry {
    pub(crate) length: u64,
    pub(crate) sha256: String,
}

impl Manifest {
    /// Returns the path of a component's index file in the pack.
    pub fn path(component: &str) -> String {
        format!("{component}/model.safetensors.index.json")
    }

    /// Parses and checks an index file.
    ///
    /// # Errors
    /// [`Error::Format`] with the field, its value and the expected value.
    pub fn parse(component: &str, bytes: &[u8]) -> Result<Self> {
        let file = Self::path(component);
        let bad = |reason: String| Error::format(&file, reason);
        let index: IndexFile = crate::config::parse(&file, bytes)?;
        let entries = &index.metadata.shards;
        if entries.is_empty() || entries.len() > MAX_SHARDS {
            return Err(bad(format!(
                "lists {} shards; 1 to {MAX_SHARDS} are read",
                entries.len()
            )));
        }
        let mut shards = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            if !is_plain(name) {
                return Err(bad(format!(
                    "shard {name:?} must be a plain file name of letters, digits, '.', '-' and '_'"
                )));
            }
            if !(1..=MAX_SHARD).contains(&entry.length) {
                return Err(bad(format!(
                    "{name} has {} bytes; a shard has 1 to {MAX_SHARD}",
                    entry.length
                )));
            }
            if entry.sha256.len() != 64 || !entry.sha256.bytes().all(is_hex) {
                return Err(bad(format!(
                    "{name} has the hash {:?}; 64 lower-case hexadecimal digits are needed",
                    entry.sha256
                )));
            }
            shards.push(Shard {
                path: format!("{component}/{name}"),
                length: entry.length,
                sha256: entry.sha256.clone(),
            });
        }
        let shard_indices: BTreeMap<&str, usize> =
            entries.keys().map(String::as_str).zip(0..).collect();
        let mut tensors = BTreeMap::new();
        for (tensor, shard) in &index.weight_map {
            let Some(&shard_index) = shard_indices.get(shard.as_str()) else {
                return Err(bad(format!(
                    "{tensor} lies in {shard:?}, which is not among the metadata's shards"
                )));
            };
            tensors.insert(tensor.clone(), shard_index);
        }
        Ok(Manifest {
            component: component.to_owned(),
            encoding: index.metadata.encoding,
            shards,
            tensors,
        })
    }

    /// Returns the total size of all shards in bytes.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.length).sum()
    }
}

/// Whether a file name is safe on every server and file system, and stays inside its folder.
fn is_plain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}
