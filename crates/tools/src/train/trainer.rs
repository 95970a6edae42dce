//! The training loop: trains steps and writes checkpoints, packs and evaluations.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::Module as _;
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};

use super::curve::{self, Curve};
use super::milestones::Milestones;
use super::prefetch::Prefetch;
use super::resume::{Progress, Trained};
use super::settings::{Settings, Stage};
use super::stage::Task;
use super::step::{Shares, compute, evaluate};
use super::throughput::Throughput;
use super::{plot, start};
use unireal::{Error, Result};

/// Interval between writes of the pack and the curve plots.
const PACK: Duration = Duration::from_secs(300);

/// Interval between log lines if there is no terminal for a progress bar.
const LINE: Duration = Duration::from_secs(30);

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
    let ends = || end.is_some_and(|end| Instant::now() >= end);
    std::thread::scope(|scope| {
        let draws = (settings.seed, settings.threads);
        let mut batches = Prefetch::start(scope, task, stage, draws, trainer.progress.steps);
        while !finished(stage, &trainer.progress) && !ends() {
            trainer.step(&mut batches)?;
            trainer.write_due()?;
        }
        Ok::<(), Error>(())
    })?;
    trainer.evaluate()?;
    trainer.milestone(finished(stage, &trainer.progress));
    trainer.publish()?;
    // After the pack, which the next stage needs; after a kill in between, the stage's end is repeated.
    trainer.progress.done = finished(stage, &trainer.progress);
    let (name, progress) = (stage.name.clone(), trainer.progress);
    trainer.trained.state.stages.insert(name, progress);
    trainer.trained.save(run, stage)?;
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
    trained: Trained<T::Module>,
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
    fn open(
        task: &'a T,
        settings: &'a Settings,
        stage: &'a Stage,
        run: &'a Path,
        devices: &[Device],
    ) -> Result<Self> {
        let trained = Trained::open(task, run, stage, settings.threads)?;
        let known = trained.state.stages.get(&stage.name);
        let progress = known.copied().unwrap_or_default();
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
            trained,
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
        let warm = steps.min(self.trained.optimizer.steps() as u64);
        let learning_rate = self
            .stage
            .learning_rate_at(warm, self.stage.progress(steps, seconds));
        let shares: Shares<T::MicroBatch> = batches.next()?;
        let step = compute(self.task, self.trained.module(), &shares, &self.devices)?;
        if let Some((_, loss)) = step.losses.iter().find(|(_, loss)| !loss.is_finite()) {
            return Err(self.diverged(&format!("the loss is {loss}")));
        }
        match self.trained.step(step.gradients, learning_rate) {
            Err(Error::Request(reason)) => return Err(self.diverged(&reason)),
            result => result?,
        }
        let took = started.elapsed();
        let counts = self.throughput.add(took, self.stage.batch as u64);
        self.progress = Progress {
            steps: steps + 1,
            samples: self.progress.samples + self.stage.batch as u64,
            seconds: seconds + if counts { took.as_secs_f64() } else { 0.0 },
            done: false,
        };
        let name = self.stage.name.clone();
        let trained = &mut self.trained;
        trained.state.stages.insert(name, self.progress);
        let losses = step
            .losses
            .iter()
            .map(|(name, loss)| (name.as_str(), *loss));
        let open = &mut trained.state.open;
        let mean = self
            .curve
            .add(open, losses, &self.progress, learning_rate)?;
        if let Some(warning) = self.throughput.warning() {
            self.bar
                .suspend(|| eprintln!("{}: {warning}", self.stage.name));
        }
        mean.into_iter().for_each(|mean| self.log(mean));
        Ok(())
    }

    /// Returns the error for a loss or gradients that are not finite.
    fn diverged(&self, what: &str) -> Error {
        let (stage, steps) = (&self.stage.name, self.progress.steps);
        let checkpoint = match self.trained.last_good(self.run, self.stage) {
            Some(path) => format!("the last good checkpoint is {}", path.display()),
            None => "there is no good checkpoint".into(),
        };
        Error::Request(format!(
            "stage {stage:?}: {what} at step {steps}, expected a finite number; {checkpoint}; continue with a lower rate"
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
        let part = self.stage.progress(steps, seconds);
        let (recent, mean) = (self.throughput.recent(), self.throughput.mean());
        let text = format!("{samples} samples, {recent:.1}/s, mean {mean:.1}/s, loss {loss:.5}");
        self.bar.set_position((1000.0 * part) as u64);
        if self.bar.is_hidden() && self.logged.elapsed() > LINE {
            eprintln!("{}: {text}, {:.1} %", self.stage.name, 100.0 * part);
            self.logged = Instant::now();
        }
        self.bar.set_message(text);
    }

    /// Writes the checkpoint, the pack, the evaluation and the milestone, each when it is due.
    fn write_due(&mut self) -> Result<()> {
        if self.saved.elapsed().as_secs_f64() > self.settings.save_seconds {
            self.trained.save(self.run, self.stage)?;
            self.saved = Instant::now();
        }
        if self.published.elapsed() > PACK {
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

    /// Writes a milestone when one is due, as at the stage's `end`.
    fn milestone(&mut self, end: bool) {
        if self.milestones.due(self.progress, end) {
            self.milestones
                .write(self.task, &self.averaged(), self.progress);
        }
    }

    fn averaged(&self) -> T::Module {
        let module = self.trained.module().clone();
        self.trained.average.apply(module).valid()
    }

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

fn bar(stage: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {percent} % {msg}, {eta} left");
    ProgressBar::new(1000)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(stage.to_owned())
}
