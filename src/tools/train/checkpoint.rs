//! A run's folder: the pack's layout with plain f32 safetensors files, written beside their place and renamed into it, so
//! that a kill at any moment leaves a whole file.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::weights::module::{DeviceTensor, HostTensor, Names, collect, fill};

/// Writes bytes so that the file is either the old or the new one.
///
/// # Errors
/// [`Error::Format`] when the disk refuses.
pub(in crate::tools) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: std::io::Error| Error::format(path.display().to_string(), e);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let beside = path.with_extension("partial");
    std::fs::write(&beside, bytes).map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}

/// Tensors as one safetensors file, with one entry of metadata, `state`, when there is one.
pub(super) fn bytes(tensors: &[HostTensor], state: Option<String>) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.values);
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)
            .expect("a tensor's values fill its shape");
        (tensor.name.as_str(), view)
    });
    let metadata = state.map(|state| HashMap::from([("state".to_owned(), state)]));
    safetensors::serialize(views, metadata)
        .map_err(|e| Error::Internal(format!("writing safetensors: {e}")))
}

/// The tensors of a file and its `state`; `None` when there is no such file.
///
/// # Errors
/// [`Error::Format`] when the file is not safetensors of floats of 32 or 16 bits.
pub(super) fn read(path: &Path) -> Result<Option<(Vec<HostTensor>, Option<String>)>> {
    let file = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::format(file, e)),
    };
    let wrong = |e: safetensors::SafeTensorError| Error::format(&file, e);
    let tensors = SafeTensors::deserialize(&bytes).map_err(wrong)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
    let state = metadata.metadata().as_ref();
    let state = state.and_then(|entries| entries.get("state").cloned());
    let mut found = Vec::new();
    for (name, view) in tensors.iter() {
        let (fours, twos) = (view.data().chunks_exact(4), view.data().chunks_exact(2));
        let values = match view.dtype() {
            Dtype::F32 => fours
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => twos
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                let reason = format!("{name} is {other:?}; a run holds F32 or F16");
                return Err(Error::format(file, reason));
            }
        };
        found.push(HostTensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            values,
        });
    }
    Ok(Some((found, state)))
}

/// The `state` of a file, without its tensors; `None` when there is no such file or it has none.
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
    let state = &header["__metadata__"]["state"];
    Ok(state.as_str().map(str::to_owned))
}

/// The module with every parameter taken from `tensors`; `file` is for the message.
///
/// # Errors
/// As [`fill`].
pub(super) fn filled<M: Module>(
    module: M,
    names: Names,
    tensors: Vec<HostTensor>,
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
    write(&folder.join("model.safetensors"), &bytes)
}

/// Fills a module from `folder/model.safetensors`; `None` when there is no such file.
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
