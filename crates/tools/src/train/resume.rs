//! Checkpoints, from which a run resumes after a kill. A checkpoint is one file that is replaced atomically: weights, their
//! averages, the optimizer's state, the progress of each stage, and the incomplete lines of the curves. The run also keeps
//! the previous one as `NAME.previous.safetensors`.
//!
//! Checkpoints hold no state of random generators: draws, times and noise follow from the seed, the stage and the step number.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::GradientsParams;
use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::curve::LossSums;
use super::optimizer::{Average, Optimizer, OptimizerConfig};
use super::settings::Stage;
use super::start;
use super::task::Task;
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

/// The part of a checkpoint that is not tensors.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) stages: BTreeMap<String, Progress>,
    optimizer_steps: i32,
    average_steps: usize,
    /// The losses since the last line of the curves.
    #[serde(rename = "open")]
    pub(super) loss_sums: LossSums,
}

/// The state of training: the networks, their averages, the optimizer and the progress.
pub(super) struct TrainState<M: Module> {
    /// The networks, untracked by autodiff; each micro-batch creates leaves from the values. `None` during the optimizer's step, which
    /// updates the values in place if nothing else holds them.
    module: Option<M>,
    pub(super) average: Average,
    pub(super) optimizer: Optimizer,
    pub(super) metadata: Metadata,
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

/// Returns the path to which a corrupt checkpoint is moved.
fn corrupt(path: &Path) -> PathBuf {
    path.with_extension("corrupt.safetensors")
}

/// Reads and checks a checkpoint; `None` when there is none.
fn read(path: &Path) -> Result<Option<(Vec<CpuTensor>, Metadata)>> {
    let Some((tensors, state)) = checkpoint::read(path)? else {
        return Ok(None);
    };
    let file = path.display().to_string();
    let metadata = config::parse(&file, state.unwrap_or_default().as_bytes())?;
    Ok(Some((tensors, metadata)))
}

/// Replaces a corrupt or missing checkpoint by the previous one, and returns a warning that names it. The corrupt one is kept
/// as `NAME.corrupt.safetensors`.
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
        Err(error) => format!("the previous one is corrupt too: {error}"),
    };
    let reason = format!("the checkpoint is {reason}, expected an intact file; {problem}");
    Err(Error::format(file.to_string(), reason))
}

/// Returns the progress of a stage from the checkpoint, else from `training.json`.
///
/// # Errors
/// [`unireal::Error::Format`] when the file is corrupt.
pub(super) fn progress(run: &Path, stage: &Stage) -> Result<Progress> {
    let path = path(run, stage);
    let found = checkpoint::metadata(&path)?;
    let metadata =
        found.map(|text| config::parse::<Metadata>(&path.display().to_string(), text.as_bytes()));
    let stages = match metadata.transpose()? {
        Some(metadata) => metadata.stages,
        None => start::read(run)?,
    };
    Ok(stages.get(&stage.name).copied().unwrap_or_default())
}

/// The tensors of a checkpoint.
struct CheckpointTensors {
    weights: Vec<CpuTensor>,
    averages: Vec<CpuTensor>,
    /// The optimizer's state, by name.
    optimizer: HashMap<String, CpuTensor>,
}

impl CheckpointTensors {
    /// Sorts the tensors by the prefixes of their names, and removes the prefixes of weights and averages.
    fn new(tensors: Vec<CpuTensor>) -> Self {
        let mut sorted = CheckpointTensors {
            weights: Vec::new(),
            averages: Vec::new(),
            optimizer: HashMap::new(),
        };
        for mut tensor in tensors {
            match tensor.name.split_once('/') {
                Some(("weights", name)) => {
                    tensor.name = name.to_owned();
                    sorted.weights.push(tensor);
                }
                Some(("average", name)) => {
                    tensor.name = name.to_owned();
                    sorted.averages.push(tensor);
                }
                _ => drop(sorted.optimizer.insert(tensor.name.clone(), tensor)),
            }
        }
        sorted
    }
}

impl<M: Module> TrainState<M> {
    /// Starts training of networks; the optimizer's work is divided among `threads` threads.
    pub(super) fn new(module: M, stage: &Stage, threads: usize) -> Self {
        let module = module.valid();
        let optimizer = Optimizer::new(&OptimizerConfig {
            kind: stage.optimizer,
            weight_decay: stage.weight_decay,
            max_grad_norm: stage.max_grad_norm,
            ..OptimizerConfig::default()
        });
        TrainState {
            average: Average::new(&module, stage.ema).with_threads(threads),
            module: Some(module),
            optimizer: optimizer.with_threads(threads),
            metadata: Metadata::default(),
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
        let Some((tensors, metadata)) = read(&path)? else {
            return Self::from_pack(task, run, stage, threads, start::read(run)?);
        };
        // The transformer has learnt the latents of the published encoder.
        if stage.decoder_only && !metadata.stages.contains_key(&stage.name) {
            return Self::from_pack(task, run, stage, threads, metadata.stages);
        }
        let tensors = CheckpointTensors::new(tensors);
        let file = path.display().to_string();
        let device = task.device();
        let fill = |tensors| checkpoint::filled(task.fresh(), &[], tensors, &file, device);
        let module = fill(tensors.weights)?;
        let averaged = fill(tensors.averages)?.valid();
        let mut train_state = Self::new(module, stage, threads);
        let steps = metadata.average_steps;
        train_state.average = Average::resumed(&averaged, stage.ema, steps).with_threads(threads);
        let module = train_state.module.as_ref().expect("the new networks");
        train_state.optimizer.restore(
            module,
            metadata.optimizer_steps,
            &tensors.optimizer,
            &device.clone().inner(),
        );
        train_state.saved = Some(metadata.optimizer_steps);
        train_state.metadata = metadata;
        Ok(train_state)
    }

    /// Starts from the pack in the run's folder, else with fresh weights; `stages` is the progress of the run's stages.
    fn from_pack<T: Task<Module = M>>(
        task: &T,
        run: &Path,
        stage: &Stage,
        threads: usize,
        stages: BTreeMap<String, Progress>,
    ) -> Result<Self> {
        let module = match task.published(run)? {
            Some(module) => module,
            None => task.fresh(),
        };
        let metadata = Metadata {
            stages,
            ..Metadata::default()
        };
        Ok(TrainState {
            metadata,
            ..Self::new(module, stage, threads)
        })
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
            .expect("the optimizer returns the networks after each step")
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
        self.metadata.optimizer_steps = self.optimizer.steps();
        self.metadata.average_steps = self.average.steps();
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
        let state = serde_json::to_string(&self.metadata).expect("numbers and names are JSON");
        let path = path(run, stage);
        let bytes = checkpoint::bytes(&tensors, Some(state))?;
        checkpoint::rotate(&path, &previous(&path), &bytes)?;
        self.saved = Some(self.metadata.optimizer_steps);
        Ok(())
    }
}
