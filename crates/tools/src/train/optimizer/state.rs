//! The optimizer's state: its tensors, and their names in a checkpoint.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Optimizer, OptimizerKind, is_matrix};
use unireal::internals::weights::module::{CpuTensor, shapes};
use unireal::{Error, Result};

/// The optimizer state of one parameter.
pub(super) enum State {
    /// The first and second moment, flat.
    AdamW(Box<[Tensor<1>; 2]>),
    /// The momentum's velocity, flat.
    Muon(Box<Tensor<1>>),
}

impl Optimizer {
    /// Returns the optimizer's state as flat tensors, named `first/`, `second/` or `velocity/` and the parameter's path.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the device cannot be read.
    pub(in crate::train) fn tensors(&self) -> Result<Vec<CpuTensor>> {
        let mut tensors = Vec::new();
        let mut add = |kind: &str, path: &str, data: TensorData| {
            let values: Vec<f32> = data.iter::<f32>().collect();
            tensors.push(CpuTensor {
                name: format!("{kind}/{path}"),
                shape: vec![values.len()],
                values,
            });
        };
        for (path, state) in &self.states {
            match state {
                State::AdamW(moments) => {
                    for (name, moment) in ["first", "second"].into_iter().zip(moments.iter()) {
                        add(name, path, read(moment.clone())?);
                    }
                }
                State::Muon(velocity) => add("velocity", path, read(*velocity.clone())?),
            }
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tensors)
    }

    /// Restores the state that [`Optimizer::tensors`] returned after `steps` steps of `module`. Ignores state of another kind of
    /// optimizer or another size.
    pub(in crate::train) fn restore<M: Module>(
        &mut self,
        module: &M,
        steps: i32,
        tensors: &HashMap<String, CpuTensor>,
        device: &Device,
    ) {
        self.steps = steps;
        for (path, shape) in shapes(module, &[]) {
            let count: usize = shape.iter().product();
            let flat = |kind: &str| {
                let found = tensors.get(&format!("{kind}/{path}"))?;
                let data = TensorData::new(found.values.clone(), [count]);
                (found.values.len() == count).then(|| Tensor::<1>::from_data(data, device))
            };
            let state = if self.config.kind == OptimizerKind::Muon && is_matrix(&path) {
                flat("velocity").map(|velocity| State::Muon(Box::new(velocity)))
            } else {
                flat("first")
                    .zip(flat("second"))
                    .map(|(first, second)| State::AdamW(Box::new([first, second])))
            };
            self.states.extend(state.map(|state| (path, state)));
        }
    }
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<TensorData> {
    tensor
        .try_into_data()
        .map_err(|e| Error::DeviceLost(format!("reading the optimizer's state: {e:?}")))
}
