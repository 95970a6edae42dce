//! One step of training: gradients clipped by their common norm, AdamW (and, where asked for, Muon on the matrices of
//! the blocks), and the exponential moving average of the weights that is shipped.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup};
use burn::optim::{AdamWConfig, AdjustLrFn, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

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

/// Moves the parameters of a module.
pub struct Optimizer {
    inner: ModuleOptimizer,
    clip: f64,
}

impl Optimizer {
    /// An optimiser without history.
    pub fn new(config: &OptimizerConfig) -> Self {
        let adamw = AdamWConfig::new()
            .with_beta_1(config.beta1)
            .with_beta_2(config.beta2)
            .with_epsilon(config.epsilon)
            .with_weight_decay(config.weight_decay)
            .build();
        let mut inner = ModuleOptimizer::from(adamw);
        if config.rule == Rule::Muon {
            // The root-mean-square matched form takes AdamW's learning rates.
            let muon = MuonConfig::new()
                .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
                .build();
            let matrices = ["qkv", "attention.out", "mlp.first", "mlp.second"]
                .map(|layer| format!("{layer}.weight"))
                .to_vec();
            inner = inner.with_group(ParamGroup::from_any_predicates(matrices), muon, None);
        }
        Optimizer {
            inner,
            clip: config.clip,
        }
    }

    /// The module after one step down the mean of the losses whose `gradients` these are.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Vec<GradientsParams>,
        learning_rate: f64,
    ) -> M {
        let gradients = clipped(&module, gradients, self.clip);
        self.inner.step(learning_rate, module, gradients)
    }
}

/// The mean of all gradients, scaled so that the norm of all parameters' together is at most `limit`.
fn clipped<M: Module>(module: &M, gradients: Vec<GradientsParams>, limit: f64) -> GradientsParams {
    struct Mean {
        gradients: Vec<GradientsParams>,
        means: GradientsParams,
        squares: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Mean {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let all = self.gradients.iter_mut();
            let all = all.filter_map(|gradients| gradients.remove::<D>(param.id));
            let Some(sum) = all.reduce(|sum, gradient| sum + gradient) else {
                return;
            };
            let mean = sum / self.gradients.len() as f64;
            let square = mean.clone().square().sum();
            self.squares = Some(match self.squares.take() {
                Some(sum) => sum + square,
                None => square,
            });
            self.means.register(param.id, mean);
        }
    }
    struct Scale {
        means: GradientsParams,
        factor: Tensor<1>,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(mean) = self.means.remove::<D>(param.id) {
                let scaled = mean * self.factor.clone().unsqueeze();
                self.means.register(param.id, scaled);
            }
        }
    }
    let mut mean = Mean {
        gradients,
        means: GradientsParams::new(),
        squares: None,
    };
    module.visit(&mut mean);
    let Some(squares) = mean.squares else {
        return mean.means;
    };
    let mut scale = Scale {
        means: mean.means,
        factor: (squares.sqrt() + 1e-6)
            .recip()
            .mul_scalar(limit)
            .clamp_max(1.0),
    };
    module.visit(&mut scale);
    scale.means
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
            .map(|(average, value)| average * decay + value * (1.0 - decay))
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
