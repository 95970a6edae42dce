//! Checkpoints, from which a run resumes after a kill. A checkpoint is one file that is replaced atomically: weights, their
//! averages, the optimizer's state, the progress of each stage, and the incomplete lines of the curves. The previous one stays
//! beside it as `NAME.previous.safetensors`.
//!
//! Checkpoints hold no state of random generators: draws, times and noise follow from the seed, the stage and the step number.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::GradientsParams;
use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::curve::Open;
use super::optimizer::{Average, Optimizer, OptimizerConfig};
use super::settings::Stage;
use super::stage::Task;
use super::start;
use unireal::internals::config;
use unireal::internals::weights::module::{CpuTensor, collect};
use unireal::{Error, Result};

/// The progress of a stage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub(super) struct Progress {
    pub(super) steps: u64,
    pub(super) samples: u64,
    /// Seconds of training over all calls.
    pub(super) seconds: f64,
    /// Whether the stage reached its end and the pack was written, so that the next stage may begin.
    #[serde(default)]
    pub(super) done: bool,
}

/// The state of a run apart from tensors.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) stages: BTreeMap<String, Progress>,
    optimizer_steps: i32,
    average_steps: usize,
    pub(super) open: Open,
}

/// Networks in training.
pub(super) struct Trained<M: Module> {
    /// The networks, untracked by autodiff; each micro-batch creates leaves from the values. `None` during the optimizer's step, which
    /// updates the values in place if nothing else holds them.
    module: Option<M>,
    pub(super) average: Average,
    pub(super) optimizer: Optimizer,
    pub(super) state: State,
    /// The optimizer's number of steps at the last checkpoint, if there is one.
    saved: Option<i32>,
}

/// Returns the path of the checkpoint of the networks that a stage trains.
pub(super) fn path(run: &Path, stage: &Stage) -> PathBuf {
    run.join("resume")
        .join(format!("{}.safetensors", stage.train.name()))
}

/// Returns the path of the checkpoint before `path`.
fn previous(path: &Path) -> PathBuf {
    path.with_extension("previous.safetensors")
}

fn corrupt(path: &Path) -> PathBuf {
    path.with_extension("corrupt.safetensors")
}

/// Reads and checks a checkpoint; `None` when there is none.
fn read(path: &Path) -> Result<Option<(Vec<CpuTensor>, State)>> {
    let Some((tensors, state)) = checkpoint::read(path)? else {
        return Ok(None);
    };
    let file = path.display().to_string();
    let state = config::parse(&file, state.unwrap_or_default().as_bytes())?;
    Ok(Some((tensors, state)))
}

/// Replaces a corrupt or missing checkpoint by the previous one, and returns a warning that names it. The corrupt one stays beside
/// it as `NAME.corrupt.safetensors`.
///
/// # Errors
/// [`Error::Format`] when a checkpoint is corrupt and there is no intact previous one.
pub(super) fn recover(run: &Path, stage: &Stage) -> Result<Option<String>> {
    let path = path(run, stage);
    let previous = previous(&path);
    let reason = match read(&path) {
        Ok(Some(_)) => return Ok(None),
        Ok(None) if !previous.exists() => return Ok(None),
        Ok(None) => "missing".to_owned(),
        Err(Error::Format { reason, .. }) => format!("corrupt: {reason}"),
        Err(error) => return Err(error),
    };
    let (file, other) = (path.display(), previous.display());
    let problem = match read(&previous) {
        Ok(Some(_)) => {
            if path.exists() {
                checkpoint::link(&path, &corrupt(&path))?;
            }
            checkpoint::link(&previous, &path)?;
            return Ok(Some(format!(
                "the checkpoint {file} is {reason}; resuming from the previous one, {other}"
            )));
        }
        Ok(None) => format!("there is no {other}"),
        Err(error) => format!("neither is {error}"),
    };
    let reason = format!("the checkpoint is {reason}, expected a whole file; {problem}");
    Err(Error::format(file.to_string(), reason))
}

/// Returns the progress of a stage from the checkpoint, else from `training.json`.
///
/// # Errors
/// [`unireal::Error::Format`] when the file is corrupt.
pub(super) fn progress(run: &Path, stage: &Stage) -> Result<Progress> {
    let path = path(run, stage);
    let found = checkpoint::metadata(&path)?;
    let state =
        found.map(|text| config::parse::<State>(&path.display().to_string(), text.as_bytes()));
    let stages = match state.transpose()? {
        Some(state) => state.stages,
        None => start::read(run)?,
    };
    Ok(stages.get(&stage.name).copied().unwrap_or_default())
}

impl<M: Module> Trained<M> {
    /// Starts training of networks; the optimizer's work is divided among `threads` threads.
    pub(super) fn new(module: M, stage: &Stage, threads: usize) -> Self {
        let module = module.valid();
        let optimizer = Optimizer::new(&OptimizerConfig {
            kind: stage.optimizer,
            weight_decay: stage.weight_decay,
            max_grad_norm: stage.max_grad_norm,
            ..OptimizerConfig::default()
        });
        Trained {
            average: Average::new(&module, stage.ema).with_threads(threads),
            module: Some(module),
            optimizer: optimizer.with_threads(threads),
            state: State::default(),
            saved: None,
        }
    }

    /// Resumes from the run's checkpoint, else from the pack in its folder, else starts with fresh weights.
    ///
    /// # Errors
    /// [`unireal::Error::Format`] when the checkpoint or the pack does not fit the configuration.
    pub(super) fn open<T: Task<Module = M>>(
        task: &T,
        run: &Path,
        stage: &Stage,
        threads: usize,
    ) -> Result<Self> {
        let path = path(run, stage);
        let file = path.display().to_string();
        let begin = |state: State| {
            let module = match task.published(run)? {
                Some(module) => module,
                None => task.fresh(),
            };
            Ok(Trained {
                state,
                ..Self::new(module, stage, threads)
            })
        };
        let Some((tensors, state)) = read(&path)? else {
            let stages = start::read(run)?;
            return begin(State {
                stages,
                ..State::default()
            });
        };
        // The transformer has learnt the latents of the published encoder.
        if stage.decoder_only && !state.stages.contains_key(&stage.name) {
            let stages = state.stages;
            let state = State {
                stages,
                ..State::default()
            };
            return begin(state);
        }
        let (mut weights, mut averages, mut rest) = (Vec::new(), Vec::new(), HashMap::new());
        for mut tensor in tensors {
            match tensor.name.split_once('/') {
                Some(("weights", name)) => {
                    tensor.name = name.to_owned();
                    weights.push(tensor);
                }
                Some(("average", name)) => {
                    tensor.name = name.to_owned();
                    averages.push(tensor);
                }
                _ => drop(rest.insert(tensor.name.clone(), tensor)),
            }
        }
        let device = task.device();
        let module = checkpoint::filled(task.fresh(), &[], weights, &file, device)?;
        let averaged = checkpoint::filled(task.fresh(), &[], averages, &file, device)?.valid();
        let mut trained = Self::new(module, stage, threads);
        let steps = state.average_steps;
        trained.average = Average::resumed(&averaged, stage.ema, steps).with_threads(threads);
        let device = device.clone().inner();
        let module = trained.module.as_ref().expect("the new networks");
        trained
            .optimizer
            .restore(module, state.optimizer_steps, &rest, &device);
        trained.saved = Some(state.optimizer_steps);
        trained.state = state;
        Ok(trained)
    }

    /// Returns the newest good checkpoint after a step whose loss or gradients were not finite: the last one, unless it holds the
    /// weights of that step, then the previous one. `None` if it does not exist.
    pub(super) fn last_good(&self, run: &Path, stage: &Stage) -> Option<PathBuf> {
        let path = path(run, stage);
        let path = if self.saved == Some(self.optimizer.steps()) {
            previous(&path)
        } else {
            path
        };
        path.exists().then_some(path)
    }

    /// Returns the networks with their current weights.
    pub(super) fn module(&self) -> &M {
        self.module
            .as_ref()
            .expect("the networks are here between steps")
    }

    /// Updates the weights and their averages with the mean of the gradients.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub(super) fn step(
        &mut self,
        gradients: Vec<GradientsParams>,
        learning_rate: f64,
    ) -> Result<()> {
        if let Some(module) = self.module.take() {
            let module = self.optimizer.step(module, gradients, learning_rate)?;
            self.average.update(&module);
            self.module = Some(module);
        }
        Ok(())
    }

    /// Writes the checkpoint.
    ///
    /// # Errors
    /// [`unireal::Error::Format`] when the file cannot be written, [`unireal::Error::DeviceLost`] when the device cannot be read.
    pub(super) fn save(&mut self, run: &Path, stage: &Stage) -> Result<()> {
        self.state.optimizer_steps = self.optimizer.steps();
        self.state.average_steps = self.average.steps();
        let named = |kind: &'static str, tensors: Vec<CpuTensor>| {
            tensors.into_iter().map(move |tensor| CpuTensor {
                name: format!("{kind}/{}", tensor.name),
                ..tensor
            })
        };
        let averaged = self.average.apply(self.module().clone());
        let mut tensors: Vec<CpuTensor> = named("weights", collect(self.module(), &[])?).collect();
        tensors.extend(named("average", collect(&averaged, &[])?));
        tensors.extend(self.optimizer.tensors()?);
        let state = serde_json::to_string(&self.state).expect("numbers and names are JSON");
        let path = path(run, stage);
        let bytes = checkpoint::bytes(&tensors, Some(state))?;
        checkpoint::rotate(&path, &previous(&path), &bytes)?;
        self.saved = Some(self.state.optimizer_steps);
        Ok(())
    }
}
