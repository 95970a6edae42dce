//! One step of training: gradients clipped by their common norm, AdamW (and, where asked for, Muon on the matrices of
//! the blocks), and the exponential moving average of the weights that is shipped.
//!
//! The rules are burn's; AdamW is written out here because on the CPU a dozen tensor operations over every parameter took
//! a tenth of a step, and one pass in place takes a fiftieth. What a rule remembers is kept by the parameter's path, so that
//! a run can go on from a file.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumState;
use burn::optim::{
    AdjustLrFn, GradientsParams, Muon, MuonConfig, MuonState, Optimizer as Rules, RecordState,
    StateSink,
};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::weights::module::{HostTensor, shapes};

/// Which rule moves the weights.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[derive(clap::ValueEnum)]
pub enum Rule {
    /// Decoupled weight decay (Loshchilov and Hutter, 2019).
    #[default]
    #[value(name = "adamw")]
    AdamW,
    /// Orthogonalised momentum on the blocks' matrices (Jordan et al., 2024), AdamW on everything else.
    Muon,
}

/// The matrices that [`Rule::Muon`] moves, by the ends of their paths.
const MATRICES: [&str; 4] = ["qkv", "attention.out", "mlp.first", "mlp.second"];

/// Settings of [`Optimizer`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OptimizerConfig {
    /// Which rule moves the weights.
    #[serde(default)]
    pub rule: Rule,
    /// AdamW's decay of the mean of gradients.
    pub beta1: f32,
    /// AdamW's decay of the mean of squared gradients.
    pub beta2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Largest norm of all gradients together.
    pub clip: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig {
            rule: Rule::AdamW,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
        }
    }
}

/// What a rule remembers of one parameter.
enum Memory {
    /// Means of gradients and of their squares, flat.
    AdamW(Box<[Tensor<1>; 2]>),
    /// Momentum.
    Muon(Box<MuonState<2>>),
}

/// Moves the parameters of a module.
pub struct Optimizer {
    config: OptimizerConfig,
    muon: Muon,
    /// Steps done, which AdamW's bias correction needs.
    steps: i32,
    memory: HashMap<String, Memory>,
}

impl Optimizer {
    /// An optimiser without history.
    pub fn new(config: &OptimizerConfig) -> Self {
        Optimizer {
            config: config.clone(),
            // The root-mean-square matched form takes AdamW's learning rates.
            muon: MuonConfig::new()
                .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
                .with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay)))
                .build(),
            steps: 0,
            memory: HashMap::new(),
        }
    }

    /// The module after one step down the mean of the losses whose `gradients` these are.
    ///
    /// # Errors
    /// [`Error::Internal`] when a gradient is no number or none that is finite.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Vec<GradientsParams>,
        learning_rate: f64,
    ) -> Result<M> {
        let count = gradients.len().max(1) as f64;
        let mut sum = Sum {
            gradients,
            sums: Vec::new(),
            squares: 0.0,
        };
        module.visit(&mut sum);
        let norm = sum.squares.sqrt() / count;
        if !norm.is_finite() {
            return Err(Error::Internal(format!(
                "the norm of the gradients is {norm}; the last checkpoint is whole, go on with a lower rate"
            )));
        }
        let clip = (self.config.clip / (norm + 1e-6)).min(1.0);
        self.steps += 1;
        Ok(module.map(&mut Step {
            optimizer: self,
            path: Vec::new(),
            sums: sum.sums.into_iter(),
            scale: (clip / count) as f32,
            learning_rate,
        }))
    }

    /// Steps done.
    pub(super) fn steps(&self) -> i32 {
        self.steps
    }

    /// What the optimiser remembers, flat, under `first/`, `second/` and `velocity/` and the parameter's path.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the device cannot be read.
    pub(super) fn tensors(&self) -> Result<Vec<HostTensor>> {
        let mut tensors = Vec::new();
        let mut add = |kind: &str, path: &str, data: TensorData| {
            let values: Vec<f32> = data.iter::<f32>().collect();
            tensors.push(HostTensor {
                name: format!("{kind}/{path}"),
                shape: vec![values.len()],
                values,
            });
        };
        for (path, memory) in &self.memory {
            match memory {
                Memory::AdamW(means) => {
                    for (name, mean) in ["first", "second"].into_iter().zip(means.iter()) {
                        add(name, path, read(mean.clone())?);
                    }
                }
                Memory::Muon(state) => {
                    let mut sink = StateSink::default();
                    state.state_flatten("", &mut sink);
                    for (_, data) in sink.tensors {
                        add("velocity", path, data);
                    }
                }
            }
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tensors)
    }

    /// Goes on from what [`Optimizer::tensors`] gave after `steps` steps of `module`. What does not fit this optimiser's rule
    /// starts anew.
    pub(super) fn restore<M: Module>(
        &mut self,
        module: &M,
        steps: i32,
        tensors: &HashMap<String, HostTensor>,
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
            let memory = match self.config.rule == Rule::Muon && is_matrix(&path) {
                true => flat("velocity").map(|velocity| {
                    let velocity = velocity.reshape([shape[0], shape[1]]);
                    Memory::Muon(Box::new(MuonState::new(MomentumState::new(velocity))))
                }),
                false => flat("first")
                    .zip(flat("second"))
                    .map(|(first, second)| Memory::AdamW(Box::new([first, second]))),
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

/// Whether a tensor's numbers lie in the host's memory, where they can be read and written in place.
fn on_host(tensor: &Tensor<1>) -> bool {
    tensor.device() == Device::flex() && tensor.dtype() == DType::F32
}

/// Sums gradients over the parts of a batch and squares over everything.
struct Sum {
    gradients: Vec<GradientsParams>,
    sums: Vec<Option<Tensor<1>>>,
    squares: f64,
}

impl ModuleVisitor for Sum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let all = self.gradients.iter_mut();
        let all = all.filter_map(|gradients| gradients.remove::<D>(param.id));
        let sum = all.reduce(|sum, gradient| {
            let gradient = gradient.to_device(&sum.device());
            sum + gradient
        });
        self.sums.push(sum.map(|sum| {
            let flat = sum.flatten::<1>(0, D - 1);
            let (flat, squares) = squares(flat);
            self.squares += squares;
            flat
        }));
    }
}

/// The sum of squares, and the tensor again.
fn squares(flat: Tensor<1>) -> (Tensor<1>, f64) {
    if !on_host(&flat) {
        let sum = flat.clone().square().sum().into_scalar::<f32>();
        return (flat, f64::from(sum));
    }
    let data = flat.into_data();
    let values = data.as_slice::<f32>().unwrap_or_default();
    // Eight sums side by side run in vectors; in pieces, so that millions of small numbers keep their digits.
    let piece = |piece: &[f32]| {
        let mut sums = [0f32; 8];
        for eight in piece.chunks_exact(8) {
            std::iter::zip(&mut sums, eight).for_each(|(sum, x)| *sum += x * x);
        }
        let rest = piece.chunks_exact(8).remainder().iter().map(|x| x * x);
        f64::from(sums.into_iter().chain(rest).sum::<f32>())
    };
    let sum = values.chunks(4096).map(piece).sum();
    (Tensor::from_data(data, &Device::flex()), sum)
}

/// Walks through the module and moves each parameter.
struct Step<'a> {
    optimizer: &'a mut Optimizer,
    path: Vec<String>,
    sums: std::vec::IntoIter<Option<Tensor<1>>>,
    /// Brings the sum of gradients to the clipped mean.
    scale: f32,
    learning_rate: f64,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        let variant = container.starts_with("Enum:");
        self.path.push(if variant { "" } else { name }.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.sums.next().flatten() else {
            return param;
        };
        let parts: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let path = parts.into_iter().filter(|part| !part.is_empty());
        let path = path.collect::<Vec<_>>().join(".");
        let (id, tensor, mapper) = param.consume();
        let (tracked, required) = (tensor.is_autodiff(), tensor.is_require_grad());
        let shape = tensor.dims();
        let moved: Tensor<D> = self
            .moved(&path, tensor.inner().flatten(0, D - 1), gradient, &shape)
            .reshape(shape);
        let moved = match tracked {
            true => moved.autodiff().set_require_grad(required),
            false => moved,
        };
        Param::from_mapped_value(id, moved, mapper)
    }
}

impl Step<'_> {
    fn moved(
        &mut self,
        path: &str,
        values: Tensor<1>,
        gradient: Tensor<1>,
        shape: &[usize],
    ) -> Tensor<1> {
        let memory = self.optimizer.memory.remove(path);
        let muon = self.optimizer.config.rule == Rule::Muon && is_matrix(path);
        let (moved, memory) = if muon {
            let shape = [shape[0], shape[1]];
            let state = match memory {
                Some(Memory::Muon(state)) => Some(*state),
                _ => None,
            };
            let gradient = gradient.mul_scalar(self.scale).reshape(shape);
            let values = values.reshape(shape);
            let rule = &self.optimizer.muon;
            let (moved, state) = rule.step::<2>(self.learning_rate, values, gradient, state);
            let memory = state.map(|state| Memory::Muon(Box::new(state)));
            (moved.flatten(0, 1), memory)
        } else {
            let [first, second] = match memory {
                Some(Memory::AdamW(means)) => *means,
                _ => [gradient.zeros_like(), gradient.zeros_like()],
            };
            let rates = self.rates();
            let [moved, first, second] = match on_host(&values) {
                true => rates.in_place(values, gradient, first, second),
                false => rates.on_device(values, gradient, first, second),
            };
            (moved, Some(Memory::AdamW(Box::new([first, second]))))
        };
        let memory = memory.map(|memory| (path.to_owned(), memory));
        self.optimizer.memory.extend(memory);
        moved
    }

    fn rates(&self) -> Rates {
        let OptimizerConfig {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            ..
        } = self.optimizer.config;
        let rate = self.learning_rate as f32;
        let steps = self.optimizer.steps;
        Rates {
            scale: self.scale,
            beta1,
            beta2,
            epsilon,
            keep: 1.0 - rate * weight_decay,
            rate: rate / (1.0 - beta1.powi(steps)),
            correction: (1.0 - beta2.powi(steps)).recip(),
        }
    }
}

/// The numbers of one AdamW step.
#[derive(Clone, Copy)]
struct Rates {
    scale: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// What weight decay leaves.
    keep: f32,
    /// Learning rate over the first mean's bias.
    rate: f32,
    /// One over the second mean's bias.
    correction: f32,
}

impl Rates {
    fn in_place(
        self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        let mut data = [values, first, second].map(Tensor::into_data);
        let gradient = gradient.into_data();
        let [values, first, second] = &mut data;
        let slices = (
            values.as_mut_slice::<f32>(),
            gradient.as_slice::<f32>(),
            first.as_mut_slice::<f32>(),
            second.as_mut_slice::<f32>(),
        );
        if let (Ok(values), Ok(gradient), Ok(first), Ok(second)) = slices {
            let both = values.iter_mut().zip(gradient);
            let means = first.iter_mut().zip(second);
            for ((value, gradient), (first, second)) in both.zip(means) {
                let g = gradient * self.scale;
                *first = self.beta1 * *first + (1.0 - self.beta1) * g;
                *second = self.beta2 * *second + (1.0 - self.beta2) * g * g;
                let spread = (*second * self.correction).sqrt() + self.epsilon;
                *value = self.keep * *value - self.rate * *first / spread;
            }
        }
        data.map(|data| Tensor::from_data(data, &Device::flex()))
    }

    fn on_device(
        self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        first: Tensor<1>,
        second: Tensor<1>,
    ) -> [Tensor<1>; 3] {
        let g = gradient * self.scale;
        let first = first * self.beta1 + g.clone() * (1.0 - self.beta1);
        let second = second * self.beta2 + g.square() * (1.0 - self.beta2);
        let spread = (second.clone() * self.correction).sqrt() + self.epsilon;
        let values = values * self.keep - first.clone() * self.rate / spread;
        [values, first, second]
    }
}

/// An exponential moving average of a module's parameters.
pub struct Average {
    decay: f64,
    steps: usize,
    values: Vec<Tensor<1>>,
}

impl Average {
    /// Starts at the module's present parameters.
    pub fn new<M: Module>(module: &M, decay: f64) -> Self {
        Average {
            decay,
            steps: 0,
            values: flat(module),
        }
    }

    /// Goes on after `steps` updates; `module` holds the averages.
    pub(super) fn resumed<M: Module>(module: &M, decay: f64, steps: usize) -> Self {
        Average {
            steps,
            ..Self::new(module, decay)
        }
    }

    /// Updates done.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Takes the module's parameters in. Early steps forget faster, so that the start does not linger.
    pub fn update<M: Module>(&mut self, module: &M) {
        self.steps += 1;
        let decay = self
            .decay
            .min((1 + self.steps) as f64 / (10 + self.steps) as f64);
        let old = std::mem::take(&mut self.values);
        self.values = old
            .into_iter()
            .zip(flat(module))
            .map(|(average, value)| mixed(average, value, decay as f32))
            .collect();
    }

    /// A module like `module` that holds the averages.
    pub fn apply<M: Module>(&self, module: M) -> M {
        struct Fill<'a>(std::slice::Iter<'a, Tensor<1>>);
        impl ModuleMapper for Fill<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let value = self.0.next().expect("the module has not changed its shape");
                let shape = param.val().dims();
                param.map(|_| value.clone().reshape(shape))
            }
        }
        module.map(&mut Fill(self.values.iter()))
    }
}

/// `decay average + (1 - decay) value`, in place on the host.
fn mixed(average: Tensor<1>, value: Tensor<1>, decay: f32) -> Tensor<1> {
    if !on_host(&average) {
        return average * decay + value * (1.0 - decay);
    }
    let (mut average, value) = (average.into_data(), value.into_data());
    if let (Ok(average), Ok(value)) = (average.as_mut_slice::<f32>(), value.as_slice::<f32>()) {
        for (average, value) in average.iter_mut().zip(value) {
            *average += (value - *average) * (1.0 - decay);
        }
    }
    Tensor::from_data(average, &Device::flex())
}

fn flat<M: Module>(module: &M) -> Vec<Tensor<1>> {
    struct Collect(Vec<Tensor<1>>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0
                .push(param.val().without_autodiff().flatten(0, D - 1));
        }
    }
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    collect.0
}
