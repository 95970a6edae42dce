//! Means with confidence intervals.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Number of bootstrap resamples.
const RESAMPLES: usize = 2000;

/// Seed of every bootstrap, so that reports are reproducible.
const SEED: u64 = 2412;

/// A mean with its 95% bootstrap confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Computes the interval of grouped values, such as those of the turns of a session or the prompts of a subject, with a
    /// cluster bootstrap: whole groups are drawn, because members of a group are not independent. Uses percentile bounds.
    /// `None` without values.
    pub(super) fn of<'a>(values: impl IntoIterator<Item = (&'a str, f64)>) -> Option<Interval> {
        let mut groups: Vec<(&str, f64, usize)> = Vec::new();
        let mut known = std::collections::HashMap::new();
        for (group, value) in values {
            let index = *known.entry(group).or_insert(groups.len());
            if index == groups.len() {
                groups.push((group, 0.0, 0));
            }
            groups[index].1 += value;
            groups[index].2 += 1;
        }
        if groups.is_empty() {
            return None;
        }
        let mean = |drawn: &mut dyn Iterator<Item = usize>| {
            let (sum, count) = drawn.fold((0.0, 0), |(sum, count), i| {
                (sum + groups[i].1, count + groups[i].2)
            });
            sum / count as f64
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(SEED);
        let mut means: Vec<f64> = (0..RESAMPLES)
            .map(|_| mean(&mut (0..groups.len()).map(|_| rng.random_range(0..groups.len()))))
            .collect();
        means.sort_by(f64::total_cmp);
        let quantile = |share: f64| means[(share * (RESAMPLES - 1) as f64).round() as usize];
        Some(Interval {
            mean: mean(&mut (0..groups.len())),
            low: quantile(0.025),
            high: quantile(0.975),
        })
    }

    /// Computes the interval of independent values.
    pub(super) fn independent(values: impl IntoIterator<Item = f64>) -> Option<Interval> {
        let values: Vec<(String, f64)> = values
            .into_iter()
            .enumerate()
            .map(|(i, value)| (i.to_string(), value))
            .collect();
        Interval::of(values.iter().map(|(group, value)| (group.as_str(), *value)))
    }

    /// Formats as `mean [low, high]` with this number of decimals.
    pub(super) fn text(&self, digits: usize) -> String {
        let Interval { mean, low, high } = self;
        format!("{mean:.digits$} [{low:.digits$}, {high:.digits$}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, Normal};

    /// For normal values the bounds are 1.96 standard errors from the mean.
    #[test]
    fn the_interval_is_that_of_the_normal_distribution() {
        let rng = &mut ChaCha8Rng::seed_from_u64(rand::random());
        let distribution = Normal::new(3.0, 2.0).unwrap();
        let values: Vec<f64> = (0..400).map(|_| distribution.sample(rng)).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half_width = 1.96 * (variance / n).sqrt();
        let found = Interval::independent(values.iter().copied()).unwrap();
        assert!((found.mean - mean).abs() < 1e-12, "{found:?}");
        for (bound, expected) in [
            (found.low, mean - half_width),
            (found.high, mean + half_width),
        ] {
            assert!(
                (bound - expected).abs() < 0.15 * half_width,
                "{found:?}, expected {expected}"
            );
        }
        assert_eq!(Interval::independent(values), Some(found));
        assert_eq!(Interval::independent([]), None);
    }

    /// Groups of equal values count as one observation each, whatever their size.
    #[test]
    fn members_of_a_group_are_not_independent() {
        let groups: Vec<(String, f64)> = (0..40)
            .map(|i| (format!("g{}", i / 10), f64::from(i / 10)))
            .collect();
        let grouped = Interval::of(groups.iter().map(|(g, v)| (g.as_str(), *v))).unwrap();
        let independent = Interval::independent(groups.iter().map(|(_, v)| *v)).unwrap();
        assert_eq!(grouped.mean, 1.5);
        assert!(grouped.high - grouped.low > 2.0 * (independent.high - independent.low));
        let one = Interval::of([("a", 2.0), ("a", 4.0)]).unwrap();
        assert_eq!((one.mean, one.low, one.high), (3.0, 3.0, 3.0));
    }
}
