//! Tiled shaders: texts that say a tile once, written out for the tile that suits the adapter.
//!
//! WGSL has no arrays in registers, so a shader that keeps a tile of results there has to name each of them. Such a text has
//! three signs: a line with `$r` stands for one line a row of the tile, with `$q` one for every four of its columns, with `$j`
//! one for each of those four; with several signs, one for each combination, rows first. `ROWS`, `COLUMNS` and `THREADS` are
//! the tile's numbers. A line that ends in `// quad` is only there where four neighbouring threads load four columns once and
//! pass them to one another, one that ends in `// alone` only where every thread loads its own. `Factor` is what is multiplied:
//! a vector of 32-bit floats, or of 16-bit ones; a line that ends in `// single` or in `// half` is for one of the two.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor};

use super::device::canary;
use super::{Activation, attention, launch, linear};
use crate::weights::quant::Encoding;

/// What a thread of a tiled shader makes, and with how many others.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Tile {
    /// Rows of results.
    pub(super) rows: usize,
    /// Columns of results, a multiple of four.
    pub(super) columns: usize,
    /// Threads of a workgroup, which lie below one another; a multiple of four.
    pub(super) threads: usize,
    /// Whether four threads share what they load, through a subgroup's quads.
    pub(super) subgroup_quads: bool,
    /// Whether factors are 16-bit floats.
    pub(super) f16_enabled: bool,
}

/// Multiply-adds of one launch from which a larger tile is worth its compiling: a tenth of a second on a processor.
const MUCH: u64 = 1 << 29;

/// What every tiled shader has.
const SHARED: &str = include_str!("../../shaders/tile.wgsl");

impl Tile {
    /// The text of a shader for this tile, after what all of them have.
    pub(super) fn write_out(self, texts: &[&str]) -> String {
        let mut out = self.head();
        let dropped = [
            if self.subgroup_quads {
                "// alone"
            } else {
                "// quad"
            },
            if self.f16_enabled {
                "// single"
            } else {
                "// half"
            },
        ];
        let all = [SHARED].into_iter().chain(texts.iter().copied());
        for line in all.flat_map(str::lines) {
            if dropped.iter().any(|end| line.ends_with(end)) || line.trim_start().starts_with("//")
            {
                continue;
            }
            let mut lines = vec![line.to_owned()];
            for (sign, count) in [("$r", self.rows), ("$q", self.columns / 4), ("$j", 4)] {
                if line.contains(sign) {
                    let each = |line: &String| {
                        let line = line.clone();
                        (0..count).map(move |i| line.replace(sign, &i.to_string()))
                    };
                    lines = lines.iter().flat_map(each).collect();
                }
            }
            for line in lines {
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }

    /// What the texts for this tile begin with, and no others.
    fn head(self) -> String {
        let mut out = String::new();
        let factor = if self.f16_enabled {
            "vec4<f16>"
        } else {
            "vec4<f32>"
        };
        if self.f16_enabled {
            out.push_str("enable f16;\n");
        }
        // Browsers want to be told of subgroups; wgpu's own compiler knows them where the device has them, and refuses to be told.
        if self.subgroup_quads && cfg!(target_arch = "wasm32") {
            // A size that lies in a buffer counts as different for every thread, though it is not.
            out.push_str("enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n");
        }
        for (name, number) in [
            ("ROWS", self.rows),
            ("COLUMNS", self.columns),
            ("THREADS", self.threads),
        ] {
            writeln!(out, "const {name} = {number}u;").expect("a String takes every text");
        }
        writeln!(out, "alias Factor = {factor};").expect("a String takes every text");
        out
    }

    /// This tile for a matrix of `rows` rows: with one of them, where that covers all that there are. No sizes between, since each
    /// is a pipeline to compile, which takes a software adapter half a second.
    pub(super) fn fit(mut self, rows: usize) -> Self {
        if rows <= self.threads {
            self.rows = 1;
        }
        self
    }
}

/// Tiles that suit a kind of adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// By which they are chosen and remembered.
    name: &'static str,
    /// Of products with a matrix, and of convolutions: for little work, and for much.
    linear: [Tile; 2],
    /// Of attention, queries by keys: for little work, and for much.
    attention: [Tile; 2],
}

const fn tile(rows: usize, columns: usize, threads: usize, subgroup_quads: bool) -> Tile {
    Tile {
        rows,
        columns,
        threads,
        subgroup_quads,
        f16_enabled: false,
    }
}

/// What is tried on an adapter. The large ones are for adapters whose registers cost nothing beside their loads, such as
/// processors, where a larger tile loads less and is compiled for longer (attention by 16 x 64: a quarter faster on SwiftShader, and
/// minutes of compiling on Mesa); the small ones leave a GPU registers for many threads.
const ALL: [Tiles; 4] = [
    Tiles {
        name: "large",
        linear: [tile(16, 16, 4, false), tile(16, 32, 4, false)],
        attention: [tile(8, 16, 4, false), tile(8, 32, 4, false)],
    },
    Tiles {
        name: "large-quads",
        linear: [tile(16, 16, 4, true), tile(16, 32, 4, true)],
        attention: [tile(8, 16, 4, true), tile(8, 32, 4, true)],
    },
    Tiles {
        name: "small",
        linear: [tile(4, 8, 32, false); 2],
        attention: [tile(2, 16, 32, false); 2],
    },
    Tiles {
        name: "small-quads",
        linear: [tile(4, 16, 32, true); 2],
        attention: [tile(4, 16, 32, true); 2],
    },
];

/// Where in [`ALL`] those for GPUs begin, and with them those that 16-bit floats may have: a processor would turn each into 32 bits.
const FOR_GPUS: usize = 2;

/// Which of [`ALL`] is used. A process has one WebGPU device.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Whether the device has subgroups.
static QUADS: AtomicBool = AtomicBool::new(false);

/// Whether factors are 16-bit floats.
static HALVES: AtomicBool = AtomicBool::new(false);

/// Says whether the device has subgroups.
pub(super) fn allow_subgroup_quads(has: bool) {
    QUADS.store(has, Ordering::Relaxed);
}

/// Says whether factors are 16-bit floats from now on, which the device must have.
pub(super) fn enable_f16(f16_enabled: bool) {
    HALVES.store(f16_enabled, Ordering::Relaxed);
    CHOSEN.fetch_max(first(), Ordering::Relaxed);
}

/// The first of [`ALL`] that may be used with these factors.
fn first() -> usize {
    if f16_enabled() { FOR_GPUS } else { 0 }
}

/// Whether factors are 16-bit floats.
pub fn f16_enabled() -> bool {
    HALVES.load(Ordering::Relaxed)
}

/// The tiles that are used.
pub(super) fn tiles() -> Tiles {
    ALL[CHOSEN.load(Ordering::Relaxed)].of(f16_enabled())
}

/// The names of the tiles that `device` can use; none where it is no WebGPU device.
pub fn tile_names(device: &Device) -> Vec<&'static str> {
    usable(device).into_iter().map(|i| ALL[i].name).collect()
}

/// Which of [`ALL`] `device` can use.
fn usable(device: &Device) -> Vec<usize> {
    if launch::floats(&Tensor::<1>::zeros([4], device)).is_none() {
        return Vec::new();
    }
    let subgroup_quads = QUADS.load(Ordering::Relaxed);
    let fits = |tiles: &Tiles| subgroup_quads || !tiles.all().any(|tile| tile.subgroup_quads);
    (first()..ALL.len()).filter(|&i| fits(&ALL[i])).collect()
}

impl Tiles {
    /// The same with factors of 16 bits, or of 32.
    fn of(mut self, f16_enabled: bool) -> Self {
        for tile in self.linear.iter_mut().chain(&mut self.attention) {
            tile.f16_enabled = f16_enabled;
        }
        self
    }

    /// For a product or a convolution of so many multiply-adds.
    pub(super) fn linear(self, multiply_adds: u64) -> Tile {
        self.linear[usize::from(multiply_adds >= MUCH)]
    }

    /// For attention of so many multiply-adds, both products together.
    pub(super) fn attention(self, multiply_adds: u64) -> Tile {
        self.attention[usize::from(multiply_adds >= MUCH)]
    }

    fn all(&self) -> impl Iterator<Item = Tile> {
        self.linear.into_iter().chain(self.attention)
    }

    /// Whether a shader's text is for one of these tiles.
    fn have(&self, text: &str) -> bool {
        let mut tiles = self.all().flat_map(|tile| [tile, tile.fit(1)]);
        tiles.any(|tile| text.starts_with(&tile.head()))
    }
}

/// Whether a shader's text may be used again: it is for the tiles that are used, or for no tiles. The others were only measured.
pub fn in_use(text: &str) -> bool {
    let mut others = [false, true]
        .into_iter()
        .flat_map(|f16_enabled| ALL.map(|tiles| tiles.of(f16_enabled)));
    tiles().have(text) || !others.any(|other| other.have(text))
}

fn choose(index: usize) {
    CHOSEN.store(index, Ordering::Relaxed);
}

/// Measures which tiles are the fastest on `device`, by a product and an attention of a small model's size, and uses the
/// fastest that pass the start-up check in these quantised encodings. Gives their name; none where `device` is no WebGPU device, or none of them works there.
/// `now` is a clock in milliseconds.
pub async fn measure_tiles(
    device: &Device,
    quantized: &[Encoding],
    now: impl Fn() -> f64,
) -> Option<&'static str> {
    let mut measured: Vec<(usize, f64)> = Vec::new();
    // The first run compiles, and shows which of them the adapter's compiler takes.
    for index in usable(device) {
        choose(index);
        if run(device).await.is_some() {
            measured.push((index, f64::MAX));
        }
    }
    for _ in 0..ROUNDS {
        for (index, best) in &mut measured {
            choose(*index);
            let start = now();
            if run(device).await.is_some() {
                // The fastest counts: a machine may be busy for a moment, never idle.
                *best = best.min(now() - start);
            }
        }
    }
    measured.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (index, _) in measured {
        choose(index);
        if canary(device, quantized).await.is_ok() {
            return Some(ALL[index].name);
        }
    }
    choose(first());
    None
}

/// How often each kind of tiles is measured.
const ROUNDS: usize = 4;

async fn run(device: &Device) -> Option<()> {
    let (n, d, h) = (256, 384, 6);
    let x = Tensor::ones([1, n, d], device);
    let y = linear(x, Tensor::ones([d, d], device), None, Activation::None);
    let heads = y.reshape([1, n, h, d / h]).swap_dims(1, 2);
    let (q, k, v) = (heads.clone() * 1e-3, heads.clone() * 2e-3, heads);
    let y = attention(q, k, v, None).reshape([-1]).narrow(0, 0, 1);
    y.into_data_async().await.ok().map(drop)
}

/// Uses the tiles of this name from now on; whether there are such tiles for `device`.
pub fn use_tiles(device: &Device, name: &str) -> bool {
    let found = usable(device).into_iter().find(|&i| ALL[i].name == name);
    found.map(choose).is_some()
}
