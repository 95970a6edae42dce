//! The loss curves of a stage: CSV files that later calls append to, one of the overall loss and one of the loss of each kind.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::resume::Progress;
use unireal::{Error, Result};

/// Number of steps per line.
pub(super) const STEPS_PER_LINE: u64 = 10;

/// Prefix of the names of grounding losses, which the overall loss excludes.
pub(super) const GROUNDING_PREFIX: &str = "grounding/";

/// The sums of losses since the last line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct LossSums {
    /// For each kind, the sum and the number of its losses.
    kinds: BTreeMap<String, (f64, u64)>,
}

/// The curve files of a stage.
pub(super) struct Curve {
    overall: PathBuf,
    kinds: PathBuf,
}

impl Curve {
    /// Opens the curves of a stage after `steps` steps. Deletes lines of later steps, whose weights were lost when the run was killed.
    ///
    /// # Errors
    /// [`Error::Format`] when a file cannot be read or written.
    pub(super) fn open(run: &Path, stage: &str, steps: u64) -> Result<Self> {
        let folder = run.join("curves");
        let overall = folder.join(format!("{stage}.csv"));
        let kinds = folder.join(format!("{stage}-kinds.csv"));
        for (path, header) in [
            (&overall, "step,samples,seconds,rate,loss"),
            (&kinds, "step,samples,kind,loss,count"),
        ] {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(e) => return Err(Error::io(path, e)),
            };
            let mut lines_before = format!("{header}\n");
            let fields = header.split(',').count();
            // A kill can also leave an incomplete line.
            let partial = usize::from(!text.ends_with('\n'));
            let complete = text.lines().count().saturating_sub(partial);
            for line in text.lines().take(complete) {
                let step = line.split(',').next().and_then(|step| step.parse().ok());
                if step.is_some_and(|step: u64| step <= steps) && line.split(',').count() == fields
                {
                    lines_before += line;
                    lines_before.push('\n');
                }
            }
            checkpoint::write(path, lines_before.as_bytes())?;
        }
        Ok(Curve { overall, kinds })
    }

    /// Adds the losses of a step. Every [`STEPS_PER_LINE`] steps, appends the means since the last line and returns the overall mean.
    ///
    /// # Errors
    /// [`Error::Format`] when a file cannot be written.
    pub(super) fn add<'a>(
        &self,
        sums: &mut LossSums,
        losses: impl Iterator<Item = (&'a str, f32)>,
        progress: &Progress,
        learning_rate: f64,
    ) -> Result<Option<f64>> {
        for (name, loss) in losses {
            let kind = sums.kinds.entry(name.to_owned()).or_default();
            kind.0 += f64::from(loss);
            kind.1 += 1;
        }
        if !progress.steps.is_multiple_of(STEPS_PER_LINE) {
            return Ok(None);
        }
        let kinds = std::mem::take(&mut sums.kinds);
        // A stage may have only excluded losses.
        let all_excluded = kinds.keys().all(|name| name.starts_with(GROUNDING_PREFIX));
        let is_included = |name: &str| all_excluded || !name.starts_with(GROUNDING_PREFIX);
        let included = || kinds.iter().filter(|(name, _)| is_included(name));
        let sum: f64 = included().map(|(_, kind)| kind.0).sum();
        let count: u64 = included().map(|(_, kind)| kind.1).sum();
        let mean = sum / count.max(1) as f64;
        let Progress {
            steps,
            samples,
            seconds,
            ..
        } = progress;
        let line = format!("{steps},{samples},{seconds:.1},{learning_rate:.3e},{mean:.5}\n");
        append(&self.overall, &line)?;
        let line = |(kind, (sum, count)): (&String, &(f64, u64))| {
            let mean = sum / *count as f64;
            format!("{steps},{samples},{kind},{mean:.5},{count}\n")
        };
        append(&self.kinds, &kinds.iter().map(line).collect::<String>())?;
        Ok(Some(mean))
    }
}

/// Appends a line to the curve of the loss on held-out samples.
///
/// # Errors
/// [`Error::Format`] when the file cannot be written.
pub(super) fn held_out(run: &Path, stage: &str, progress: &Progress, loss: f32) -> Result<()> {
    let path = run.join("curves").join(format!("{stage}-held-out.csv"));
    if !path.exists() {
        checkpoint::write(&path, b"step,samples,loss\n")?;
    }
    let Progress { steps, samples, .. } = progress;
    append(&path, &format!("{steps},{samples},{loss:.5}\n"))
}

fn append(path: &Path, text: &str) -> Result<()> {
    let file = std::fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Error::format(path.display().to_string(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reopening_removes_the_lines_after_the_checkpoint() {
        let run = tempfile::tempdir().unwrap();
        let curve = Curve::open(run.path(), "a", 0).unwrap();
        let mut sums = LossSums::default();
        for steps in 1..=30 {
            let progress = Progress {
                steps,
                samples: 2 * steps,
                seconds: 1.0,
                done: false,
            };
            let losses = [("edit", steps as f32), ("control/depth", 1.0)];
            curve
                .add(&mut sums, losses.into_iter(), &progress, 1e-3)
                .unwrap();
        }
        append(&curve.overall, "40,8").unwrap();
        Curve::open(run.path(), "a", 20).unwrap();
        let overall = std::fs::read_to_string(&curve.overall).unwrap();
        assert_eq!(
            overall,
            "step,samples,seconds,rate,loss\n10,20,1.0,1.000e-3,3.25000\n20,40,1.0,1.000e-3,8.25000\n"
        );
        let kinds = std::fs::read_to_string(&curve.kinds).unwrap();
        assert!(kinds.ends_with("20,40,control/depth,1.00000,10\n20,40,edit,15.50000,10\n"));
    }
}
