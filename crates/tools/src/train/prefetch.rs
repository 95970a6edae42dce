//! The batches of the coming steps, prepared by a thread of their own while the compute threads work on the present one.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::settings::Stage;
use super::stage::Task;
use super::step::{Shares, shares};
use unireal::{Error, Result};

/// Batches that wait, beside the one that is being prepared.
const WAITING: usize = 2;

/// The random numbers of a step: a stream per step, so that a resumed run draws what it would have drawn.
pub(super) fn generator(seed: u64, stage: &Stage, step: u64) -> ChaCha8Rng {
    let name = stage.name.bytes();
    let name = name.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut generator = ChaCha8Rng::seed_from_u64(seed ^ name);
    generator.set_stream(step);
    generator
}

/// The batches of a stage, step by step.
pub(super) struct Prefetch<'scope, B> {
    receiver: Receiver<Result<Shares<B>>>,
    thread: Option<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope, B: Send + 'scope> Prefetch<'scope, B> {
    /// Starts to prepare batches from the step `first` on. The thread ends when this is dropped, or after an error.
    pub(super) fn start<'env, T: Task<MicroBatch = B>>(
        scope: &'scope Scope<'scope, 'env>,
        task: &'env T,
        stage: &'env Stage,
        (seed, threads): (u64, usize),
        first: u64,
    ) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let thread = scope.spawn(move || {
            for step in first.. {
                let mut rng = generator(seed, stage, step);
                let batch = shares(task, stage.groups, threads, &mut rng);
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

    /// Returns the next step's batch; waits for it when it is not ready.
    ///
    /// # Errors
    /// As [`Task::micro_batches`], and [`Error::Internal`] when the thread panicked.
    pub(super) fn next(&mut self) -> Result<Shares<B>> {
        self.receiver.recv().unwrap_or_else(|_| {
            // A panic that is joined here does not reach the scope.
            self.thread.take().map(ScopedJoinHandle::join);
            let reason = "the thread that prepares the batches panicked";
            Err(Error::Internal(reason.into()))
        })
    }
}
