//! Reads safetensors fixtures, and copies weights into and out of modules. Independent of the library's own loader, so that
//! neither hides errors of the other.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

/// A file of `tests/golden`.
pub(crate) struct Fixture {
    name: String,
    bytes: Vec<u8>,
    /// Metadata written by the reference script.
    pub(crate) metadata: HashMap<String, String>,
}

impl Fixture {
    /// Reads a fixture by its file name.
    pub(crate) fn open(name: &str) -> Self {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
        let metadata = header.metadata().clone().expect("metadata");
        Fixture {
            name: name.into(),
            bytes,
            metadata,
        }
    }

    /// Returns a metadata value parsed as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, key: &str) -> T {
        serde_json::from_str(&self.metadata[key])
            .unwrap_or_else(|e| panic!("{}: {key}: {e}", self.name))
    }

    /// Returns the names of its tensors.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        tensors.names().into_iter().map(str::to_owned).collect()
    }

    /// Returns a tensor's shape and its 32-bit values as little-endian bytes.
    pub(crate) fn le_bytes(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<[u8; 4]>) {
        let tensors = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let view = tensors
            .tensor(name)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        assert_eq!(view.dtype(), dtype, "{}: {name}", self.name);
        let bytes = view.data().as_chunks::<4>().0.to_vec();
        (view.shape().to_vec(), bytes)
    }

    /// Returns an f32 tensor.
    pub(crate) fn floats<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, bytes) = self.le_bytes(name, Dtype::F32);
        let values: Vec<f32> = bytes.into_iter().map(f32::from_le_bytes).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// Returns the shape and values of an i32 tensor.
    pub(crate) fn integers(&self, name: &str) -> (Vec<usize>, Vec<i32>) {
        let (shape, bytes) = self.le_bytes(name, Dtype::I32);
        (shape, bytes.into_iter().map(i32::from_le_bytes).collect())
    }

    /// Loads the fixture's weights into a module. Every parameter must have a weight of the same shape, and every weight must be
    /// used.
    pub(crate) fn load<M: Module>(&self, module: M, names: &[(&str, &str)], device: &Device) -> M {
        let mut weights = Weights {
            fixture: self,
            names,
            device,
            path: Vec::new(),
            left: self.names(),
        };
        let module = module.map(&mut weights);
        weights.left.retain(|name| name.starts_with("weights."));
        assert!(weights.left.is_empty(), "not loaded: {:?}", weights.left);
        module
    }
}

/// Returns the name component of a module field; enum variants add none.
fn field(name: &str, container: &str) -> String {
    let is_field = !container.starts_with("Enum:");
    if is_field { name.into() } else { String::new() }
}

/// Returns the checkpoint's name of a parameter path.
fn renamed(path: &[String], names: &[(&str, &str)]) -> String {
    let fields: Vec<&str> = path
        .iter()
        .map(String::as_str)
        .filter(|field| !field.is_empty())
        .collect();
    names.iter().fold(fields.join("."), |name, (ours, theirs)| {
        name.replace(ours, theirs)
    })
}

/// Replaces parameters with the fixture's tensors.
struct Weights<'a> {
    fixture: &'a Fixture,
    names: &'a [(&'a str, &'a str)],
    device: &'a Device,
    path: Vec<String>,
    left: BTreeSet<String>,
}

impl ModuleMapper for Weights<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(field(name, container));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = format!("weights.{}", renamed(&self.path, self.names));
        assert!(self.left.remove(&name), "{name} is missing or used twice");
        let value = self.fixture.floats::<D>(&name, self.device);
        assert_eq!(param.lazy_shape(), value.shape(), "{name}");
        let id = param.id;
        param.transform_for_load(value, id) // unlike `map`, preserves the requires-grad flag
    }
}

/// Returns the maximum absolute difference; infinity if any is NaN.
fn difference<const D: usize>(actual: &Tensor<D>, expected: &Tensor<D>) -> f32 {
    assert_eq!(actual.dims(), expected.dims());
    let difference: Vec<f32> = (actual.clone() - expected.clone())
        .into_data()
        .try_to_vec()
        .expect("f32");
    difference
        .into_iter()
        .map(|d| if d.is_nan() { f32::INFINITY } else { d.abs() })
        .fold(0.0, f32::max)
}

/// Asserts that the maximum absolute difference is at most `bar`.
pub(crate) fn assert_close<const D: usize>(
    what: &str,
    actual: &Tensor<D>,
    expected: &Tensor<D>,
    bar: f32,
) {
    let worst = difference(actual, expected);
    println!("{what}: {worst:.2e}, bar {bar:.0e}");
    assert!(
        worst <= bar,
        "{what}: difference {worst:e}, expected at most {bar:e}"
    );
}

/// Collects parameters.
struct Collect<'a> {
    names: &'a [(&'a str, &'a str)],
    path: Vec<String>,
    values: HashMap<String, Vec<f32>>,
}

/// Returns all parameters of a module by the checkpoint's names.
pub(crate) fn parameters<M: Module>(
    module: &M,
    names: &[(&str, &str)],
) -> HashMap<String, Vec<f32>> {
    let mut collect = Collect {
        names,
        path: Vec::new(),
        values: HashMap::new(),
    };
    module.visit(&mut collect);
    collect.values
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(field(name, container));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val().into_data().try_to_vec().expect("f32");
        let name = renamed(&self.path, self.names);
        self.values.insert(name, values);
    }
}
