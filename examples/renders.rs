//! How many pictures of the tabletop world this machine renders in a second, by threads:
//! `cargo run --release --example renders [-- SIDE [SAMPLES]]`.

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use unireal::world::{Scene, Settings, render};

/// How long each number of threads is measured.
const TIME: Duration = Duration::from_secs(4);

/// Pictures of random scenes that one thread renders until `end`.
fn count(settings: &Settings, seed: u64, end: Instant) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let scenes: Vec<Scene> = (0..64).map(|_| Scene::draw(&mut random)).collect();
    let rendered = scenes.iter().cycle().take_while(|scene| {
        std::hint::black_box(render(scene, settings));
        Instant::now() < end
    });
    rendered.count()
}

/// Pictures a second of so many threads together.
fn rate(settings: &Settings, threads: u64) -> f64 {
    let start = Instant::now();
    let end = start + TIME;
    let rendered: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|seed| scope.spawn(move || count(settings, seed, end)))
            .collect();
        let counts = all.into_iter().map(|one| one.join().expect("no panic"));
        counts.sum()
    });
    rendered as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse());
    let mut next = |default: u32| match numbers.next() {
        Some(number) => number.expect("a number: SIDE, then SAMPLES"),
        None => default,
    };
    let mut settings = Settings::square(next(64));
    settings.samples = next(settings.samples);
    println!("{settings:?}");
    let most = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut threads = 1;
    while threads < most {
        println!(
            "{threads} threads: {:.1} pictures a second",
            rate(&settings, threads)
        );
        threads *= 2;
    }
    println!(
        "{most} threads: {:.1} pictures a second",
        rate(&settings, most)
    );
}
