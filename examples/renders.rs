//! How many pictures of the tabletop world one machine renders in a second, by threads:
//! `cargo run --release --example renders [-- SIDE [SAMPLES]]`.

use std::time::{Duration, Instant};

use unireal::world::{
    Backdrop, Camera, Colour, Ground, Light, Material, Pose, Scene, Settings, Shape, Size, Solid,
    Tone, render,
};

/// Four solids that stand apart, another choice of everything for each `number`.
fn scene(number: usize) -> Scene {
    let pick = |salt: usize, of: usize| (number * 7 + salt * 5 + number / of) % of;
    let solid = |i: usize| Solid {
        shape: Shape::ALL[pick(i, 6)],
        colour: Colour::ALL[pick(i + 1, 10)],
        material: Material::ALL[pick(i + 2, 3)],
        size: Size::ALL[pick(i + 3, 2)],
        tint: [1.0; 3],
        pose: Pose {
            position: [(i % 2) as f32 * 1.5 - 0.75, 0.4, (i / 2) as f32 * 1.4 - 0.7],
            rotation: [0.0, 0.0, 0.0, 1.0],
        },
    };
    Scene {
        solids: (0..4).map(solid).collect(),
        ground: Ground::ALL[number % 4],
        ground_tone: Tone::ALL[number % 6],
        backdrop: Backdrop::ALL[number % 3],
        backdrop_tone: Tone::ALL[(number + 1) % 6],
        light: Light {
            azimuth: 0.8,
            elevation: 0.8,
            strength: 1.0,
        },
        camera: Camera::default(),
    }
}

/// Pictures that one thread renders until `end`, beginning with scene `first`.
fn count(settings: &Settings, first: usize, end: Instant) -> usize {
    let rendered = (first..).take_while(|&number| {
        std::hint::black_box(render(&scene(number), settings));
        Instant::now() < end
    });
    rendered.count()
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let mut settings = Settings::square(numbers.next().unwrap_or(64));
    settings.samples = numbers.next().unwrap_or(settings.samples);
    println!("{settings:?}");
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads = 1;
    loop {
        const TIME: Duration = Duration::from_secs(4);
        let end = Instant::now() + TIME;
        let rendered: usize = std::thread::scope(|scope| {
            let settings = &settings;
            let all: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || count(settings, 1000 * thread, end)))
                .collect();
            let counts = all.into_iter().map(|one| one.join().expect("no panic"));
            counts.sum()
        });
        println!(
            "{threads} threads: {:.1} pictures a second",
            rendered as f64 / TIME.as_secs_f64()
        );
        if threads == most {
            break;
        }
        threads = (2 * threads).min(most);
    }
}
