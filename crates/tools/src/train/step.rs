//! Computes the losses and gradients of one step, whose micro-batches are divided among threads.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use rand_chacha::ChaCha8Rng;

use super::cpu_tensor;
use super::task::Task;
#[cfg(target_arch = "x86_64")]
use unireal::internals::cpu::gemm;
use unireal::internals::cpu::gemm::engine;
use unireal::{Error, Result};

/// The micro-batches of one step, one list per worker thread.
pub(super) type WorkerBatches<B> = Vec<Vec<B>>;

/// The losses and gradients of one step.
pub(super) struct Step {
    /// Kind and loss of each sample.
    pub(super) losses: Vec<(String, f32)>,
    /// The gradients of the mean loss of each worker; workers have the same number of samples.
    pub(super) gradients: Vec<GradientsParams>,
}

/// Draws the micro-batches of one step and divides them among `threads` workers.
///
/// # Errors
/// As [`Task::micro_batches`].
pub(super) fn draw_micro_batches<T: Task>(
    task: &T,
    groups: usize,
    threads: usize,
    rng: &mut ChaCha8Rng,
) -> Result<WorkerBatches<T::MicroBatch>> {
    // Each worker gets one micro-batch of each group. They are sorted by text length, so the rotation balances the workers.
    let mut workers: WorkerBatches<T::MicroBatch> = (0..threads).map(|_| Vec::new()).collect();
    for group in 0..groups {
        let batches = task.micro_batches(threads, rng)?;
        for (i, batch) in batches.into_iter().enumerate() {
            workers[(i + group) % threads].push(batch);
        }
    }
    Ok(workers)
}

/// Computes losses and gradients of a step with one thread per worker, because on the CPU most operations other than matrix products
/// use one core. `devices` have autodiff enabled and are assigned to threads in turn.
///
/// # Errors
/// [`Error::DeviceLost`] when a loss cannot be read, [`Error::Internal`] when a thread panics.
pub(super) fn compute<T: Task>(
    task: &T,
    module: &T::Module,
    workers: &[Vec<T::MicroBatch>],
    devices: &[Device],
) -> Result<Step> {
    // Untracked values: moving a tracked parameter to a device records a node in that parameter's graph, and the graph of a
    // parameter without a gradient is never freed. They share the storage of the weights.
    let values = &module.valid();
    let precision = engine::precision();
    #[cfg(target_arch = "x86_64")]
    let _weights = gemm::share_packed_weights();
    let results: Vec<Result<Step>> = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter()
            .zip(devices.iter().cycle())
            .map(|(batches, device)| {
                scope.spawn(move || {
                    let _precision = engine::scoped(precision);
                    compute_worker(task, values, batches, device)
                })
            })
            .collect();
        let panicked = |_| Err(Error::Internal("training: a thread panicked".into()));
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().unwrap_or_else(panicked))
            .collect()
    });
    let mut step = Step {
        losses: Vec::new(),
        gradients: Vec::new(),
    };
    for result in results {
        let result = result?;
        step.losses.extend(result.losses);
        step.gradients.extend(result.gradients);
    }
    Ok(step)
}

/// Computes one worker's micro-batches, one after the other.
fn compute_worker<T: Task>(
    task: &T,
    values: &T::Module,
    batches: &[T::MicroBatch],
    device: &Device,
) -> Result<Step> {
    let values = values.clone().fork(device);
    let mut sum = GradientSum {
        sum: GradientsParams::new(),
        added: GradientsParams::new(),
    };
    let mut logged = Vec::new();
    for batch in batches {
        // New leaves with the parameters' ids give each micro-batch its own graph: burn's autodiff takes locks in different orders in
        // the forward and the backward pass, so threads that share a parameter's graph can deadlock.
        let module = values.clone().train();
        let losses = task.losses(&module, batch, device)?;
        let mean = losses.losses.mean() / batches.len() as f64;
        sum.added = GradientsParams::from_grads(mean.backward(), &module);
        module.visit(&mut sum);
        logged.extend(std::iter::zip(losses.names, read(losses.logged)?));
    }
    Ok(Step {
        losses: logged,
        gradients: vec![sum.sum],
    })
}

/// Adds the gradients of a micro-batch to the sum of the previous ones.
struct GradientSum {
    sum: GradientsParams,
    added: GradientsParams,
}

impl ModuleVisitor for GradientSum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(added) = self.added.remove::<D>(param.id) else {
            return;
        };
        let shape = added.dims();
        let flat = |gradient: Tensor<D>| gradient.flatten::<1>(0, D - 1);
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => cpu_tensor::add(flat(sum), flat(added)).reshape(shape),
            None => added,
        };
        self.sum.register(param.id, sum);
    }
}

/// Returns the losses of a micro-batch's samples, without gradients.
///
/// # Errors
/// [`Error::DeviceLost`] when they cannot be read.
pub(super) fn evaluate<T: Task>(
    task: &T,
    module: &T::Module,
    batch: &T::MicroBatch,
    device: &Device,
) -> Result<Vec<f32>> {
    read(task.losses(module, batch, device)?.logged)
}

fn read(losses: Tensor<1>) -> Result<Vec<f32>> {
    let data = losses.try_into_data();
    let data = data.map_err(|e| Error::DeviceLost(format!("reading the loss: {e:?}")))?;
    Ok(data.iter::<f32>().collect())
}
