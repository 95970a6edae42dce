//! Launches hand-written WGSL shaders on burn's compute client.

use burn::tensor::{DType, Int, Shape, Tensor};
use burn_wgpu::{CubeTensor, KernelSource, SourceKernel, SourceTemplate, Wgpu, into_contiguous};
use cubecl::prelude::KernelId;
use cubecl::server::KernelArguments;
use cubecl::{CubeCount, CubeDim, Device as CubeDevice};

use super::tile::{Kernels, Tile};

/// A WGSL kernel with the entry point `main`. Bindings are its inputs, its output, then its sizes as `array<u32>`. All are
/// `read_write`, since burn may place several tensors in one buffer and WebGPU allows one kind of use of a buffer at a time.
#[derive(Clone, Copy)]
pub(super) struct Shader {
    /// Identifies the shader in the pipeline cache.
    pub(super) name: &'static str,
    /// The source in parts: valid WGSL or, with a tile, a template for [`Tile::write_out`].
    pub(super) texts: &'static [&'static str],
    /// How the grid is divided.
    pub(super) threads: Threads,
}

/// How a shader divides its grid among threads.
#[derive(Clone, Copy)]
pub(super) enum Threads {
    /// One thread per grid cell, in workgroups of this size in x and y, as the source declares.
    Each([usize; 2]),
    /// One thread per tile; a workgroup covers `covers` grid cells in x and y.
    Tiled { tile: Tile, covers: [usize; 2] },
}

impl Threads {
    /// Returns the threads for a GEMM on a device with a result of `[rows, columns]` and an inner dimension of `depth`.
    pub(super) fn product(device: &CubeDevice, [rows, columns]: [usize; 2], depth: usize) -> Self {
        let tile = Kernels::of(device)
            .tiles()
            .linear(multiply_adds(&[rows, columns, depth]))
            .fit(rows);
        let covers = [tile.rows * tile.threads, tile.columns];
        Threads::Tiled { tile, covers }
    }

    /// Returns the threads for attention on a device of shape `[heads, queries, keys, features]`.
    pub(super) fn attention(
        device: &CubeDevice,
        heads: usize,
        [queries, keys]: [usize; 2],
        features: usize,
    ) -> Self {
        let work = multiply_adds(&[2, heads, queries, keys, features]);
        let tile = Kernels::of(device).tiles().attention(work).fit(queries);
        let covers = [tile.rows * tile.threads, 1];
        Threads::Tiled { tile, covers }
    }
}

/// Returns the product of all sizes in 64 bits, since it can overflow wasm's 32-bit `usize`.
fn multiply_adds(sizes: &[usize]) -> u64 {
    sizes.iter().map(|&size| size as u64).product()
}

impl KernelSource for Shader {
    fn source(&self) -> SourceTemplate {
        match self.threads {
            Threads::Each(_) => SourceTemplate::new(self.texts.concat()),
            Threads::Tiled { tile, .. } => SourceTemplate::new(tile.write_out(self.texts)),
        }
    }

    fn id(&self) -> KernelId {
        let tile = match self.threads {
            Threads::Each(_) => None,
            Threads::Tiled { tile, .. } => Some(tile),
        };
        KernelId::new::<Self>().info((self.name, tile))
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

impl Shader {
    /// Runs the shader over `grid`, the extents in x and y, and returns its output of `shape`. Returns `None` when a device limit
    /// or overlapping inputs prevent that; the caller then runs its reference.
    pub(super) fn launch(
        self,
        grid: [usize; 2],
        inputs: &[&CubeTensor],
        sizes: &[usize],
        shape: impl Into<Shape>,
    ) -> Option<CubeTensor> {
        let shape = shape.into();
        let first = inputs[0];
        let client = first.client.clone();
        let properties = client.properties();
        let (workgroup, covered) = match self.threads {
            Threads::Each(workgroup) => (workgroup, workgroup),
            Threads::Tiled { tile, covers } => ([tile.threads, 1], covers),
        };
        let count = [0, 1].map(|i| grid[i].div_ceil(covered[i]));
        let most = properties.hardware.max_cube_count;
        if count[0] > most.0 as usize || count[1] > most.1 as usize {
            return None;
        }
        let bytes = |shape: &Shape| shape.num_elements() as u64 * size_of::<f32>() as u64;
        let largest = inputs.iter().map(|input| bytes(input.meta.shape()));
        let largest = largest.max().unwrap_or(0).max(bytes(&shape));
        // Shaders index in u32, and each buffer is one binding.
        if largest > properties.memory.max_page_size.min(u32::MAX.into()) {
            return None;
        }
        // Two writable bindings must not overlap in memory.
        for (i, input) in inputs.iter().enumerate() {
            if inputs[..i].iter().any(|other| overlap(input, other)) {
                return None;
            }
        }
        let sizes: Vec<u32> = sizes.iter().map(|&size| size as u32).collect();
        let output = client.empty(bytes(&shape) as usize);
        let mut arguments = KernelArguments::new();
        for input in inputs {
            arguments = arguments.with_buffer(input.handle.clone().binding());
        }
        let sizes = client.create_from_slice(bytemuck::cast_slice(&sizes));
        arguments = arguments
            .with_buffer(output.clone().binding())
            .with_buffer(sizes.binding());
        let workgroup = CubeDim::new_2d(workgroup[0] as u32, workgroup[1] as u32);
        client.launch(
            Box::new(SourceKernel::new(self, workgroup)),
            CubeCount::Static(count[0] as u32, count[1] as u32, 1),
            arguments,
        );
        let device = first.device.clone();
        Some(CubeTensor::new_contiguous(
            client,
            device,
            shape,
            output,
            DType::F32,
        ))
    }
}

fn overlap(a: &CubeTensor, b: &CubeTensor) -> bool {
    // Slices of one allocation may be disjoint, but callers have none, so comparing allocations is safe.
    a.handle.memory.descriptor().id == b.handle.memory.descriptor().id
}

/// Returns the tensor's contiguous buffer if it is a tensor of 32-bit floats on WebGPU that records no gradients.
pub(super) fn floats<const D: usize>(tensor: &Tensor<D>) -> Option<CubeTensor> {
    let primitive = tensor.clone().try_into_primitive::<Wgpu>().ok()?;
    (primitive.dtype == DType::F32).then(|| into_contiguous(primitive))
}

/// Like [`floats`], for 32-bit integers.
pub(super) fn packed<const D: usize>(tensor: &Tensor<D, Int>) -> Option<CubeTensor> {
    let primitive = tensor.clone().try_into_primitive::<Wgpu>().ok()?;
    matches!(primitive.dtype, DType::I32 | DType::U32).then(|| into_contiguous(primitive))
}

/// Like [`floats`]; without a tensor, returns four floats on the device of `beside`, which fill the binding and are not read.
pub(super) fn optional<const D: usize>(
    tensor: Option<&Tensor<D>>,
    beside: &CubeTensor,
) -> Option<CubeTensor> {
    match tensor {
        Some(tensor) => floats(tensor),
        None => Some(CubeTensor::new_contiguous(
            beside.client.clone(),
            beside.device.clone(),
            Shape::from([4]),
            beside.client.empty(4 * size_of::<f32>()),
            DType::F32,
        )),
    }
}

/// Converts a shader's output to a tensor.
pub(super) fn tensor<const D: usize>(primitive: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<Wgpu>(primitive)
}
