//! Training throughput in samples per second: over the last minute and on average, with a warning if the former is much lower.

use std::collections::VecDeque;
use std::time::Duration;

/// The time over which the recent rate is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// The fraction of the mean below which the recent rate is reported as low.
const LOW_FRACTION: f64 = 2.0 / 3.0;

/// A step that takes longer than the window and this many times the mean step was suspended and is not counted.
const SUSPENDED_FACTOR: f64 = 10.0;

/// Counts samples and the time of steps; evaluation and checkpoints between steps do not count.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    /// The steps of the window.
    recent: VecDeque<(Duration, u64)>,
    window: (Duration, u64),
    total: (Duration, u64),
    steps: u32,
    warned: bool,
}

impl Throughput {
    /// Counts a step of `samples` samples. Returns false for a suspended step, which is not counted.
    pub(super) fn add(&mut self, took: Duration, samples: u64) -> bool {
        let mean = self.total.0 / self.steps.max(1);
        if self.steps > 0 && took > WINDOW && took > mean.mul_f64(SUSPENDED_FACTOR) {
            return false;
        }
        self.steps += 1;
        self.recent.push_back((took, samples));
        for sums in [&mut self.window, &mut self.total] {
            sums.0 += took;
            sums.1 += samples;
        }
        // Keep at least a minute of steps in the window.
        while let Some(&(oldest, samples)) = self.recent.front()
            && self.window.0 - oldest >= WINDOW
        {
            self.recent.pop_front();
            self.window.0 -= oldest;
            self.window.1 -= samples;
        }
        true
    }

    /// Returns the samples per second over the last minute.
    pub(super) fn recent(&self) -> f64 {
        rate(self.window)
    }

    /// Returns the samples per second over all steps.
    pub(super) fn mean(&self) -> f64 {
        rate(self.total)
    }

    /// Returns a warning, once, when the last minute's rate is a third below the mean.
    pub(super) fn warning(&mut self) -> Option<String> {
        let (recent, mean) = (self.recent(), self.mean());
        if self.warned || self.window.0 < WINDOW || recent >= LOW_FRACTION * mean {
            return None;
        }
        self.warned = true;
        Some(format!(
            "low throughput over the last minute: {recent:.1} samples/s, expected about {mean:.1}"
        ))
    }
}

/// Returns the samples per second.
fn rate((time, samples): (Duration, u64)) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        samples as f64 / time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds steps of 64 samples that take `seconds` each, for about `minutes`; returns the number of warnings.
    fn run(throughput: &mut Throughput, seconds: f64, minutes: f64) -> usize {
        let steps = (60.0 * minutes / seconds).ceil() as usize;
        let step = |_: &usize| {
            throughput.add(Duration::from_secs_f64(seconds), 64);
            throughput.warning().is_some()
        };
        (0..steps).filter(step).count()
    }

    #[test]
    fn the_recent_rate_is_that_of_the_last_minute() {
        let mut throughput = Throughput::default();
        assert_eq!((throughput.recent(), throughput.mean()), (0.0, 0.0));
        run(&mut throughput, 1.0, 3.0);
        run(&mut throughput, 0.8, 1.0);
        assert!((throughput.recent() - 80.0).abs() < 1e-9);
        assert!((throughput.mean() - 64.0 * 255.0 / 240.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_a_third_below_the_mean_is_reported_once() {
        let mut throughput = Throughput::default();
        assert_eq!(run(&mut throughput, 1.0, 20.0), 0);
        // A rate a quarter below the mean gives no warning.
        assert_eq!(run(&mut throughput, 4.0 / 3.0, 5.0), 0);
        assert_eq!(run(&mut throughput, 2.0, 5.0), 1);
        assert_eq!(run(&mut throughput, 1.0, 5.0), 0);
        assert_eq!(run(&mut throughput, 3.0, 5.0), 0);
    }

    #[test]
    fn the_first_minute_and_a_suspended_process_give_no_warning() {
        let mut throughput = Throughput::default();
        throughput.add(Duration::from_millis(100), 64);
        throughput.add(Duration::from_secs(3), 64);
        assert_eq!(throughput.warning(), None);
        let mut throughput = Throughput::default();
        run(&mut throughput, 1.0, 5.0);
        throughput.add(Duration::from_secs(600), 64);
        assert_eq!(throughput.warning(), None);
        assert!((throughput.mean() - 64.0).abs() < 1e-9);
    }
}
