//! The training loop: trains steps and writes checkpoints, packs and evaluations.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::Module as _;
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};

use super::curve::{self, Curve};
use super::milestones::Milestones;
use super::prefetch::Prefetch;
use super::resume::{Progress, TrainState};
use super::settings::{Settings, Stage};
use super::step::{WorkerBatches, compute, evaluate};
use super::task::Task;
use super::throughput::Throughput;
use super::{plot, start};
use unireal::{Error, Result};

/// Interval between writes of the pack and the curve plots.
const PACK_INTERVAL: Duration = Duration::from_secs(300);

/// Interval between log lines if there is no terminal for a progress bar.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Returns whether a stage has reached its length.
pub(super) fn finished(stage: &Stage, progress: &Progress) -> bool {
    stage.progress(progress.steps, progress.seconds) >= 1.0
}

/// Trains a stage to its end or until the time `end`; returns whether the stage is done.
///
/// # Errors
/// [`Error::Request`] when the loss or the gradients are not finite; errors of the device and the disk.
pub(super) fn train<T: Task>(
    task: &T,
    settings: &Settings,
    stage: &Stage,
    run: &Path,
    devices: &[Device],
    end: Option<Instant>,
) -> Result<bool> {
    let mut trainer = Trainer::open(task, settings, stage, run, devices)?;
    let out_of_time = || end.is_some_and(|end| Instant::now() >= end);
    std::thread::scope(|scope| {
        let seed_and_threads = (settings.seed, settings.threads);
        let mut batches =
            Prefetch::start(scope, task, stage, seed_and_threads, trainer.progress.steps);
        while !finished(stage, &trainer.progress) && !out_of_time() {
            trainer.step(&mut batches)?;
            trainer.write_due()?;
        }
        Ok::<(), Error>(())
    })?;
    trainer.evaluate()?;
    trainer.milestone(finished(stage, &trainer.progress));
    trainer.publish()?;
    // The next stage needs the pack, so it is written first. After a kill in between, the end of the stage is repeated.
    trainer.progress.done = finished(stage, &trainer.progress);
    let (name, progress) = (stage.name.clone(), trainer.progress);
    trainer.train_state.metadata.stages.insert(name, progress);
    trainer.train_state.save(run, stage)?;
    start::record(run, &stage.name, progress)?;
    trainer.bar.finish();
    Ok(progress.done)
}

/// A stage in training.
struct Trainer<'a, T: Task> {
    task: &'a T,
    settings: &'a Settings,
    stage: &'a Stage,
    run: &'a Path,
    devices: Vec<Device>,
    train_state: TrainState<T::Module>,
    progress: Progress,
    curve: Curve,
    milestones: Milestones,
    held_out: Vec<T::MicroBatch>,
    throughput: Throughput,
    bar: ProgressBar,
    /// The times of the last checkpoint, pack, evaluation and log line.
    saved: Instant,
    published: Instant,
    evaluated: Instant,
    logged: Instant,
}

impl<'a, T: Task> Trainer<'a, T> {
    /// Resumes or starts a stage.
    fn open(
        task: &'a T,
        settings: &'a Settings,
        stage: &'a Stage,
        run: &'a Path,
        devices: &[Device],
    ) -> Result<Self> {
        let train_state = TrainState::open(task, run, stage, settings.threads)?;
        let stages = &train_state.metadata.stages;
        let progress = stages.get(&stage.name).copied().unwrap_or_default();
        let now = Instant::now();
        Ok(Trainer {
            task,
            settings,
            stage,
            run,
            devices: devices.iter().map(|d| d.clone().autodiff()).collect(),
            curve: Curve::open(run, &stage.name, progress.steps)?,
            milestones: Milestones::new(settings, stage, run, progress),
            held_out: task.held_out()?,
            throughput: Throughput::default(),
            bar: bar(&stage.name),
            train_state,
            progress,
            saved: now,
            published: now,
            evaluated: now,
            logged: now,
        })
    }

    /// Trains one step.
    fn step(&mut self, batches: &mut Prefetch<'_, T::MicroBatch>) -> Result<()> {
        let started = Instant::now();
        let Progress { steps, seconds, .. } = self.progress;
        // A new optimizer, as in a run resumed from a pack, needs its own warm-up.
        let warmup_steps = steps.min(self.train_state.optimizer.steps() as u64);
        let learning_rate = self
            .stage
            .learning_rate_at(warmup_steps, self.stage.progress(steps, seconds));
        let batches: WorkerBatches<T::MicroBatch> = batches.next()?;
        let step = compute(
            self.task,
            self.train_state.module(),
            &batches,
            &self.devices,
        )?;
        if let Some((_, loss)) = step.losses.iter().find(|(_, loss)| !loss.is_finite()) {
            return Err(self.divergence(&format!("the loss is {loss}")));
        }
        match self.train_state.step(step.gradients, learning_rate) {
            Err(Error::Request(reason)) => return Err(self.divergence(&reason)),
            result => result?,
        }
        let took = started.elapsed();
        let counted = self.throughput.add(took, self.stage.batch as u64);
        self.progress = Progress {
            steps: steps + 1,
            samples: self.progress.samples + self.stage.batch as u64,
            seconds: seconds + if counted { took.as_secs_f64() } else { 0.0 },
            done: false,
        };
        let name = self.stage.name.clone();
        let metadata = &mut self.train_state.metadata;
        metadata.stages.insert(name, self.progress);
        let losses = step
            .losses
            .iter()
            .map(|(name, loss)| (name.as_str(), *loss));
        let sums = &mut metadata.loss_sums;
        let mean = self
            .curve
            .add(sums, losses, &self.progress, learning_rate)?;
        if let Some(warning) = self.throughput.warning() {
            self.bar
                .suspend(|| eprintln!("{}: {warning}", self.stage.name));
        }
        if let Some(mean) = mean {
            self.log(mean);
        }
        Ok(())
    }

    /// Returns the error for a loss or gradients that are not finite.
    fn divergence(&self, observed: &str) -> Error {
        let (stage, steps) = (&self.stage.name, self.progress.steps);
        let checkpoint = match self.train_state.last_good(self.run, self.stage) {
            Some(path) => format!("the last good checkpoint is {}", path.display()),
            None => "there is no good checkpoint".into(),
        };
        Error::Request(format!(
            "stage {stage:?}: {observed} at step {steps}, expected a finite number; {checkpoint}; continue with a lower learning rate"
        ))
    }

    /// Updates the progress bar or, without a terminal, the log.
    fn log(&mut self, loss: f64) {
        let Progress {
            steps,
            samples,
            seconds,
            ..
        } = self.progress;
        let fraction = self.stage.progress(steps, seconds);
        let (recent, mean) = (self.throughput.recent(), self.throughput.mean());
        let text = format!("{samples} samples, {recent:.1}/s, mean {mean:.1}/s, loss {loss:.5}");
        self.bar.set_position((1000.0 * fraction) as u64);
        if self.bar.is_hidden() && self.logged.elapsed() > LOG_INTERVAL {
            eprintln!("{}: {text}, {:.1} %", self.stage.name, 100.0 * fraction);
            self.logged = Instant::now();
        }
        self.bar.set_message(text);
    }

    /// Writes the checkpoint, the pack, the evaluation and the milestone, each when it is due.
    fn write_due(&mut self) -> Result<()> {
        if self.saved.elapsed().as_secs_f64() > self.settings.save_seconds {
            self.train_state.save(self.run, self.stage)?;
            self.saved = Instant::now();
        }
        if self.published.elapsed() > PACK_INTERVAL {
            self.publish()?;
            self.published = Instant::now();
        }
        let minutes = self.settings.preview_minutes;
        if minutes > 0.0 && self.evaluated.elapsed().as_secs_f64() > 60.0 * minutes {
            self.evaluate()?;
            self.evaluated = Instant::now();
        }
        self.milestone(false);
        Ok(())
    }

    /// Writes a milestone if one is due, as at the `end` of the stage.
    fn milestone(&mut self, end: bool) {
        if self.milestones.due(self.progress, end) {
            self.milestones
                .write(self.task, &self.averaged(), self.progress);
        }
    }

    /// Returns the networks with averaged weights.
    fn averaged(&self) -> T::Module {
        let module = self.train_state.module().clone();
        self.train_state.average.apply(module).valid()
    }

    /// Writes the plots and the pack, and records the progress beside it.
    fn publish(&self) -> Result<()> {
        plot::draw(self.run, &self.stage.name)?;
        self.task.publish(&self.averaged(), self.run)?;
        start::record(self.run, &self.stage.name, self.progress)
    }

    /// Writes the loss on held-out samples and the preview image of the averaged networks.
    fn evaluate(&self) -> Result<()> {
        if self.settings.preview_minutes <= 0.0 {
            return Ok(());
        }
        let averaged = self.averaged();
        let device = self.task.device().clone().inner();
        let mut losses = Vec::new();
        for batch in &self.held_out {
            losses.extend(evaluate(self.task, &averaged, batch, &device)?);
        }
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        if !losses.is_empty() {
            curve::held_out(self.run, &self.stage.name, &self.progress, mean)?;
        }
        if let Some(image) = self.task.preview(&averaged)? {
            let folder = self.run.join("samples");
            let fail = |e: std::io::Error| Error::io(&folder, e);
            std::fs::create_dir_all(&folder).map_err(fail)?;
            let samples = self.progress.samples;
            image.save(folder.join(format!("{}-{samples:08}.png", self.stage.name)))?;
        }
        Ok(())
    }
}

/// Creates the progress bar of a stage.
fn bar(stage: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {percent} % {msg}, {eta} left");
    ProgressBar::new(1000)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(stage.to_owned())
}
