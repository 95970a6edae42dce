//! The loop: a batch in parts, a step, and what is written down between steps.

use std::path::Path;
use std::time::{Duration, Instant};

use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::curve::{self, Curve};
use super::milestones::Milestones;
use super::resume::{Progress, Trained};
use super::settings::{Settings, Stage};
use super::stage::Task;
use super::{plot, start};
use crate::error::{Error, Result};

/// Between two writings of the pack and of the curves' pictures.
const PACK: Duration = Duration::from_secs(300);

/// Between two lines of a log, where there is no terminal for a bar.
const LINE: Duration = Duration::from_secs(30);

/// Whether a stage has its length.
pub(super) fn finished(stage: &Stage, progress: &Progress) -> bool {
    stage.progress(progress.steps, progress.seconds) >= 1.0
}

/// Trains a stage to its end or until `end`; says whether it is done.
///
/// # Errors
/// [`Error::Internal`] when the loss is no number; what a device or a disk refuses.
pub(super) fn train<T: Task>(
    task: &T,
    settings: &Settings,
    stage: &Stage,
    run: &Path,
    devices: &[Device],
    end: Option<Instant>,
) -> Result<bool> {
    let mut trainer = Trainer::open(task, settings, stage, run, devices)?;
    let before = (trainer.progress.seconds, Instant::now());
    let ends = || end.is_some_and(|end| Instant::now() >= end);
    while !finished(stage, &trainer.progress) && !ends() {
        trainer.step(before)?;
        trainer.keep()?;
    }
    trainer.look()?;
    trainer.milestone(finished(stage, &trainer.progress));
    trainer.publish()?;
    // After the pack, which the next stage needs: a kill between the two does the end again.
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
    held_out: Vec<T::Part>,
    bar: ProgressBar,
    /// When the state, the pack, the held-out loss and a line were last written.
    saved: Instant,
    published: Instant,
    looked: Instant,
    told: Instant,
}

impl<'a, T: Task> Trainer<'a, T> {
    fn open(
        task: &'a T,
        settings: &'a Settings,
        stage: &'a Stage,
        run: &'a Path,
        devices: &[Device],
    ) -> Result<Self> {
        let trained = Trained::open(task, run, stage)?;
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
            bar: bar(&stage.name),
            trained,
            progress,
            saved: now,
            published: now,
            looked: now,
            told: now,
        })
    }

    /// One step; `before` are the seconds of earlier calls and the start of this one.
    fn step(&mut self, before: (f64, Instant)) -> Result<()> {
        let Progress { steps, seconds, .. } = self.progress;
        // A new optimizer, as of a run that goes on from a pack, needs a warm-up of its own.
        let warm = steps.min(self.trained.optimizer.steps() as u64);
        let rate = self.stage.rate(warm, self.stage.progress(steps, seconds));
        let mut rng = generator(self.settings.seed, self.stage, steps);
        let (groups, threads) = (self.stage.groups, self.settings.threads);
        let module = self.trained.module();
        let step = step(self.task, module, groups, threads, &self.devices, &mut rng)?;
        if let Some((_, loss)) = step.losses.iter().find(|(_, loss)| !loss.is_finite()) {
            return Err(Error::Internal(format!(
                "the loss is {loss} at step {steps}; the last checkpoint is whole, go on with a lower rate"
            )));
        }
        let trained = &mut self.trained;
        trained.step(step.gradients, rate)?;
        self.progress = Progress {
            steps: steps + 1,
            samples: self.progress.samples + self.stage.batch as u64,
            seconds: before.0 + before.1.elapsed().as_secs_f64(),
            done: false,
        };
        let name = self.stage.name.clone();
        trained.state.stages.insert(name, self.progress);
        let losses = step
            .losses
            .iter()
            .map(|(name, loss)| (name.as_str(), *loss));
        let open = &mut trained.state.open;
        let mean = self.curve.add(open, losses, &self.progress, rate)?;
        mean.into_iter().for_each(|mean| self.tell(mean));
        Ok(())
    }

    /// Shows where training is.
    fn tell(&mut self, loss: f64) {
        let Progress {
            steps,
            samples,
            seconds,
            ..
        } = self.progress;
        let part = self.stage.progress(steps, seconds);
        let text = format!(
            "{samples} samples, {:.1}/s, loss {loss:.5}",
            samples as f64 / seconds
        );
        self.bar.set_position((1000.0 * part) as u64);
        if self.bar.is_hidden() && self.told.elapsed() > LINE {
            eprintln!("{}: {text}, {:.1} %", self.stage.name, 100.0 * part);
            self.told = Instant::now();
        }
        self.bar.set_message(text);
    }

    /// Writes down what is due.
    fn keep(&mut self) -> Result<()> {
        if self.saved.elapsed().as_secs_f64() > self.settings.save_seconds {
            self.trained.save(self.run, self.stage)?;
            self.saved = Instant::now();
        }
        if self.published.elapsed() > PACK {
            self.publish()?;
            self.published = Instant::now();
        }
        let minutes = self.settings.preview_minutes;
        if minutes > 0.0 && self.looked.elapsed().as_secs_f64() > 60.0 * minutes {
            self.look()?;
            self.looked = Instant::now();
        }
        self.milestone(false);
        Ok(())
    }

    /// Writes down a milestone when one is due, as at the stage's `end`.
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

    /// The loss on held-out samples and a picture, of the averaged networks.
    fn look(&self) -> Result<()> {
        if self.settings.preview_minutes <= 0.0 {
            return Ok(());
        }
        let averaged = self.averaged();
        let device = self.task.device().clone().inner();
        let mut losses = Vec::new();
        for part in &self.held_out {
            losses.extend(shown(self.task, &averaged, part, &device)?.1);
        }
        let mean = losses.iter().sum::<f32>() / losses.len() as f32;
        if !losses.is_empty() {
            curve::held_out(self.run, &self.stage.name, &self.progress, mean)?;
        }
        if let Some(picture) = self.task.preview(&averaged)? {
            let folder = self.run.join("samples");
            let fail = |e: std::io::Error| Error::format(folder.display().to_string(), e);
            std::fs::create_dir_all(&folder).map_err(fail)?;
            let samples = self.progress.samples;
            picture.save(&folder.join(format!("{}-{samples:08}.png", self.stage.name)))?;
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

/// The random numbers of a step: a stream of their own for each, so that a run that goes on draws what it would have drawn.
fn generator(seed: u64, stage: &Stage, step: u64) -> ChaCha8Rng {
    let name = stage.name.bytes();
    let name = name.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut generator = ChaCha8Rng::seed_from_u64(seed ^ name);
    generator.set_stream(step);
    generator
}

/// What one batch gave.
pub(super) struct Step {
    pub(super) losses: Vec<(String, f32)>,
    pub(super) gradients: Vec<GradientsParams>,
}

/// Losses and gradients of one batch, its parts computed in threads of their own: on the CPU most operations between
/// the matrix products use one core.
pub(super) fn step<T: Task>(
    task: &T,
    module: &T::Module,
    groups: usize,
    threads: usize,
    devices: &[Device],
    rng: &mut ChaCha8Rng,
) -> Result<Step> {
    // Every thread gets one part of each group, and parts come by length: the turns even the lengths out.
    let mut shares: Vec<Vec<T::Part>> = (0..threads).map(|_| Vec::new()).collect();
    for group in 0..groups {
        for (i, part) in task.parts(threads, rng)?.into_iter().enumerate() {
            shares[(i + group) % threads].push(part);
        }
    }
    let results: Vec<Result<Step>> = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .iter()
            .zip(devices.iter().cycle())
            .map(|(share, device)| scope.spawn(move || share_of(task, module, share, device)))
            .collect();
        let died = |_| Err(Error::Internal("a training thread panicked".into()));
        let ends = threads.into_iter();
        ends.map(|thread| thread.join().unwrap_or_else(died))
            .collect()
    });
    let mut whole = Step {
        losses: Vec::new(),
        gradients: Vec::new(),
    };
    for result in results {
        let result = result?;
        whole.losses.extend(result.losses);
        whole.gradients.extend(result.gradients);
    }
    Ok(whole)
}

/// One thread's parts, one after the other.
fn share_of<T: Task>(
    task: &T,
    module: &T::Module,
    share: &[T::Part],
    device: &Device,
) -> Result<Step> {
    let mut step = Step {
        losses: Vec::new(),
        gradients: Vec::new(),
    };
    for part in share {
        // A graph of its own: burn's autodiff takes its locks in different orders forward and backward, so threads that
        // share a parameter's graph can stop for ever.
        let module = module.clone().fork(device);
        let losses = task.losses(&module, part, device)?;
        let gradients = losses.losses.mean().backward();
        step.gradients
            .push(GradientsParams::from_grads(gradients, &module));
        step.losses
            .extend(std::iter::zip(losses.names, read(losses.shown)?));
    }
    Ok(step)
}

/// The kinds and losses of a part, without gradients.
fn shown<T: Task>(
    task: &T,
    module: &T::Module,
    part: &T::Part,
    device: &Device,
) -> Result<(Vec<String>, Vec<f32>)> {
    let losses = task.losses(module, part, device)?;
    Ok((losses.names, read(losses.shown)?))
}

fn read(losses: Tensor<1>) -> Result<Vec<f32>> {
    let data = losses.try_into_data();
    let data = data.map_err(|e| Error::DeviceLost(format!("reading the loss: {e:?}")))?;
    Ok(data.iter::<f32>().collect())
}
