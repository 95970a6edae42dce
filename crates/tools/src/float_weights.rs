//! Reads the weights of one network as f32 tensors on the CPU from any encoding: from a component of a pack (f32, f16, q8 or
//! q4, verified by its index) or from the safetensors files of a training run or a checkpoint.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors};

use unireal::internals::weights::manifest::{Manifest, ROWS};
use unireal::internals::weights::module::{CpuTensor, DeviceTensor, Names, fill};
use unireal::internals::weights::quant::{BLOCK, Encoding, Quantized};
use unireal::internals::weights::save::{packed_name, scales_name};
use unireal::internals::weights::source::VerifiedShard;
use unireal::{Error, Result};

/// A tensor as it is stored.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Stored tensors by name; a tensor that is split by rows has several chunks, keyed by their first row.
type Chunks = BTreeMap<String, BTreeMap<usize, Stored>>;

/// Returns every tensor of a component's folder as f32. If the folder has an index, only the shards listed there are read, and
/// their hashes are verified.
///
/// # Errors
/// [`Error::Format`] for a missing or invalid file, [`Error::Integrity`] for a shard that does not match its hash.
pub(super) fn read(folder: &Path) -> Result<HashMap<String, CpuTensor>> {
    let index = folder.join("model.safetensors.index.json");
    let mut chunks = Chunks::new();
    let mut encoding = Encoding::F32;
    if index.exists() {
        let bytes = std::fs::read(&index).map_err(|e| format_error(&index, e))?;
        let component = folder.file_name().map(|name| name.to_string_lossy());
        let manifest = Manifest::parse(component.as_deref().unwrap_or_default(), &bytes)?;
        encoding = manifest.encoding;
        for shard in &manifest.shards {
            let name = shard.path.rsplit('/').next().unwrap_or(&shard.path);
            let path = folder.join(name);
            let bytes = std::fs::read(&path).map_err(|e| format_error(&path, e))?;
            add(
                &mut chunks,
                &path,
                VerifiedShard::new(shard, bytes)?.bytes(),
            )?;
        }
    } else {
        for path in unindexed_files(folder)? {
            let bytes = std::fs::read(&path).map_err(|e| format_error(&path, e))?;
            add(&mut chunks, &path, &bytes)?;
        }
    }
    let mut stored = BTreeMap::new();
    for (name, rows) in chunks {
        let whole =
            join(rows).map_err(|reason| format_error(folder, format!("{name}: {reason}")))?;
        stored.insert(name, whole);
    }
    floats(stored, encoding).map_err(|reason| format_error(folder, reason))
}

/// Fills the parameters of a float module from a component's folder.
///
/// # Errors
/// Those of [`read`] and [`fill`].
pub(super) fn load<M: Module>(
    module: M,
    names: Names,
    folder: &Path,
    device: &Device,
) -> Result<M> {
    let tensors = read(folder)?.into_iter().map(|(name, tensor)| {
        let count = tensor.values.len();
        let flat = Tensor::from_data(TensorData::new(tensor.values, [count]), device);
        (name, DeviceTensor::Float(flat, tensor.shape))
    });
    fill(
        module,
        names,
        tensors.collect(),
        &folder.display().to_string(),
    )
}

fn format_error(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::format(path.display().to_string(), reason)
}

/// Returns the safetensors files of a folder without an index, sorted by name.
fn unindexed_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| format_error(folder, e))? {
        let path = entry.map_err(|e| format_error(folder, e))?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        Err(format_error(folder, "holds no .safetensors file"))
    } else {
        Ok(paths)
    }
}

/// Adds the tensors of a safetensors file.
fn add(chunks: &mut Chunks, path: &Path, bytes: &[u8]) -> Result<()> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| format_error(path, e))?;
    for (name, view) in tensors.iter() {
        let split = name.rsplit_once(ROWS);
        let split = split.and_then(|(whole, first)| Some((whole, first.parse().ok()?)));
        let (whole, first) = split.unwrap_or((name, 0));
        let stored = Stored {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        let rows = chunks.entry(whole.to_owned()).or_default();
        if rows.insert(first, stored).is_some() {
            return Err(format_error(
                path,
                format!("reading {name}: found twice, expected once"),
            ));
        }
    }
    Ok(())
}

/// Concatenates the chunks of a tensor along the rows.
fn join(chunks: BTreeMap<usize, Stored>) -> std::result::Result<Stored, String> {
    let mut chunks = chunks.into_iter();
    let Some((first, mut whole)) = chunks.next() else {
        return Err("no chunk, expected one or more".into());
    };
    if first != 0 {
        return Err(format!("the first chunk begins at row {first}, expected 0"));
    }
    for (first, chunk) in chunks {
        let fits = chunk.dtype == whole.dtype && chunk.shape.get(1..) == whole.shape.get(1..);
        if !fits || whole.shape.first() != Some(&first) {
            return Err(format!(
                "a chunk {:?} {:?} at row {first}, expected one that continues {:?} {:?}",
                chunk.dtype, chunk.shape, whole.dtype, whole.shape
            ));
        }
        whole.shape[0] += chunk.shape[0];
        whole.bytes.extend(chunk.bytes);
    }
    Ok(whole)
}

/// Decodes every tensor; packed integers and their scales become one tensor.
fn floats(
    mut stored: BTreeMap<String, Stored>,
    encoding: Encoding,
) -> std::result::Result<HashMap<String, CpuTensor>, String> {
    let mut all = HashMap::new();
    let packed_suffix = packed_name("");
    while let Some((stored_name, tensor)) = stored.pop_first() {
        let (name, shape, values) = match stored_name.strip_suffix(&packed_suffix) {
            None => {
                let values = float_values(&tensor).ok_or_else(|| {
                    format!(
                        "{stored_name} is {:?}, expected F32, F16 or BF16",
                        tensor.dtype
                    )
                })?;
                (stored_name, tensor.shape, values)
            }
            Some(name) => {
                let scales = stored.remove(&scales_name(name));
                let scales = scales.ok_or_else(|| format!("{name} has no scales"))?;
                let (shape, values) = dequantized(encoding, &tensor, &scales)
                    .map_err(|reason| format!("{name}: {reason}"))?;
                (name.to_owned(), shape, values)
            }
        };
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("{name} holds {value}, expected finite weights"));
        }
        let tensor = CpuTensor {
            name: name.clone(),
            shape,
            values,
        };
        all.insert(name, tensor);
    }
    Ok(all)
}

fn float_values(tensor: &Stored) -> Option<Vec<f32>> {
    let pairs = || tensor.bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match tensor.dtype {
        Dtype::F32 => {
            let chunks = tensor.bytes.chunks_exact(4);
            Some(
                chunks
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
            )
        }
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// Returns the shape and values of a quantised matrix.
fn dequantized(
    encoding: Encoding,
    packed: &Stored,
    scales: &Stored,
) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
    let observed = || {
        let found = format!("{:?} {:?}", packed.dtype, packed.shape);
        format!(
            "{found} with scales {:?} {:?} in {encoding}",
            scales.dtype, scales.shape
        )
    };
    let (&[rows, columns], &[scale_rows, scale_columns]) =
        (packed.shape.as_slice(), scales.shape.as_slice())
    else {
        return Err(format!("{}, expected matrices", observed()));
    };
    let width = columns * encoding.values_per_word();
    let fits = matches!(encoding, Encoding::Q8 | Encoding::Q4)
        && (packed.dtype, scales.dtype) == (Dtype::U32, Dtype::F16)
        && (rows, width) == (scale_rows, scale_columns * BLOCK);
    if !fits {
        return Err(format!(
            "{}, expected U32 and F16 with one scale for {BLOCK} values",
            observed()
        ));
    }
    let chunks = packed.bytes.chunks_exact(4);
    let pairs = scales.bytes.chunks_exact(2);
    let quantized = Quantized {
        packed: chunks
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        scales: pairs.map(|b| f16::from_le_bytes([b[0], b[1]])).collect(),
    };
    Ok((vec![rows, width], encoding.dequantize(&quantized)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unireal::internals::weights::save::Writer;

    fn tensor(name: &str, shape: &[usize], peak: f32) -> CpuTensor {
        let count: usize = shape.iter().product();
        CpuTensor {
            name: name.into(),
            shape: shape.to_vec(),
            values: (0..count).map(|i| peak * (i as f32 * 0.7).sin()).collect(),
        }
    }

    #[test]
    fn a_pack_of_any_encoding_is_read_within_its_rounding() {
        // Large enough to be split by rows in the smallest shards.
        let matrix = tensor("block.weight", &[700, 512], 1.0);
        let bias = tensor("block.bias", &[700], 1.0);
        for (encoding, allowed) in [
            (Encoding::F32, 0.0),
            (Encoding::F16, 1e-3),
            (Encoding::Q8, 0.5 / 127.0 + 1e-3),
            (Encoding::Q4, 1.0 / 8.0 + 1e-3),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut writer = Writer::new(folder.path(), "vae", encoding, 128 << 10).unwrap();
            let quantized = matches!(encoding, Encoding::Q8 | Encoding::Q4);
            writer.add(&matrix, quantized).unwrap();
            writer.add(&bias, false).unwrap();
            writer.finish().unwrap();
            let found = read(&folder.path().join("vae")).unwrap();
            assert_eq!(found.len(), 2, "{encoding}");
            for expected in [&matrix, &bias] {
                let back = &found[&expected.name];
                assert_eq!(back.shape, expected.shape, "{encoding}");
                for (a, b) in back.values.iter().zip(&expected.values) {
                    assert!((a - b).abs() <= allowed, "{encoding}: {b} became {a}");
                }
            }
        }
    }

    #[test]
    fn only_indexed_shards_are_read_and_they_are_verified() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("vae");
        let mut writer = Writer::new(folder.path(), "vae", Encoding::Q8, 128 << 10).unwrap();
        writer.add(&tensor("a", &[4, 64], 1.0), true).unwrap();
        writer.finish().unwrap();
        std::fs::write(component.join("other.safetensors"), b"not one").unwrap();
        assert_eq!(read(&component).unwrap().len(), 1);
        let shard = component.join("model-00001.safetensors");
        let mut bytes = std::fs::read(&shard).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&shard, bytes).unwrap();
        assert!(matches!(read(&component), Err(Error::Integrity { .. })));
        assert!(
            read(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no .safetensors")
        );
    }
}
