//! Maps named tensors to module parameters and back. The checkpoint's name of a parameter follows from its path and the module's table of
//! [`Names`]. One visitor serves every network, so no module has its own loader.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor};

use crate::error::{Error, Result};

/// Replacements (in a parameter's path, in the checkpoint's name), applied in order.
pub type Names = &'static [(&'static str, &'static str)];

/// A flattened tensor on the device, with its shape.
#[derive(Clone, Debug)]
pub enum DeviceTensor {
    /// Floats.
    Float(Tensor<1>, Vec<usize>),
    /// Packed integers.
    Packed(Tensor<1, Int>, Vec<usize>),
}

/// A tensor on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuTensor {
    /// The checkpoint's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// The path of the parameter that a module visitor is at, such as `blocks.0.attention.qkv.weight`.
#[derive(Debug)]
pub struct ParamPath {
    names: Names,
    parts: Vec<String>,
}

impl ParamPath {
    /// Starts at the module's root. `names` converts paths to a checkpoint's names; without any, they stay the module's.
    pub fn new(names: Names) -> Self {
        ParamPath {
            names,
            parts: Vec::new(),
        }
    }

    /// Appends a part to the path, empty for the variant of an enum: it is a representation of a parameter, not part of its name.
    pub fn enter(&mut self, name: &str, container: &str) {
        let part = if container.starts_with("Enum:") {
            ""
        } else {
            name
        };
        self.parts.push(part.to_owned());
    }

    /// Removes the last part.
    pub fn exit(&mut self) {
        self.parts.pop();
    }

    /// Returns the name of the parameter.
    pub fn name(&self) -> String {
        let parts: Vec<&str> = self
            .parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        self.names
            .iter()
            .fold(parts.join("."), |path, (ours, theirs)| {
                path.replace(ours, theirs)
            })
    }
}

/// Returns name and shape of every parameter of a module, including packed integers, without initialising lazy parameters.
pub fn shapes<M: Module>(module: &M, names: Names) -> Vec<(String, Vec<usize>)> {
    struct Shapes {
        path: ParamPath,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let shape = param.lazy_shape().dims::<D>().to_vec();
            self.found.push((self.path.name(), shape));
        }
        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            let shape = param.lazy_shape().dims::<D>().to_vec();
            self.found.push((self.path.name(), shape));
        }
    }
    let mut shapes = Shapes {
        path: ParamPath::new(names),
        found: Vec::new(),
    };
    module.visit(&mut shapes);
    shapes.found
}

/// Returns every float parameter of a module with its name in the checkpoint.
///
/// # Errors
/// [`Error::DeviceLost`] when a parameter cannot be read back.
pub fn collect<M: Module>(module: &M, names: Names) -> Result<Vec<CpuTensor>> {
    struct Collect {
        path: ParamPath,
        found: Result<Vec<CpuTensor>>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.name();
            let Ok(found) = &mut self.found else { return };
            match param.val().try_into_data() {
                Ok(data) => found.push(CpuTensor {
                    name,
                    shape: data.shape().to_vec(),
                    values: data.iter::<f32>().collect(),
                }),
                Err(e) => self.found = Err(Error::DeviceLost(format!("reading {name}: {e:?}"))),
            }
        }
    }
    let mut collect = Collect {
        path: ParamPath::new(names),
        found: Ok(Vec::new()),
    };
    module.visit(&mut collect);
    collect.found
}

/// Returns the module with every parameter taken from `tensors`.
///
/// # Errors
/// [`Error::Format`] about `file` when a parameter has no tensor, a tensor no parameter, or the shapes differ.
pub fn fill<M: Module>(
    module: M,
    names: Names,
    tensors: HashMap<String, DeviceTensor>,
    file: &str,
) -> Result<M> {
    let mut fill = Fill {
        path: ParamPath::new(names),
        tensors,
        problems: Vec::new(),
    };
    let module = module.map(&mut fill);
    let unused = fill.tensors.keys().map(|name| format!("{name} is unknown"));
    let mut problems = fill.problems;
    problems.extend(unused);
    if problems.is_empty() {
        Ok(module)
    } else {
        Err(Error::format(file, summary(problems)))
    }
}

/// Lists the first problems, and says how many more there are.
fn summary(mut problems: Vec<String>) -> String {
    problems.sort();
    let count = problems.len();
    problems.truncate(5);
    let more = match count - problems.len() {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    format!("{}{more}", problems.join(", "))
}

/// Replaces parameters by the tensors of their names, and collects what is wrong.
struct Fill {
    path: ParamPath,
    tensors: HashMap<String, DeviceTensor>,
    problems: Vec<String>,
}

impl Fill {
    fn take(&mut self, wanted: &[usize]) -> Option<DeviceTensor> {
        let name = self.path.name();
        let problem = match self.tensors.remove(&name) {
            None => format!("{name} is missing"),
            Some(tensor) => {
                let (DeviceTensor::Float(_, found) | DeviceTensor::Packed(_, found)) = &tensor;
                if found == wanted {
                    return Some(tensor);
                }
                format!("{name} has shape {found:?}, the configuration needs {wanted:?}")
            }
        };
        self.problems.push(problem);
        None
    }

    fn mistyped(&mut self, wanted: &str) {
        let problem = format!("{} does not hold {wanted}", self.path.name());
        self.problems.push(problem);
    }
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        match self.take(&shape) {
            Some(DeviceTensor::Float(flat, _)) => {
                let id = param.id;
                return param.transform_for_load(flat.reshape(shape), id);
            }
            Some(DeviceTensor::Packed(..)) => self.mistyped("floats"),
            None => {}
        }
        param
    }
    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        match self.take(&shape) {
            Some(DeviceTensor::Packed(flat, _)) => {
                let id = param.id;
                return param.transform_for_load(flat.reshape(shape), id);
            }
            Some(DeviceTensor::Float(..)) => self.mistyped("packed integers"),
            None => {}
        }
        param
    }
}
