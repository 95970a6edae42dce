//! Prefetches batches: a separate thread prepares those of the next steps while the compute threads work on the current one.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::settings::Stage;
use super::step::{WorkerBatches, draw_micro_batches};
use super::task::Task;
use unireal::{Error, Result};

/// Number of batches in the queue, beside the one that is being prepared.
const QUEUE_LENGTH: usize = 2;

/// Returns the random number generator of a step: each step has its own stream, so that a resumed run draws the same numbers.
pub(super) fn generator(seed: u64, stage: &Stage, step: u64) -> ChaCha8Rng {
    // FNV-1a.
    let hash = stage.name.bytes();
    let hash = hash.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut generator = ChaCha8Rng::seed_from_u64(seed ^ hash);
    generator.set_stream(step);
    generator
}

/// The queue of a stage's batches.
pub(super) struct Prefetch<'scope, B> {
    receiver: Receiver<Result<WorkerBatches<B>>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope, B: Send + 'scope> Prefetch<'scope, B> {
    /// Starts a thread that prepares batches from step `first` on. The thread ends when this value is dropped, or after an error.
    pub(super) fn start<'env, T: Task<MicroBatch = B>>(
        scope: &'scope Scope<'scope, 'env>,
        task: &'env T,
        stage: &'env Stage,
        (seed, threads): (u64, usize),
        first: u64,
    ) -> Self {
        let (sender, receiver) = sync_channel(QUEUE_LENGTH);
        let thread = scope.spawn(move || {
            for step in first.. {
                let mut rng = generator(seed, stage, step);
                let batch = draw_micro_batches(task, stage.groups, threads, &mut rng);
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        Prefetch {
            receiver,
            thread: Some(thread),
        }
    }

    /// Returns the next step's batch; blocks until it is ready.
    ///
    /// # Errors
    /// As [`Task::micro_batches`], and [`Error::Internal`] when the thread panicked.
    pub(super) fn next(&mut self) -> Result<WorkerBatches<B>> {
        self.receiver.recv().unwrap_or_else(|_| {
            // Joining here keeps the panic from propagating to the scope.
            self.thread.take().map(ScopedJoinHandle::join);
            let reason = "preparing batches: the thread panicked";
            Err(Error::Internal(reason.into()))
        })
    }
}
