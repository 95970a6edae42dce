//! A run's folder: the pack's layout with plain f32 safetensors files, written beside their place and renamed into it, so
//! that a kill at any moment leaves a whole file.

use std::collections::HashMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::weights::module::{DeviceTensor, Names, collect, fill};

/// Writes bytes so that the file is either the old or the new one.
pub(in crate::tools) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e: std::io::Error| Error::format(path.display().to_string(), e);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let beside = path.with_extension("partial");
    std::fs::write(&beside, bytes).map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}

/// Writes a module's parameters to `folder/model.safetensors`.
pub(super) fn save<M: Module>(module: &M, names: Names, folder: &Path) -> Result<()> {
    let tensors = collect(module, names)?;
    let views = tensors.iter().map(|tensor| {
        let bytes = bytemuck::cast_slice(&tensor.values);
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)
            .expect("a tensor's values fill its shape");
        (tensor.name.as_str(), view)
    });
    let path = folder.join("model.safetensors");
    let bytes = safetensors::serialize(views, None)
        .map_err(|e| Error::format(path.display().to_string(), e))?;
    write(&path, &bytes)
}

/// Fills a module from `folder/model.safetensors`; `None` when there is no such file.
pub(super) fn load<M: Module>(
    module: M,
    names: Names,
    folder: &Path,
    device: &Device,
) -> Result<Option<M>> {
    let path = folder.join("model.safetensors");
    let file = path.display().to_string();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::format(file, e)),
    };
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| Error::format(&file, e))?;
    let mut found = HashMap::new();
    for (name, view) in tensors.iter() {
        if view.dtype() != Dtype::F32 {
            let dtype = view.dtype();
            return Err(Error::format(
                file,
                format!("{name} is {dtype:?}; a run holds F32"),
            ));
        }
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let count = values.len();
        let flat = Tensor::from_data(TensorData::new(values, [count]), device);
        found.insert(
            name.to_owned(),
            DeviceTensor::Float(flat, view.shape().to_vec()),
        );
    }
    fill(module, names, found, &file).map(Some)
}
