//! The exponential moving average of the weights, which packs ship.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::cpu_tensor;

/// An exponential moving average of a module's parameters.
pub struct Average {
    decay: f64,
    steps: usize,
    values: Vec<Tensor<1>>,
    threads: usize,
}

impl Average {
    /// Starts at the module's current parameters.
    pub fn new<M: Module>(module: &M, decay: f64) -> Self {
        Average {
            decay,
            steps: 0,
            values: flat(module),
            threads: 1,
        }
    }

    /// Sets the number of threads among which parameters are divided.
    pub(super) fn with_threads(self, threads: usize) -> Self {
        Average { threads, ..self }
    }

    /// Resumes after `steps` updates; `module` holds the averages.
    pub(super) fn resumed<M: Module>(module: &M, decay: f64, steps: usize) -> Self {
        Average {
            steps,
            ..Self::new(module, decay)
        }
    }

    /// Returns the number of updates done.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Adds the module's parameters to the average. The decay is lower in early steps, so that the initial weights fade.
    pub fn update<M: Module>(&mut self, module: &M) {
        self.steps += 1;
        let decay = self
            .decay
            .min((1 + self.steps) as f64 / (10 + self.steps) as f64);
        let old = std::mem::take(&mut self.values);
        let pairs: Vec<(Tensor<1>, Tensor<1>)> = old.into_iter().zip(flat(module)).collect();
        let weight = (1.0 - decay) as f32;
        let size = |(average, _): &(Tensor<1>, Tensor<1>)| average.dims()[0];
        let mix = |(average, value)| cpu_tensor::mix(average, value, weight);
        self.values = cpu_tensor::parallel(self.threads, pairs, size, mix);
    }

    /// Returns `module` with the averages as its parameters.
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
