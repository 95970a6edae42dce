//! Reads the tensors of a checkpoint's safetensors files as f32.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};

use unireal::internals::weights::manifest::MAX_JSON;
use unireal::internals::weights::module::CpuTensor;
use unireal::{Error, Result};

/// The safetensors files of a component; tensors are read one at a time.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    /// Each file with the offset of its tensor data and its metadata.
    pub(crate) files: Vec<(File, u64, Metadata)>,
    /// Index of each tensor's file.
    pub(crate) tensors: BTreeMap<String, usize>,
}

impl Checkpoint {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let path = entry.map_err(|e| Error::io(folder, e))?.path();
            if path.extension().is_some_and(|e| e == "safetensors") {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            let folder = folder.display().to_string();
            return Err(Error::format(folder, "holds no .safetensors file"));
        }
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
        for path in paths {
            let mut file = File::open(&path).map_err(|e| Error::io(&path, e))?;
            let (data_start, metadata) = read_header(&path, &mut file)?;
            for tensor in metadata.tensors().into_keys() {
                tensors.insert(tensor, files.len());
            }
            files.push((file, data_start, metadata));
        }
        Ok(Checkpoint {
            folder: folder.to_owned(),
            files,
            tensors,
        })
    }

    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<CpuTensor> {
        let folder = self.folder.display().to_string();
        let bad = |reason: String| Error::format(&folder, reason);
        let missing = || bad(format!("{name} is missing"));
        let index = *self.tensors.get(name).ok_or_else(missing)?;
        let (file, data_start, metadata) = &mut self.files[index];
        let info = metadata.info(name).ok_or_else(missing)?;
        // Converted checkpoints may store 1x1 convolutions as matrices, or matrices as 1x1 convolutions.
        let squeezed = |shape: &[usize]| {
            shape
                .iter()
                .copied()
                .filter(|n| *n != 1)
                .collect::<Vec<_>>()
        };
        if squeezed(&info.shape) != squeezed(shape) {
            return Err(bad(format!(
                "reading {name}: shape {:?}, expected {shape:?} or the same without sides of 1",
                info.shape
            )));
        }
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        file.seek(SeekFrom::Start(*data_start + begin as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| bad(format!("reading {name}: {e}")))?;
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let values = match info.dtype {
            Dtype::F32 => {
                let chunks = bytes.chunks_exact(4);
                chunks
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect()
            }
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                return Err(bad(format!(
                    "reading {name}: values of type {other:?}, expected F32, F16 or BF16"
                )));
            }
        };
        Ok(CpuTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values,
        })
    }
}

/// Reads the header of a safetensors file; returns the offset of the tensor data and the metadata.
fn read_header(path: &Path, file: &mut File) -> Result<(u64, Metadata)> {
    let name = path.display().to_string();
    let fail = |e: std::io::Error| Error::format(&name, format!("reading the header: {e}"));
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(fail)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_JSON * 8 {
        return Err(Error::format(
            name,
            format!(
                "reading the header: {length} bytes, expected at most {}",
                MAX_JSON * 8
            ),
        ));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(fail)?;
    let metadata = unireal::internals::config::parse(&name, &header)?;
    Ok((8 + length, metadata))
}
