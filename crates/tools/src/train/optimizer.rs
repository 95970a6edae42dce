//! The optimizer: clips gradients by their global norm, then applies AdamW or, to the matrices of the blocks, Muon.
//!
//! Parameters are independent of each other, so they are divided among threads. AdamW and Muon are implemented in `adamw.rs` and
//! `muon.rs`: burn's AdamW takes a dozen tensor operations per parameter, a tenth of a step on the CPU, and its Muon has no bf16
//! products. The optimizer's state is stored by the parameter's path, so that a run can be resumed from a file.

mod config;
mod state;

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use super::adamw::AdamW;
pub use super::average::Average;
use super::cpu_tensor::{self, on_cpu};
use super::muon::Muon;
pub use config::{OptimizerConfig, OptimizerKind};
use state::State;
use unireal::internals::weights::module::ParamPath;
use unireal::{Error, Result};

/// The layers whose weights [`OptimizerKind::Muon`] trains, by the ends of their paths: matrices of the transformer's blocks, and the
/// autoencoder's convolutions except those from and to pixels and latents. A convolution of `[out, in, height, width]` is treated as
/// a matrix of `out` rows.
const MUON_LAYERS: [&str; 9] = [
    "qkv",
    "attention.out",
    "mlp.first",
    "mlp.second",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsample",
    "upsample",
];

/// Updates the parameters of a module.
pub struct Optimizer {
    config: OptimizerConfig,
    /// Number of steps done, for AdamW's bias correction.
    steps: i32,
    /// The state of each parameter, by its path.
    states: HashMap<String, State>,
    threads: usize,
}

impl Optimizer {
    /// Creates an optimizer without state.
    pub fn new(config: &OptimizerConfig) -> Self {
        Optimizer {
            config: config.clone(),
            steps: 0,
            states: HashMap::new(),
            threads: 1,
        }
    }

    /// Sets the number of threads among which parameters are divided on the CPU.
    pub(super) fn with_threads(self, threads: usize) -> Self {
        Optimizer { threads, ..self }
    }

    /// Returns the module after one step with the mean of `gradients`.
    ///
    /// # Errors
    /// [`Error::Request`] when the norm of the gradients is not finite; the module is dropped then.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Vec<GradientsParams>,
        learning_rate: f64,
    ) -> Result<M> {
        let count = gradients.len().max(1) as f64;
        let sums = sum_gradients(&module, gradients, self.threads);
        let squares: f64 = sums.iter().flatten().map(|(_, squares)| squares).sum();
        let norm = squares.sqrt() / count;
        if !norm.is_finite() {
            return Err(Error::Request(format!(
                "the norm of the gradients is {norm}"
            )));
        }
        let clip = (self.config.max_grad_norm / (norm + 1e-6)).min(1.0);
        self.steps += 1;
        let scale = (clip / count) as f32;
        let update = Update {
            muon: Muon {
                scale,
                weight_decay: self.config.weight_decay,
                learning_rate,
            },
            adamw: AdamW::new(&self.config, self.steps, scale, learning_rate),
        };
        let mut extract = ExtractParams {
            optimizer: self,
            path: ParamPath::new(&[]),
            sums: sums.into_iter(),
            jobs: Vec::new(),
        };
        let module = module.map(&mut extract);
        let jobs = extract.jobs;
        let threads = if jobs.iter().flatten().all(|job| on_cpu(&job.values)) {
            self.threads
        } else {
            1
        };
        let cost = |job: &Option<Job>| job.as_ref().map_or(0, Job::cost);
        let updated =
            cpu_tensor::parallel(threads, jobs, cost, |job| job.map(|job| update.apply(job)));
        let mut restore = RestoreParams(updated.into_iter());
        for job in restore.0.as_mut_slice().iter_mut().flatten() {
            let state = job.state.take().map(|state| (job.path.clone(), state));
            self.states.extend(state);
        }
        Ok(module.map(&mut restore))
    }

    /// Returns the number of steps done.
    pub(super) fn steps(&self) -> i32 {
        self.steps
    }
}

/// Returns whether Muon updates the parameter at `path`.
fn is_matrix(path: &str) -> bool {
    MUON_LAYERS
        .iter()
        .any(|layer| path.contains(&format!("{layer}.weight")))
}

/// Returns the sum of each parameter's gradients and its sum of squares, in the order of the module's parameters.
fn sum_gradients<M: Module>(
    module: &M,
    gradients: Vec<GradientsParams>,
    threads: usize,
) -> Vec<Option<(Tensor<1>, f64)>> {
    let mut collect = CollectGradients {
        gradients,
        collected: Vec::new(),
    };
    module.visit(&mut collect);
    let size = |gradients: &Vec<Tensor<1>>| gradients.iter().map(elements).sum();
    cpu_tensor::parallel(threads, collect.collected, size, cpu_tensor::sum)
}

/// Collects the gradients of each parameter from those of all workers.
struct CollectGradients {
    gradients: Vec<GradientsParams>,
    collected: Vec<Vec<Tensor<1>>>,
}

impl ModuleVisitor for CollectGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let workers = self.gradients.iter_mut();
        let gradients = workers.filter_map(|gradients| gradients.remove::<D>(param.id));
        let flat = gradients.map(|gradient| gradient.flatten::<1>(0, D - 1));
        self.collected.push(flat.collect());
    }
}

/// One parameter's update.
struct Job {
    path: String,
    values: Tensor<1>,
    /// `None` after the update.
    gradient: Option<Tensor<1>>,
    state: Option<State>,
    shape: Vec<usize>,
    /// Whether Muon updates it.
    muon: bool,
}

impl Job {
    /// Estimates the number of floating-point operations.
    fn cost(&self) -> usize {
        if self.muon {
            20 * elements(&self.values) * self.sides().into_iter().min().unwrap_or(1)
        } else {
            20 * elements(&self.values)
        }
    }

    /// Returns rows (first axis) and columns (other axes) of Muon's matrix.
    fn sides(&self) -> [usize; 2] {
        [self.shape[0], self.shape[1..].iter().product()]
    }
}

fn elements(tensor: &Tensor<1>) -> usize {
    tensor.dims()[0]
}

/// Moves each parameter that has a gradient out of a module, so that it can be updated in place; leaves a tensor of one element.
struct ExtractParams<'a> {
    optimizer: &'a mut Optimizer,
    path: ParamPath,
    sums: std::vec::IntoIter<Option<(Tensor<1>, f64)>>,
    jobs: Vec<Option<Job>>,
}

impl ModuleMapper for ExtractParams<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((gradient, _)) = self.sums.next().flatten() else {
            self.jobs.push(None);
            return param;
        };
        let path = self.path.name();
        let shape = param.dims().to_vec();
        let muon = self.optimizer.config.kind == OptimizerKind::Muon && is_matrix(&path);
        param.map(|tensor| {
            let required = tensor.is_require_grad();
            let tracked = tensor.is_autodiff();
            let values = tensor.inner();
            let placeholder = Tensor::<1>::zeros([1], &values.device()).reshape([1; D]);
            self.jobs.push(Some(Job {
                state: self.optimizer.states.remove(&path),
                path,
                values: values.flatten(0, D - 1),
                gradient: Some(gradient),
                shape,
                muon,
            }));
            if tracked {
                placeholder.autodiff().set_require_grad(required)
            } else {
                placeholder
            }
        })
    }
}

/// Moves the updated values back into the parameters from which [`ExtractParams`] moved them.
struct RestoreParams(std::vec::IntoIter<Option<Job>>);

impl ModuleMapper for RestoreParams {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(job) = self.0.next().flatten() else {
            return param;
        };
        param.map(|placeholder| {
            let shape: [usize; D] = std::array::from_fn(|i| job.shape[i]);
            let values = job.values.reshape(shape);
            if placeholder.is_autodiff() {
                values
                    .autodiff()
                    .set_require_grad(placeholder.is_require_grad())
            } else {
                values
            }
        })
    }
}

/// The coefficients of one step for both optimizers.
struct Update {
    muon: Muon,
    adamw: AdamW,
}

impl Update {
    /// Returns the job with new values and optimizer state.
    fn apply(&self, job: Job) -> Job {
        let sides = job.sides();
        let Job {
            values,
            gradient: Some(gradient),
            state,
            ..
        } = job
        else {
            return job;
        };
        let (values, state) = if job.muon {
            let velocity = match state {
                Some(State::Muon(velocity)) => Some(*velocity),
                _ => None,
            };
            let [values, velocity] = self.muon.step(values, gradient, velocity, sides);
            (values, Some(State::Muon(Box::new(velocity))))
        } else {
            let [first, second] = match state {
                Some(State::AdamW(moments)) => *moments,
                _ => [gradient.zeros_like(), gradient.zeros_like()],
            };
            let [values, first, second] = self.adamw.step(values, gradient, first, second);
            (values, Some(State::AdamW(Box::new([first, second]))))
        };
        Job {
            values,
            gradient: None,
            state,
            ..job
        }
    }
}

#[cfg(test)]
mod tests;
