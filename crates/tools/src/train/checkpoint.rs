//! Files of a run's folder: f32 safetensors in the layout of a pack. Each is written to a temporary file and renamed, so that the
//! file stays intact if the process is killed at any moment or the disk is full.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest as _, Sha256};

use unireal::internals::weights::module::{CpuTensor, DeviceTensor, Names, collect, fill};
use unireal::{Error, Result};

/// The metadata key of the state.
const STATE_KEY: &str = "state";

/// The metadata key of the hash of tensors and state.
const HASH_KEY: &str = "sha256";

/// Writes a file atomically: a reader sees either the old or the new one.
///
/// # Errors
/// [`Error::Format`] when it cannot be written, for example on a full disk; the old file is intact then.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = write_temporary(path, bytes, false)?;
    rename(&temporary, path)
}

/// Writes a file like [`write()`], but syncs it to the disk before the rename, so that it also survives a power failure.
///
/// # Errors
/// As [`write()`].
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = write_temporary(path, bytes, true)?;
    rename(&temporary, path)?;
    sync_folder(path)
}

/// Writes a file like [`write_durably`] and keeps the old file as `previous`. `path` exists at every moment.
///
/// # Errors
/// As [`write()`].
pub(super) fn rotate(path: &Path, previous: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = write_temporary(path, bytes, true)?;
    if path.exists() {
        link(path, previous)?;
    }
    rename(&temporary, path)?;
    sync_folder(path)
}

/// Creates a hard link `to` to the file `from`; replaces an existing `to`.
///
/// # Errors
/// [`Error::Format`] when the link cannot be written.
pub(super) fn link(from: &Path, to: &Path) -> Result<()> {
    let temporary = temporary_path(to);
    let _ = std::fs::remove_file(&temporary);
    // File systems without hard links get a copy.
    let linked = std::fs::hard_link(from, &temporary);
    if linked.is_err() {
        std::fs::copy(from, &temporary).map_err(|e| write_error(to, &e))?;
    }
    rename(&temporary, to)
}

/// Returns the path of the temporary file that replaces `path`.
fn temporary_path(path: &Path) -> PathBuf {
    path.with_extension("partial")
}

/// Returns the error for a file that cannot be written.
fn write_error(path: &Path, error: &std::io::Error) -> Error {
    Error::format(
        path.display().to_string(),
        format!("writing failed: {error}"),
    )
}

/// Writes the temporary file of `path`, creates the folder if needed, and syncs the file if `durably` is set.
fn write_temporary(path: &Path, bytes: &[u8], durably: bool) -> Result<PathBuf> {
    let fail = |e: std::io::Error| write_error(path, &e);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let temporary = temporary_path(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        if durably { file.sync_all() } else { Ok(()) }
    });
    if let Err(error) = written {
        // An incomplete file would take up disk space.
        let _ = std::fs::remove_file(&temporary);
        return Err(write_error(path, &error));
    }
    Ok(temporary)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| write_error(to, &e))
}

/// Syncs the folder of `path`, and so a rename in it, to the disk on Unix.
fn sync_folder(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|e| write_error(path, &e))
        }
        _ => Ok(()),
    }
}

/// Serialises tensors as one safetensors file. Its metadata hold the `state`, if given, and a hash of tensors and state.
pub(super) fn bytes(tensors: &[CpuTensor], state: Option<String>) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.values);
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)
            .expect("a tensor's values fill its shape");
        (tensor.name.as_str(), view)
    });
    let metadata = state.map(|state| {
        let tensors = tensors.iter().map(|tensor| {
            let bytes: &[u8] = bytemuck::cast_slice(&tensor.values);
            (tensor.name.as_str(), tensor.shape.as_slice(), bytes)
        });
        let hash = hash(tensors.collect(), &state);
        HashMap::from([(STATE_KEY.to_owned(), state), (HASH_KEY.to_owned(), hash)])
    });
    safetensors::serialize(views, metadata)
        .map_err(|e| Error::Internal(format!("writing safetensors: {e}")))
}

/// Returns the SHA-256 of tensors (name, shape, bytes) and state, independent of the order of the tensors.
fn hash(mut tensors: Vec<(&str, &[usize], &[u8])>, state: &str) -> String {
    tensors.sort_unstable();
    let mut hash = Sha256::new();
    for (name, shape, bytes) in tensors {
        hash.update(format!("{name} {shape:?} {}\n", bytes.len()));
        hash.update(bytes);
    }
    hash.update(state);
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the tensors of a file and its `state`; `None` if the file is missing.
///
/// # Errors
/// [`Error::Format`] when the file is not safetensors of f32 or f16 tensors, or its hash does not match.
pub(super) fn read(path: &Path) -> Result<Option<(Vec<CpuTensor>, Option<String>)>> {
    let file = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::format(file, e)),
    };
    let fail = |e: safetensors::SafeTensorError| Error::format(&file, e);
    let tensors = SafeTensors::deserialize(&bytes).map_err(fail)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(fail)?;
    let entry = |name: &str| metadata.metadata().as_ref()?.get(name).cloned();
    let state = entry(STATE_KEY);
    if let Some(expected) = entry(HASH_KEY) {
        let views: Vec<(&str, TensorView)> = tensors.iter().collect();
        let views = views
            .iter()
            .map(|(name, view)| (*name, view.shape(), view.data()));
        let found = hash(views.collect(), state.as_deref().unwrap_or_default());
        if found != expected {
            let reason = format!("the SHA-256 of its tensors is {found}, expected {expected}");
            return Err(Error::format(file, reason));
        }
    }
    let mut found = Vec::new();
    for (name, view) in tensors.iter() {
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                let reason = format!("{name}: data type {other:?}, expected F32 or F16");
                return Err(Error::format(file, reason));
            }
        };
        found.push(CpuTensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            values,
        });
    }
    Ok(Some((found, state)))
}

/// Reads the `state` of a file without its tensors; `None` if the file is missing or has no state.
///
/// # Errors
/// [`Error::Format`] when the file is not safetensors.
pub(super) fn metadata(path: &Path) -> Result<Option<String>> {
    use std::io::Read as _;
    let fail = |e: &dyn std::fmt::Display| Error::format(path.display().to_string(), e);
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(&e)),
    };
    let mut length = [0u8; 8];
    file.read_exact(&mut length).map_err(|e| fail(&e))?;
    let mut header = Vec::new();
    let length = u64::from_le_bytes(length).min(100 << 20);
    file.take(length)
        .read_to_end(&mut header)
        .map_err(|e| fail(&e))?;
    let header: serde_json::Value = serde_json::from_slice(&header).map_err(|e| fail(&e))?;
    let state = &header["__metadata__"][STATE_KEY];
    Ok(state.as_str().map(str::to_owned))
}

/// Returns the module with every parameter from `tensors`; `file` is for error messages.
///
/// # Errors
/// As [`fill`].
pub(super) fn filled<M: Module>(
    module: M,
    names: Names,
    tensors: Vec<CpuTensor>,
    file: &str,
    device: &Device,
) -> Result<M> {
    let tensors = tensors.into_iter().map(|tensor| {
        let count = tensor.values.len();
        let flat = Tensor::from_data(TensorData::new(tensor.values, [count]), device);
        (tensor.name, DeviceTensor::Float(flat, tensor.shape))
    });
    fill(module, names, tensors.collect(), file)
}

/// Writes a module's parameters to `folder/model.safetensors`.
pub(super) fn save<M: Module>(module: &M, names: Names, folder: &Path) -> Result<()> {
    let bytes = bytes(&collect(module, names)?, None)?;
    write_durably(&folder.join("model.safetensors"), &bytes)
}

/// Fills a module from `folder/model.safetensors`; `None` if the file is missing.
pub(super) fn load<M: Module>(
    module: M,
    names: Names,
    folder: &Path,
    device: &Device,
) -> Result<Option<M>> {
    let path = folder.join("model.safetensors");
    let Some((tensors, _)) = read(&path)? else {
        return Ok(None);
    };
    filled(module, names, tensors, &path.display().to_string(), device).map(Some)
}
