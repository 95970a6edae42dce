//! Writes the tensors of a component to shards of bounded size and an index. The inverse of [`super::load`].

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

use super::manifest::{IndexFile, MAX_SHARD, Manifest, Metadata, ROWS, ShardEntry};
use super::module::CpuTensor;
use super::quant::Encoding;
use super::source::hex;
use crate::error::{Error, Result};

/// Bytes reserved for the header of a shard.
const HEADER: usize = 64 << 10;

/// A tensor in its stored format.
struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes the shards of one component as tensors are added, then its index.
pub struct Writer {
    folder: PathBuf,
    encoding: Encoding,
    /// Maximum bytes of tensors in a shard.
    capacity: usize,
    pending: Vec<Stored>,
    shards: BTreeMap<String, ShardEntry>,
    places: BTreeMap<String, String>,
    total: u64,
}

impl Writer {
    /// Starts a component of the pack in the folder `pack`, with shards of at most `shard` bytes.
    ///
    /// # Errors
    /// [`Error::Request`] for a shard size out of range, [`Error::Format`] when the folder cannot be created.
    pub fn new(pack: &Path, component: &str, encoding: Encoding, shard: u64) -> Result<Self> {
        if !(2 * HEADER as u64..=MAX_SHARD).contains(&shard) {
            return Err(Error::Request(format!(
                "shards of {shard} bytes; {} to {MAX_SHARD} are possible",
                2 * HEADER
            )));
        }
        let folder = pack.join(component);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        Ok(Writer {
            folder,
            encoding,
            capacity: shard as usize - HEADER,
            pending: Vec::new(),
            shards: BTreeMap::new(),
            places: BTreeMap::new(),
            total: 0,
        })
    }

    /// Adds a tensor, quantised if `quantized`.
    ///
    /// # Errors
    /// [`Error::Format`] when a value is not finite or a shard cannot be written.
    pub fn add(&mut self, tensor: &CpuTensor, quantized: bool) -> Result<()> {
        if let Some(value) = tensor.values.iter().find(|value| !value.is_finite()) {
            return Err(Error::format(
                &tensor.name,
                format!("holds {value}; weights are finite"),
            ));
        }
        let mut stored: VecDeque<Stored> = if quantized {
            blocks(tensor, self.encoding).into()
        } else {
            [floats(tensor, self.encoding)].into()
        };
        while let Some(next) = stored.pop_front() {
            if next.bytes.len() > self.capacity {
                for part in rows(next, self.capacity)? {
                    self.push(part)?;
                }
            } else {
                self.push(next)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, tensor: Stored) -> Result<()> {
        let pending: usize = self.pending.iter().map(|t| t.bytes.len()).sum();
        if pending + tensor.bytes.len() > self.capacity {
            self.flush()?;
        }
        self.pending.push(tensor);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let tensors = std::mem::take(&mut self.pending);
        if tensors.is_empty() {
            return Ok(());
        }
        let name = format!("model-{:05}.safetensors", self.shards.len() + 1);
        let file = self.folder.join(&name).display().to_string();
        let views = tensors
            .iter()
            .map(|t| {
                TensorView::new(t.dtype, t.shape.clone(), &t.bytes).map(|view| (&t.name, view))
            })
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|e| Error::Internal(format!("{file}: {e}")))?;
        let bytes = safetensors::serialize(views, None)
            .map_err(|e| Error::Internal(format!("{file}: {e}")))?;
        std::fs::write(&file, &bytes).map_err(|e| Error::format(&file, e))?;
        for tensor in &tensors {
            self.total += tensor.bytes.len() as u64;
            self.places.insert(tensor.name.clone(), name.clone());
        }
        let entry = ShardEntry {
            length: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
        };
        self.shards.insert(name, entry);
        Ok(())
    }

    /// Writes the remaining tensors, then the index, which completes the component, and deletes shards of an earlier pack.
    ///
    /// # Errors
    /// [`Error::Format`] when a file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.flush()?;
        let fail = |path: &Path, e: std::io::Error| Error::io(path, e);
        let index = IndexFile {
            metadata: Metadata {
                total_size: self.total,
                encoding: self.encoding,
                shards: self.shards,
            },
            weight_map: self.places,
        };
        let path = self.folder.join(Manifest::path("").trim_start_matches('/'));
        let json = serde_json::to_string_pretty(&index)
            .map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
        std::fs::write(&path, json + "\n").map_err(|e| fail(&path, e))?;
        for entry in std::fs::read_dir(&self.folder).map_err(|e| fail(&self.folder, e))? {
            let entry = entry.map_err(|e| fail(&self.folder, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let shard = name.starts_with("model-") && name.ends_with(".safetensors");
            if shard && !index.metadata.shards.contains_key(&name) {
                std::fs::remove_file(entry.path()).map_err(|e| fail(&entry.path(), e))?;
            }
        }
        Ok(())
    }
}

/// Encodes a tensor as f16 if the encoding is smaller than f32 and every value fits, else as f32.
fn floats(tensor: &CpuTensor, encoding: Encoding) -> Stored {
    let fits = tensor.values.iter().all(|v| v.abs() <= f16::MAX.to_f32());
    let (dtype, bytes) = if encoding == Encoding::F32 || !fits {
        (
            Dtype::F32,
            tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    } else {
        let f16_values = tensor.values.iter().map(|v| f16::from_f32(*v));
        (
            Dtype::F16,
            f16_values.flat_map(|v| v.to_le_bytes()).collect(),
        )
    };
    Stored {
        name: tensor.name.clone(),
        dtype,
        shape: tensor.shape.clone(),
        bytes,
    }
}

/// Encodes a matrix as packed integers and scales.
fn blocks(tensor: &CpuTensor, encoding: Encoding) -> Vec<Stored> {
    let quantized = encoding.quantize(&tensor.values);
    let rows = tensor.shape[0];
    vec![
        Stored {
            name: packed_name(&tensor.name),
            dtype: Dtype::U32,
            shape: vec![rows, quantized.packed.len() / rows],
            bytes: quantized
                .packed
                .iter()
                .flat_map(|w| w.to_le_bytes())
                .collect(),
        },
        Stored {
            name: scales_name(&tensor.name),
            dtype: Dtype::F16,
            shape: vec![rows, quantized.scales.len() / rows],
            bytes: quantized
                .scales
                .iter()
                .flat_map(|s| s.to_le_bytes())
                .collect(),
        },
    ]
}

/// Returns the name of a matrix's packed integers.
pub fn packed_name(weight: &str) -> String {
    format!("{weight}.packed")
}

/// Returns the name of a matrix's scales.
pub fn scales_name(weight: &str) -> String {
    format!("{weight}.scales")
}

/// Splits a tensor along its first axis into parts of at most `capacity` bytes.
fn rows(tensor: Stored, capacity: usize) -> Result<Vec<Stored>> {
    let count = tensor.shape.first().copied().unwrap_or(1).max(1);
    let row = tensor.bytes.len() / count;
    let step = capacity / row.max(1);
    if step == 0 {
        return Err(Error::format(
            &tensor.name,
            format!("has rows of {row} bytes; a shard holds {capacity}"),
        ));
    }
    let parts = (0..count).step_by(step).map(|first| {
        let end = (first + step).min(count);
        let mut shape = tensor.shape.clone();
        shape[0] = end - first;
        Stored {
            name: format!("{}{ROWS}{first}", tensor.name),
            dtype: tensor.dtype,
            shape,
            bytes: tensor.bytes[first * row..end * row].to_vec(),
        }
    });
    Ok(parts.collect())
}
