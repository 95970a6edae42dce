//! The optimizer: clips gradients by their global norm, then applies AdamW or, to the matrices of the blocks, Muon.
//!
//! Parameters are independent of each other, so they are divided among threads. AdamW and Muon are implemented in `adamw.rs` and
//! `muon.rs`: burn's AdamW takes a dozen tensor operations per parameter, a tenth of a step on the CPU, and its Muon has no bf16
//! products. The optimizer's state is stored by the parameter's path, so that a run can be resumed from a file.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::adamw::AdamW;
pub use super::average::Average;
use super::cpu_tensor::{self, on_cpu};
use super::muon::Muon;
use unireal::internals::weights::module::{CpuTensor, shapes};
use unireal::{Error, Result};

/// The optimizer of a stage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[derive(clap::ValueEnum)]
pub enum OptimizerKind {
    /// Decoupled weight decay (Loshchilov and Hutter, 2019).
    #[default]
    #[value(name = "adamw")]
    AdamW,
    /// Orthogonalised momentum (Jordan et al., 2024) on the matrices of the transformer's blocks and on the autoencoder's inner
    /// convolutions, AdamW on everything else.
    Muon,
}

/// The layers whose weights [`OptimizerKind::Muon`] trains, by the ends of their paths: matrices of the transformer's blocks, and the
/// autoencoder's convolutions except those from and to pixels and latents. A convolution of `[out, in, height, width]` is treated as
/// a matrix of `out` rows.
const MATRICES: [&str; 9] = [
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

/// Settings of [`Optimizer`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OptimizerConfig {
    /// The optimizer.
    #[serde(default, alias = "rule")]
    pub kind: OptimizerKind,
    /// AdamW's decay of the first moment.
    pub beta1: f32,
    /// AdamW's decay of the second moment.
    pub beta2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Global norm to which the gradients are clipped.
    #[serde(alias = "clip")]
    pub max_grad_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            kind: OptimizerKind::AdamW,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
        }
    }
}

/// The optimizer state of one parameter.
enum State {
    /// The first and second moment, flat.
    AdamW(Box<[Tensor<1>; 2]>),
    /// The momentum's velocity, flat.
    Muon(Box<Tensor<1>>),
}

/// Updates the parameters of a module.
pub struct Optimizer {
    config: OptimizerConfig,
    /// Number of steps done, for AdamW's bias correction.
    steps: i32,
    memory: HashMap<String, State>,
    threads: usize,
}

impl Optimizer {
    /// Creates an optimizer without state.
    pub fn new(config: &OptimizerConfig) -> Self {
        Optimizer {
            config: config.clone(),
            steps: 0,
            memory: HashMap::new(),
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
        let mut collect = Collect {
            gradients,
            collected: Vec::new(),
        };
        module.visit(&mut collect);
        let size = |gradients: &Vec<Tensor<1>>| gradients.iter().map(elements).sum();
        let sums = cpu_tensor::parallel(self.threads, collect.collected, size, cpu_tensor::sum);
        let squares: f64 = sums.iter().flatten().map(|(_, squares)| squares).sum();
        let norm = squares.sqrt() / count;
        if !norm.is_finite() {
            return Err(Error::Request(format!(
                "the norm of the gradients is {norm}"
            )));
        }
        let clip = (self.config.max_grad_norm / (norm + 1e-6)).min(1.0);
        self.steps += 1;
        let mut take = Take {
            optimizer: self,
            path: Vec::new(),
            sums: sums.into_iter(),
            jobs: Vec::new(),
        };
        let module = module.map(&mut take);
        let jobs = take.jobs;
        let rule = Update {
            muon: Muon {
                scale: (clip / count) as f32,
                weight_decay: self.config.weight_decay,
                learning_rate,
            },
            adamw: AdamW::new(
                &self.config,
                self.steps,
                (clip / count) as f32,
                learning_rate,
            ),
        };
        let threads = if jobs.iter().flatten().all(|job| on_cpu(&job.values)) {
            self.threads
        } else {
            1
        };
        let cost = |job: &Option<Job>| job.as_ref().map_or(0, Job::cost);
        let updated =
            cpu_tensor::parallel(threads, jobs, cost, |job| job.map(|job| rule.apply(job)));
        let mut put = Put(updated.into_iter());
        for job in put.0.as_mut_slice().iter_mut().flatten() {
            let memory = job.memory.take().map(|memory| (job.path.clone(), memory));
            self.memory.extend(memory);
        }
        Ok(module.map(&mut put))
    }

    /// Returns the number of steps done.
    pub(super) fn steps(&self) -> i32 {
        self.steps
    }

    /// Returns the optimizer's state as flat tensors, named `first/`, `second/` or `velocity/` and the parameter's path.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the device cannot be read.
    pub(super) fn tensors(&self) -> Result<Vec<CpuTensor>> {
        let mut tensors = Vec::new();
        let mut add = |kind: &str, path: &str, data: TensorData| {
            let values: Vec<f32> = data.iter::<f32>().collect();
            tensors.push(CpuTensor {
                name: format!("{kind}/{path}"),
                shape: vec![values.len()],
                values,
            });
        };
        for (path, memory) in &self.memory {
            match memory {
                State::AdamW(means) => {
                    for (name, mean) in ["first", "second"].into_iter().zip(means.iter()) {
                        add(name, path, read(mean.clone())?);
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
    pub(super) fn restore<M: Module>(
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
            let memory = if self.config.kind == OptimizerKind::Muon && is_matrix(&path) {
                flat("velocity").map(|velocity| State::Muon(Box::new(velocity)))
            } else {
                flat("first")
                    .zip(flat("second"))
                    .map(|(first, second)| State::AdamW(Box::new([first, second])))
            };
            self.memory.extend(memory.map(|memory| (path, memory)));
        }
    }
}

fn is_matrix(path: &str) -> bool {
    MATRICES
        .iter()
        .any(|layer| path.contains(&format!("{layer}.weight")))
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<TensorData> {
    tensor
        .try_into_data()
        .map_err(|e| Error::DeviceLost(format!("reading what training keeps: {e:?}")))
}

/// Collects the gradients of each parameter from those of several shares.
struct Collect {
    gradients: Vec<GradientsParams>,
    collected: Vec<Vec<Tensor<1>>>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let all = self.gradients.iter_mut();
        let all = all.filter_map(|gradients| gradients.remove::<D>(param.id));
        let all = all.map(|gradient| gradient.flatten::<1>(0, D - 1));
        self.collected.push(all.collect());
    }
}

/// One parameter's update.
struct Job {
    path: String,
    values: Tensor<1>,
    /// `None` after the update.
    gradient: Option<Tensor<1>>,
    memory: Option<State>,
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
struct Take<'a> {
    optimizer: &'a mut Optimizer,
    path: Vec<String>,
    sums: std::vec::IntoIter<Option<(Tensor<1>, f64)>>,
    jobs: Vec<Option<Job>>,
}

impl ModuleMapper for Take<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        let variant = container.starts_with("Enum:");
        self.path.push(if variant { "" } else { name }.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((gradient, _)) = self.sums.next().flatten() else {
            self.jobs.push(None);
            return param;
        };
        let parts = self.path.iter().map(String::as_str);
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        let path = parts.join(".");
        let shape = param.dims().to_vec();
        let muon = self.optimizer.config.kind == OptimizerKind::Muon && is_matrix(&path);
        param.map(|tensor| {
            let required = tensor.is_require_grad();
            let tracked = tensor.is_autodiff();
            let values = tensor.inner();
            let left = Tensor::<1>::zeros([1], &values.device()).reshape([1; D]);
            self.jobs.push(Some(Job {
                memory: self.optimizer.memory.remove(&path),
                path,
                values: values.flatten(0, D - 1),
                gradient: Some(gradient),
                shape,
                muon,
            }));
            if tracked {
                left.autodiff().set_require_grad(required)
            } else {
                left
            }
        })
    }
}

/// Puts the updated values back into the parameters from which [`Take`] moved them.
struct Put(std::vec::IntoIter<Option<Job>>);

impl ModuleMapper for Put {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(job) = self.0.next().flatten() else {
            return param;
        };
        param.map(|left| {
            let shape: [usize; D] = std::array::from_fn(|i| job.shape[i]);
            let values = job.values.reshape(shape);
            if left.is_autodiff() {
                values.autodiff().set_require_grad(left.is_require_grad())
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
            memory,
            ..
        } = job
        else {
            return job;
        };
        let (values, memory) = if job.muon {
            let velocity = match memory {
                Some(State::Muon(velocity)) => Some(*velocity),
                _ => None,
            };
            let [values, velocity] = self.muon.step(values, gradient, velocity, sides);
            (values, Some(State::Muon(Box::new(velocity))))
        } else {
            let [first, second] = match memory {
                Some(State::AdamW(means)) => *means,
                _ => [gradient.zeros_like(), gradient.zeros_like()],
            };
            let [values, first, second] = self.adamw.step(values, gradient, first, second);
            (values, Some(State::AdamW(Box::new([first, second]))))
        };
        Job {
            values,
            gradient: None,
            memory,
            ..job
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unireal::internals::config::Config;
    use unireal::internals::model::vae::Autoencoder;
    use unireal::internals::noise::Noise;
    use unireal::internals::weights::module::collect;
    use unireal::internals::weights::quant::Encoding;

    /// Muon updates the autoencoder's inner convolutions, AdamW the layers that read and write pixels; the step of a convolution is
    /// orthogonal as a matrix of shape `[out, in * height * width]`.
    #[test]
    fn muon_moves_the_inner_convolutions() {
        let device = Device::flex();
        let config = OptimizerConfig {
            kind: OptimizerKind::Muon,
            weight_decay: 0.0,
            ..OptimizerConfig::default()
        };
        let vae = Autoencoder::new(&Config::tiny().vae, Encoding::F32, &device).train();
        let images = Noise::new(3).tensor([2, 3, 32, 32], &device.clone().autodiff());
        let loss = vae.decode_latent(vae.encode(images, None)).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &vae);
        let before = collect(&vae, &[]).unwrap();
        let mut optimizer = Optimizer::new(&config);
        let rate = 1e-3;
        let vae = optimizer.step(vae, vec![gradients], rate).unwrap();
        let after = collect(&vae, &[]).unwrap();

        let remembered = optimizer.tensors().unwrap();
        let has = |name: &str| remembered.iter().any(|tensor| tensor.name == name);
        for convolution in [
            "encoder.down_blocks.0.resnets.0.conv1",
            "encoder.down_blocks.0.downsample",
            "encoder.down_blocks.1.resnets.0.conv_shortcut",
            "decoder.mid_block.resnets.0.conv2",
            "decoder.up_blocks.0.upsample",
        ] {
            let name = format!("{convolution}.weight");
            assert!(has(&format!("velocity/{name}")), "{name}");
            let find = |all: &[CpuTensor]| all.iter().position(|tensor| tensor.name == name);
            let (old, new) = (find(&before).unwrap(), find(&after).unwrap());
            let shape = &before[old].shape;
            let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
            let size = rate * 0.2 * (rows.max(columns) as f64).sqrt();
            let step: Vec<f64> = std::iter::zip(&before[old].values, &after[new].values)
                .map(|(old, new)| f64::from(old - new) / size)
                .collect();
            // Five iterations bring all but the smallest singular values to 0.7 to 1.2.
            let squares = step.iter().map(|x| x * x).sum::<f64>() / rows.min(columns) as f64;
            assert!((0.4..1.5).contains(&squares), "{name}: {squares}");
        }
        for other in ["encoder.conv_in", "decoder.conv_out"] {
            assert!(has(&format!("first/{other}.weight")), "{other}");
        }
    }
}
