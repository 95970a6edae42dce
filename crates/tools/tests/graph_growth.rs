//! Training in which half of the parameters get no gradient does not leak memory, neither in burn's autodiff graph nor
//! elsewhere.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use clap::Parser;
use unireal_tools::train::bench::TrainOptions;
use unireal_tools::train::bench_whole::WholeStep;

/// Counts the live allocations.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call passes the caller's arguments to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller upholds the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: TrainOptions,
}

/// Returns the number of live allocations after 100 and 300 micro-batches with these options.
fn live(options: &str) -> [isize; 2] {
    let arguments = format!("bench --preset tiny --size 32 --text 4 --groups 1 {options}");
    let Arguments { options } = Arguments::parse_from(arguments.split_whitespace());
    let mut whole = WholeStep::new(&options).unwrap();
    let mut run = |micro_batches: usize| {
        for _ in 0..micro_batches / options.threads {
            whole.step().unwrap();
        }
        LIVE.load(Ordering::Relaxed)
    };
    [run(100), run(200)]
}

/// A single test, because allocations of concurrent tests would be counted too.
#[test]
fn parameters_without_gradients_do_not_grow_the_graph() {
    for options in [
        "--batch 2 --threads 1 --grounding-only 1",
        "--batch 2 --threads 2 --grounding-only 1",
        "--batch 2 --threads 1 --grounding-only 0.5",
    ] {
        let [early, late] = live(options);
        let found = format!(
            "{options}: {early} live allocations after 100 micro-batches, {late} after 300"
        );
        println!("{found}");
        assert!((late - early).abs() < 500, "{found}");
    }
}
