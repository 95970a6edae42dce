//! Tiled shaders: WGSL templates, expanded for the tile sizes that suit the adapter.
//!
//! WGSL has no arrays in registers, so a shader that keeps a tile of results in registers has to name each result. A template has
//! three placeholders: a line with `$r` is repeated for each row of the tile, with `$q` for each group of four columns, with `$j`
//! for each of those four; with several placeholders, for each combination, rows first. `ROWS`, `COLUMNS` and `THREADS` are the
//! tile's sizes. A line that ends in `// quad` is used only if four neighbouring threads load four columns once and share them,
//! one that ends in `// alone` only if every thread loads its own. `Factor` is the operand type, a vector of 32-bit or 16-bit
//! floats; a line that ends in `// single` or in `// half` is for one of the two.

use std::fmt::Write;
use std::sync::{PoisonError, RwLock};

use burn::tensor::{Device, Tensor};
use cubecl::Device as CubeDevice;

use super::device::startup_check;
use super::{Activation, attention, launch, linear};
use crate::weights::quant::Encoding;

/// The results that a thread of a tiled shader computes, and the size of its workgroup.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Tile {
    /// Rows of results.
    pub(super) rows: usize,
    /// Columns of results, a multiple of four.
    pub(super) columns: usize,
    /// Threads of a workgroup, which are stacked along the rows; a multiple of four.
    pub(super) threads: usize,
    /// Whether four threads share their loads through subgroup quad operations.
    pub(super) subgroup_quads: bool,
    /// Whether operands are 16-bit floats.
    pub(super) f16_enabled: bool,
}

/// Number of multiply-adds of one launch, a tenth of a second on a CPU, from which a larger tile is worth compiling.
const LARGE_LAUNCH: u64 = 1 << 29;

/// WGSL that all tiled shaders share.
const SHARED: &str = include_str!("../../shaders/tile.wgsl");

impl Tile {
    /// Returns a shader's source for this tile: the header, the shared WGSL and the expanded template.
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

    /// Returns the header with which only sources for this tile begin.
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
        // Browsers require this directive; wgpu's own compiler enables subgroups with the device's feature and rejects it.
        if self.subgroup_quads && cfg!(target_arch = "wasm32") {
            // The uniformity analysis takes a size in a buffer for non-uniform, although all threads read the same value.
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

    /// Returns this tile for a matrix of `rows` rows: with one row per thread, if a workgroup then covers all of them. There are
    /// no sizes in between, since each needs a pipeline that a software adapter compiles in half a second.
    pub(super) fn fit(mut self, rows: usize) -> Self {
        if rows <= self.threads {
            self.rows = 1;
        }
        self
    }
}

/// A set of tiles that suits a kind of adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Name by which the set is selected and stored.
    name: &'static str,
    /// For GEMM and convolution: tile for small launches, tile for large launches.
    linear: [Tile; 2],
    /// For attention, queries by keys: tile for small launches, tile for large launches.
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

/// The sets of tiles that are measured on an adapter. The large ones are for adapters where registers are free compared with
/// loads, such as CPUs: a larger tile loads less and compiles longer (attention with 16 x 64 is a quarter faster on SwiftShader
/// and takes minutes to compile on Mesa). The small ones leave a GPU registers for many threads.
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

/// Index in [`ALL`] of the first set for GPUs. Only these may have 16-bit operands, since a CPU would convert each to 32 bits.
const FOR_GPUS: usize = 2;

/// How operations compute on a device: two models on two devices do not affect each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kernels {
    /// Index in [`ALL`] of the set in use.
    tiles: usize,
    /// Whether operands are 16-bit floats, which the device must support.
    f16: bool,
    /// Whether the device has subgroups.
    subgroup_quads: bool,
}

/// The kernels of the devices that were opened. Other devices have the default.
static KERNELS: RwLock<Vec<(CubeDevice, Kernels)>> = RwLock::new(Vec::new());

impl Kernels {
    /// Returns the kernels of a device.
    pub(super) fn of(device: &CubeDevice) -> Self {
        let all = KERNELS.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|(other, _)| other == device);
        found.map_or_else(Kernels::default, |&(_, kernels)| kernels)
    }

    fn set(self, device: &CubeDevice) {
        let mut all = KERNELS.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| other != device);
        all.push((device.clone(), self));
    }

    /// Returns the tiles in use.
    pub(super) fn tiles(self) -> Tiles {
        ALL[self.tiles].with_f16(self.f16)
    }

    /// Returns the index in [`ALL`] of the first set that supports the operands.
    fn first(self) -> usize {
        if self.f16 { FOR_GPUS } else { 0 }
    }

    /// Returns the indices in [`ALL`] of the sets that the device supports.
    fn usable(self) -> Vec<usize> {
        let fits =
            |tiles: &Tiles| self.subgroup_quads || !tiles.all().any(|tile| tile.subgroup_quads);
        (self.first()..ALL.len())
            .filter(|&i| fits(&ALL[i]))
            .collect()
    }
}

/// Sets the numerics of a device that was just opened, and the default tiles for them.
pub(super) fn register(device: &Device, f16: bool, subgroup_quads: bool) {
    let mut kernels = Kernels {
        tiles: 0,
        f16,
        subgroup_quads,
    };
    kernels.tiles = kernels.first();
    if let Some(device) = cube_device(device) {
        kernels.set(&device);
    }
}

/// Returns the WebGPU device behind a device of burn, if there is one.
fn cube_device(device: &Device) -> Option<CubeDevice> {
    // An empty tensor launches no kernel, whose pipeline might still be in preparation.
    let tensor = launch::floats(&Tensor::<1>::empty([4], device))?;
    Some(tensor.device)
}

fn kernels(device: &Device) -> Option<(CubeDevice, Kernels)> {
    let device = cube_device(device)?;
    let kernels = Kernels::of(&device);
    Some((device, kernels))
}

/// Returns whether operands are 16-bit floats on `device`.
pub fn f16_enabled(device: &Device) -> bool {
    kernels(device).is_some_and(|(_, kernels)| kernels.f16)
}

/// Returns the names of the sets that `device` supports; none unless it is a WebGPU device.
pub fn tile_names(device: &Device) -> Vec<&'static str> {
    let usable = kernels(device).map(|(_, kernels)| kernels.usable());
    let usable = usable.unwrap_or_default().into_iter();
    usable.map(|i| ALL[i].name).collect()
}

impl Tiles {
    /// Returns the set with 16-bit or 32-bit operands.
    fn with_f16(mut self, f16_enabled: bool) -> Self {
        for tile in self.linear.iter_mut().chain(&mut self.attention) {
            tile.f16_enabled = f16_enabled;
        }
        self
    }

    /// Returns the tile for a GEMM or a convolution with this number of multiply-adds.
    pub(super) fn linear(self, multiply_adds: u64) -> Tile {
        self.linear[usize::from(multiply_adds >= LARGE_LAUNCH)]
    }

    /// Returns the tile for attention with this number of multiply-adds, both products together.
    pub(super) fn attention(self, multiply_adds: u64) -> Tile {
        self.attention[usize::from(multiply_adds >= LARGE_LAUNCH)]
    }

    fn all(&self) -> impl Iterator<Item = Tile> {
        self.linear.into_iter().chain(self.attention)
    }

    /// Returns whether a shader's source is for a tile of this set.
    fn generated(&self, text: &str) -> bool {
        let mut tiles = self.all().flat_map(|tile| [tile, tile.fit(1)]);
        tiles.any(|tile| text.starts_with(&tile.head()))
    }
}

/// Returns whether a shader's source may be used again: it is for the set in use on a device, or is not tiled. Sources of the other
/// sets were only measured.
pub fn in_use(text: &str) -> bool {
    let all = KERNELS.read().unwrap_or_else(PoisonError::into_inner);
    let mut others = [false, true]
        .into_iter()
        .flat_map(|f16| ALL.map(|tiles| tiles.with_f16(f16)));
    all.iter()
        .any(|(_, kernels)| kernels.tiles().generated(text))
        || !others.any(|other| other.generated(text))
}

/// Measures the sets of tiles on `device` with a GEMM and an attention of a small model's size, and uses the fastest that passes
/// the start-up check in these quantised encodings. Returns its name; `None` when `device` is not a WebGPU device or no set works
/// on it. `now` is a clock in milliseconds.
pub async fn measure_tiles(
    device: &Device,
    quantized: &[Encoding],
    now: impl Fn() -> f64,
) -> Option<&'static str> {
    let (wgpu, kernels) = kernels(device)?;
    let choose = |tiles: usize| Kernels { tiles, ..kernels }.set(&wgpu);
    let mut measured: Vec<(usize, f64)> = Vec::new();
    // The first run compiles the shaders and excludes sets that the adapter's compiler rejects.
    for index in kernels.usable() {
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
                // The minimum counts, since other load on the machine only slows a run.
                *best = best.min(now() - start);
            }
        }
    }
    measured.sort_by(|a, b| a.1.total_cmp(&b.1));
    for (index, _) in measured {
        choose(index);
        if startup_check(device, quantized).await.is_ok() {
            return Some(ALL[index].name);
        }
    }
    choose(kernels.first());
    None
}

/// Number of timed runs of each set.
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

/// Uses the set with this name on `device` from now on. Returns whether `device` supports it.
pub fn use_tiles(device: &Device, name: &str) -> bool {
    let Some((wgpu, kernels)) = kernels(device) else {
        return false;
    };
    let found = kernels.usable().into_iter().find(|&i| ALL[i].name == name);
    found
        .map(|tiles| Kernels { tiles, ..kernels }.set(&wgpu))
        .is_some()
}
