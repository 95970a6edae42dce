//! What a run needs to go on after a kill, in one file that is replaced as a whole: weights, their averages, what the
//! optimiser remembers, how far each stage is, and the open lines of the curves.
//!
//! Draws, times and noise follow from the seed, the stage and the number of the step, so nothing of them is kept.

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
use crate::config;
use crate::error::Result;
use crate::weights::module::{HostTensor, collect};

/// How far a stage is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
pub(super) struct Progress {
    pub(super) steps: u64,
    pub(super) samples: u64,
    /// Of training, over all calls.
    pub(super) seconds: f64,
    /// Whether its end was reached and the pack written: the next stage may begin.
    #[serde(default)]
    pub(super) done: bool,
}

/// The small things of a run's state.
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
    /// Taken out while the optimiser moves it: it alone must hold the numbers then, to change them in place.
    module: Option<M>,
    pub(super) average: Average,
    pub(super) optimizer: Optimizer,
    pub(super) state: State,
}

/// Where the state of the networks that a stage trains lies.
pub(super) fn path(run: &Path, stage: &Stage) -> PathBuf {
    run.join("resume")
        .join(format!("{}.safetensors", stage.train.name()))
}

/// How far the run is with its stages, as far as that is known.
///
/// # Errors
/// [`crate::error::Error::Format`] when the file is damaged.
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
    /// Goes on from the run's state, else from the pack in its folder, else begins.
    ///
    /// # Errors
    /// [`crate::error::Error::Format`] when what is there does not fit the configuration.
    pub(super) fn open<T: Task<Module = M>>(task: &T, run: &Path, stage: &Stage) -> Result<Self> {
        let mut optimizer = Optimizer::new(&OptimizerConfig {
            rule: stage.optimizer,
            weight_decay: stage.weight_decay,
            clip: stage.clip,
            ..OptimizerConfig::default()
        });
        let path = path(run, stage);
        let file = path.display().to_string();
        let begin = |state: State, optimizer: Optimizer| {
            let module = match task.published(run)? {
                Some(module) => module,
                None => task.fresh(),
            };
            Ok(Trained {
                average: Average::new(&module, stage.ema),
                module: Some(module),
                optimizer,
                state,
            })
        };
        let Some((tensors, state)) = checkpoint::read(&path)? else {
            let stages = start::read(run)?;
            let state = State {
                stages,
                ..State::default()
            };
            return begin(state, optimizer);
        };
        let state: State = config::parse(&file, state.unwrap_or_default().as_bytes())?;
        // The latents that the transformer knows are the published encoder's.
        if stage.decoder_only && !state.stages.contains_key(&stage.name) {
            let stages = state.stages;
            let state = State {
                stages,
                ..State::default()
            };
            return begin(state, optimizer);
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
        let averaged = checkpoint::filled(task.fresh(), &[], averages, &file, device)?;
        optimizer.restore(
            &module,
            state.optimizer_steps,
            &rest,
            &device.clone().inner(),
        );
        Ok(Trained {
            average: Average::resumed(&averaged, stage.ema, state.average_steps),
            module: Some(module),
            optimizer,
            state,
        })
    }

    /// The networks as they are now.
    pub(super) fn module(&self) -> &M {
        self.module
            .as_ref()
            .expect("the networks are here between steps")
    }

    /// Moves the weights down the mean of the losses whose gradients these are.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub(super) fn step(&mut self, gradients: Vec<GradientsParams>, rate: f64) -> Result<()> {
        if let Some(module) = self.module.take() {
            let module = self.optimizer.step(module, gradients, rate)?;
            self.average.update(&module);
            self.module = Some(module);
        }
        Ok(())
    }

    /// Writes the state.
    ///
    /// # Errors
    /// [`crate::error::Error::Format`] when the disk refuses, [`crate::error::Error::DeviceLost`] when the device cannot be
    /// read.
    pub(super) fn save(&mut self, run: &Path, stage: &Stage) -> Result<()> {
        self.state.optimizer_steps = self.optimizer.steps();
        self.state.average_steps = self.average.steps();
        let named = |kind: &'static str, tensors: Vec<HostTensor>| {
            tensors.into_iter().map(move |tensor| HostTensor {
                name: format!("{kind}/{}", tensor.name),
                ..tensor
            })
        };
        let averaged = self.average.apply(self.module().clone());
        let mut tensors: Vec<HostTensor> = named("weights", collect(self.module(), &[])?).collect();
        tensors.extend(named("average", collect(&averaged, &[])?));
        tensors.extend(self.optimizer.tensors()?);
        let state = serde_json::to_string(&self.state).expect("numbers and names are JSON");
        checkpoint::write(
            &path(run, stage),
            &checkpoint::bytes(&tensors, Some(state))?,
        )
    }
}
