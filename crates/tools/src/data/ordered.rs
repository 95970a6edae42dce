//! Parallel work with results consumed in order, so that the output does not depend on the number of threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, PoisonError};

use unireal::{Error, Result};

/// Number of results per thread that may wait for an earlier one.
const AHEAD: usize = 4;

/// The number of results consumed, and whether to stop.
#[derive(Default)]
struct Progress {
    taken: usize,
    stop: bool,
}

/// Runs `make(0)` to `make(count - 1)` on `threads` threads and passes the results to `take` in order, on the calling thread.
/// A panic of `make` becomes the error of its item.
///
/// # Errors
/// The first error of `take`, which ends the work.
pub(crate) fn ordered<T: Send>(
    threads: usize,
    count: usize,
    make: impl Fn(usize) -> Result<T> + Sync,
    mut take: impl FnMut(usize, Result<T>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let progress = Mutex::new(Progress::default());
    let moved = Condvar::new();
    let update = |change: &dyn Fn(&mut Progress)| {
        change(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
        moved.notify_all();
    };
    // Waits until item `i` may be made, at most `AHEAD` results per thread before it is consumed; false to stop.
    let admitted = |i: usize| {
        let guard = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let early = |p: &mut Progress| !p.stop && i >= p.taken + AHEAD * threads.max(1);
        let guard = moved
            .wait_while(guard, early)
            .unwrap_or_else(PoisonError::into_inner);
        !guard.stop
    };
    std::thread::scope(|scope| {
        let (sender, results) = channel();
        for _ in 0..threads.max(1) {
            let (sender, next, make, admitted) = (sender.clone(), &next, &make, &admitted);
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count || !admitted(i) {
                        return;
                    }
                    let result = catch_unwind(AssertUnwindSafe(|| make(i)));
                    let result = result.unwrap_or_else(|_| {
                        Err(Error::Internal(
                            "making a result: the thread panicked".into(),
                        ))
                    });
                    if sender.send((i, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut taken = 0;
        for (i, result) in results {
            waiting.insert(i, result);
            while let Some(result) = waiting.remove(&taken) {
                let outcome = take(taken, result);
                taken += 1;
                update(&|progress| (progress.taken, progress.stop) = (taken, outcome.is_err()));
                outcome?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_panics_belong_to_their_item() {
        for threads in [1, 2, 5] {
            let mut seen = Vec::new();
            let make = |i: usize| {
                std::thread::sleep(std::time::Duration::from_micros(
                    (i * 7919 % 13) as u64 * 100,
                ));
                assert!(i != 17, "an expected panic");
                Ok(i)
            };
            let take = |i: usize, result: Result<usize>| {
                assert_eq!(result.is_err(), i == 17);
                seen.push(result.unwrap_or(17));
                Ok(())
            };
            ordered(threads, 60, make, take).unwrap();
            assert_eq!(seen, (0..60).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_of_take_ends_the_work() {
        let calls = AtomicUsize::new(0);
        let make = |i: usize| Ok(calls.fetch_add(1, Ordering::Relaxed) + i);
        let take = |i: usize, _| match i {
            3 => Err(Error::Busy),
            _ => Ok(()),
        };
        assert!(ordered(3, 100_000, make, take).is_err());
        assert!(calls.load(Ordering::Relaxed) < 1000);
        ordered(3, 0, |_| Ok(0), |_, _| Ok(())).unwrap();
    }
}
