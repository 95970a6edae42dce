//! Milestones of a run, at a fixed interval of samples and at the end of each stage: a contact sheet of fixed held-out requests (for
//! the autoencoder, of reconstructions) in `milestones/<stage>-<samples>.png`, and a line of scores in `milestones/scores.csv`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::checkpoint;
use super::resume::Progress;
use super::settings::{Settings, Stage};
use super::task::Task;
use crate::evaluate::requests::{Milestone, SCORES};
use unireal::{Error, Result};

/// The milestones of a stage.
pub(super) struct Milestones {
    /// Samples between two milestones; 0 disables them.
    every: u64,
    stage: String,
    folder: PathBuf,
    /// Number of milestones passed.
    passed: u64,
}

impl Milestones {
    /// Returns the milestones of a stage that has reached `progress`.
    pub(super) fn new(settings: &Settings, stage: &Stage, run: &Path, progress: Progress) -> Self {
        let every = settings.milestone_samples;
        Milestones {
            every,
            stage: stage.name.clone(),
            folder: run.join("milestones"),
            passed: progress.samples.checked_div(every).unwrap_or(0),
        }
    }

    /// Returns whether a milestone was passed since the last call or, at the stage's `end`, whether milestones are enabled.
    pub(super) fn due(&mut self, progress: Progress, end: bool) -> bool {
        let Some(passed) = progress.samples.checked_div(self.every) else {
            return false;
        };
        let due = end || passed > self.passed;
        self.passed = passed;
        due
    }

    /// Writes the sheet and the scores of the averaged networks. Errors and panics become warnings, so that training continues.
    pub(super) fn write<T: Task>(&self, task: &T, averaged: &T::Module, progress: Progress) {
        let milestone = catch_unwind(AssertUnwindSafe(|| task.milestone(averaged)));
        let panicked = |_| {
            Err(Error::Internal(
                "scoring a milestone: the networks panicked".into(),
            ))
        };
        let written = milestone
            .unwrap_or_else(panicked)
            .and_then(|milestone| match milestone {
                Some(milestone) => self.save(&milestone, progress.samples),
                None => Ok(()),
            });
        if let Err(error) = written {
            let samples = progress.samples;
            eprintln!(
                "warning: no milestone of {} at {samples} samples: {error}",
                self.stage
            );
        }
    }

    fn save(&self, milestone: &Milestone, samples: u64) -> Result<()> {
        let sheet = self.folder.join(format!("{}-{samples:08}.png", self.stage));
        checkpoint::write(&sheet, &milestone.sheet.to_png()?)?;
        let path = self.folder.join("scores.csv");
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(&path, e)),
        };
        let mut text = format!("stage,samples,{}\n", SCORES.join(","));
        // A resumed run can reach the same milestone again.
        let is_replaced = |line: &&str| {
            let mut fields = line.split(',');
            let stage = fields.next() == Some(self.stage.as_str());
            let at = fields.next().and_then(|field| field.parse::<u64>().ok());
            stage && at.is_none_or(|at| at >= samples)
        };
        for line in old.lines().skip(1).filter(|line| !is_replaced(line)) {
            text += line;
            text.push('\n');
        }
        text += &format!("{},{samples}", self.stage);
        for name in SCORES {
            let found = milestone.scores.iter().find(|score| score.0 == name);
            let value = found.and_then(|score| score.1);
            text += &value.map_or(",".into(), |value| format!(",{value:.3}"));
        }
        text.push('\n');
        checkpoint::write(&path, text.as_bytes())?;
        let scores: Vec<String> = milestone
            .scores
            .iter()
            .filter_map(|(name, value)| Some(format!("{name} {:.2}", (*value)?)))
            .collect();
        eprintln!(
            "{}: milestone at {samples} samples: {}",
            self.stage,
            scores.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unireal::Image;

    fn milestones(every: u64, run: &Path, samples: u64) -> Milestones {
        let settings = format!(
            r#"{{"preset": "tiny", "data": ["a"], "milestone_samples": {every}, "stages": [
            {{"name": "mixed", "train": "flow", "size": 32, "steps": 9, "batch": 8, "learning_rate": 1e-3}}]}}"#
        );
        let settings: Settings = serde_json::from_str(&settings).unwrap();
        Milestones::new(&settings, &settings.stages[0], run, at(samples))
    }

    fn at(samples: u64) -> Progress {
        Progress {
            samples,
            ..Progress::default()
        }
    }

    #[test]
    fn a_milestone_is_due_once() {
        let run = tempfile::tempdir().unwrap();
        let mut all = milestones(100, run.path(), 120);
        let due: Vec<bool> = [128, 192, 200, 208, 408]
            .map(|samples| all.due(at(samples), false))
            .to_vec();
        assert_eq!(due, [false, false, true, false, true]);
        assert!(all.due(at(410), true));
        assert!(!milestones(0, run.path(), 0).due(at(500), true));
    }

    #[test]
    fn a_repeated_milestone_replaces_its_line() {
        let run = tempfile::tempdir().unwrap();
        let all = milestones(100, run.path(), 0);
        let milestone = |gain| Milestone {
            sheet: Image::from_rgb(1, 1, vec![0; 3]).unwrap(),
            scores: vec![("edit_gain_db", Some(gain)), ("mask_iou", None)],
        };
        for (samples, gain) in [(100, 1.0), (200, 2.0), (300, 3.0), (200, 2.5)] {
            all.save(&milestone(gain), samples).unwrap();
        }
        let folder = run.path().join("milestones");
        let text = std::fs::read_to_string(folder.join("scores.csv")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("stage,samples,whole_db,"), "{text}");
        assert_eq!(lines[1], "mixed,100,,,,1.000,,,,,,");
        assert_eq!(lines[2], "mixed,200,,,,2.500,,,,,,");
        assert!(folder.join("mixed-00000300.png").exists());
    }
}
