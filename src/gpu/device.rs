//! Opens a device: WebGPU if it is available and computes correctly, else the CPU.

use std::sync::{Mutex, PoisonError};

use burn::tensor::wgpu::{WgpuBackend, WgpuSetup};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Activation, attention, attention_reference, linear, linear_reference, quant_linear,
    quant_linear_reference, tile,
};
use crate::error::{Error, Result};
use crate::weights::quant::{BLOCK, Encoding};

/// The device that the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// WebGPU on a real GPU whose start-up check agrees with the CPU, else the CPU. A software adapter is not used, since it runs
    /// on the same CPU cores and gains nothing.
    #[default]
    Auto,
    /// WebGPU, or an error.
    WebGpu,
    /// [`Choice::WebGpu`] with products in 16-bit floats, accumulated in 32-bit floats. Faster on GPUs that multiply f16 faster,
    /// and accurate to three digits; values beyond 65504 overflow. It is a device of its own: models on other devices compute as
    /// before.
    WebGpuHalf,
    /// The CPU.
    Cpu,
}

impl std::str::FromStr for Choice {
    type Err = Error;

    /// Parses `auto`, `cpu`, `webgpu` or `gpu`, the last two optionally followed by `-f16`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Choice::Auto),
            "webgpu" | "gpu" => Ok(Choice::WebGpu),
            "webgpu-f16" | "gpu-f16" => Ok(Choice::WebGpuHalf),
            "cpu" => Ok(Choice::Cpu),
            _ => Err(Error::Request(format!(
                "unknown device {text:?}, expected auto, webgpu (or gpu), webgpu-f16 or cpu"
            ))),
        }
    }
}

/// An open device.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device on which tensors are created.
    pub device: Device,
    /// `webgpu` or `cpu`.
    pub kind: &'static str,
    /// Display name of the adapter.
    pub adapter: String,
    /// Why [`Choice::Auto`] fell back to the CPU.
    pub note: Option<String>,
    /// Whether the adapter is software rather than a GPU.
    software: bool,
}

/// What wgpu cannot tell about the platform that it runs on.
pub(crate) trait Platform {
    /// Returns a name of the adapter, empty if wgpu knows it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when there is no adapter.
    async fn adapter(&self) -> Result<String>;

    /// Returns whether the device that was opened last has subgroups. `known` is whether wgpu says so.
    fn subgroups(&self, known: bool) -> bool;
}

/// A platform on which wgpu knows everything.
#[cfg(not(target_arch = "wasm32"))]
struct Native;

#[cfg(not(target_arch = "wasm32"))]
impl Platform for Native {
    async fn adapter(&self) -> Result<String> {
        Ok(String::new())
    }

    fn subgroups(&self, known: bool) -> bool {
        known
    }
}

/// [`open_on`] this platform.
///
/// # Errors
/// As [`open_on`].
#[cfg(not(target_arch = "wasm32"))]
pub async fn open(choice: Choice, quantized: &[Encoding]) -> Result<Opened> {
    open_on(choice, quantized, &Native).await
}

/// Opens the device of `choice`. Its start-up check covers the encodings in `quantized` besides floats.
///
/// # Errors
/// [`Error::Unsupported`] for [`Choice::WebGpu`] without WebGPU, an adapter or a device, and for [`Choice::WebGpuHalf`] also
/// without 16-bit floats.
pub(crate) async fn open_on(
    choice: Choice,
    quantized: &[Encoding],
    platform: &impl Platform,
) -> Result<Opened> {
    match choice {
        Choice::Cpu => Ok(cpu(None)),
        Choice::WebGpu => webgpu(platform, false).await,
        Choice::WebGpuHalf => webgpu(platform, true).await,
        Choice::Auto => Ok(match webgpu(platform, false).await {
            Ok(opened) if opened.software => cpu(Some(format!(
                "{} is software; the CPU is faster",
                opened.adapter
            ))),
            Ok(opened) => match startup_check(&opened.device, quantized).await {
                Ok(()) => opened,
                Err(note) => cpu(Some(format!("{}: {note}", opened.adapter))),
            },
            Err(Error::Unsupported(reason)) => cpu(Some(reason)),
            Err(error) => cpu(Some(error.to_string())),
        }),
    }
}

impl Opened {
    /// Describes a device that the caller opened, without 16-bit products.
    pub fn new(device: Device) -> Self {
        let kind = if device == Device::flex() {
            "cpu"
        } else {
            "webgpu"
        };
        Opened {
            device,
            kind,
            adapter: kind.to_uppercase(),
            note: None,
            software: false,
        }
    }
}

fn cpu(note: Option<String>) -> Opened {
    Opened {
        note,
        ..Opened::new(Device::flex())
    }
}

/// Runs the static constructors, in which cubecl's compiler registers some hundred operations.
///
/// If nothing calls them, the wasm linker makes every exported function call them first: each object passed from JavaScript then
/// costs tens of microseconds, and loading 507 MB takes 31 s instead of 6 s (`scripts/bench page`).
#[cfg(target_arch = "wasm32")]
fn run_static_constructors() {
    unsafe extern "C" {
        /// Generated by the linker.
        safe fn __wasm_call_ctors();
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| __wasm_call_ctors());
}

/// Creates the runtime behind a WebGPU device.
async fn runtime(f16: bool) -> Result<(Device, WgpuSetup)> {
    // A runtime is identified by its graphics API. The automatic choice is the device in 32-bit floats, a named one that in 16-bit
    // floats.
    let apis: &[WgpuBackend] = match (f16, cfg!(target_arch = "wasm32")) {
        (false, _) => &[WgpuBackend::Auto],
        (true, true) => &[WgpuBackend::WebGpu],
        (true, false) => &[WgpuBackend::Vulkan, WgpuBackend::Metal, WgpuBackend::Dx12],
    };
    let mut refusals = Vec::new();
    for &api in apis {
        let options = Device::wgpu_options();
        let options = match api {
            WgpuBackend::Auto => options,
            api => options.graphics_api(api),
        };
        match options.init_with_setup_async().await {
            Ok(runtime) => return Ok(runtime),
            Err(error) => refusals.push(error.to_string()),
        }
    }
    let reasons = refusals.join("; ");
    Err(Error::Unsupported(format!(
        "WebGPU gave no device: {reasons}"
    )))
}

async fn webgpu(platform: &impl Platform, f16: bool) -> Result<Opened> {
    #[cfg(target_arch = "wasm32")]
    run_static_constructors();
    let named = platform.adapter().await?;
    // A process can create the runtime behind a device only once.
    static OPENED: Mutex<[Option<Opened>; 2]> = Mutex::new([None, None]);
    let opened = || OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(opened) = opened()[usize::from(f16)].clone() {
        return Ok(opened);
    }
    let (device, setup) = runtime(f16).await?;
    let features = setup.device.features();
    let info = setup.adapter.get_info();
    let parts = [named, info.name, info.driver_info];
    let known: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let adapter = if known.is_empty() {
        "an unnamed adapter".into()
    } else {
        known.join(", ")
    };
    if f16 && !features.contains(wgpu::Features::SHADER_F16) {
        return Err(Error::Unsupported(format!(
            "{adapter} has no 16-bit floats (shader-f16); choose webgpu"
        )));
    }
    let subgroups = platform.subgroups(features.contains(wgpu::Features::SUBGROUP));
    tile::register(&device, f16, subgroups);
    let found = Opened {
        device,
        kind: "webgpu",
        adapter,
        note: None,
        software: info.device_type == wgpu::DeviceType::Cpu,
    };
    opened()[usize::from(f16)] = Some(found.clone());
    Ok(found)
}

/// Returns the largest difference from the CPU that the start-up check allows, for results near 1.
fn tolerance(device: &Device) -> f32 {
    if tile::f16_enabled(device) {
        1e-2
    } else {
        1e-3
    }
}

/// Runs the start-up check: compares a small linear layer, one in each of the encodings in `quantized`, and an attention with the
/// CPU. This finds a driver that computes wrongly, or not at all, in milliseconds, before it produces a noise image.
///
/// # Errors
/// A message that names the kernel and the difference.
pub async fn startup_check(
    device: &Device,
    quantized: &[Encoding],
) -> std::result::Result<(), String> {
    let allowed = tolerance(device);
    let cpu = Device::flex();
    let mut random = ChaCha8Rng::seed_from_u64(20_241_210);
    let mut floats = |shape: &[usize], bound: f32| {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| random.random_range(-bound..bound))
            .collect();
        TensorData::new(values, shape.to_vec())
    };
    let (n, k, o) = (21, 2 * BLOCK, 37);
    let (x, weight, bias) = (
        floats(&[1, n, k], 1.0),
        floats(&[o, k], 0.2),
        floats(&[o], 1.0),
    );
    let matrix: Vec<f32> = values(&weight);
    let on = |device: &Device| {
        (
            Tensor::<3>::from_data(x.clone(), device),
            Tensor::<2>::from_data(weight.clone(), device),
            Some(Tensor::<1>::from_data(bias.clone(), device)),
        )
    };
    let ((x1, w1, b1), (x2, w2, b2)) = (on(device), on(&cpu));
    let y = linear(x1.clone(), w1, b1.clone(), Activation::None);
    agree(
        "linear",
        allowed,
        y,
        linear_reference(x2.clone(), w2, b2.clone()),
    )
    .await?;

    for &encoding in quantized {
        let quantized = encoding.quantize(&matrix);
        let packed = integers(&quantized.packed, o);
        let scales: Vec<u32> = quantized
            .scales
            .chunks_exact(2)
            .map(|pair| u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16)
            .collect();
        let scales = integers(&scales, o);
        let on = |device: &Device| {
            let packed = Tensor::<2, Int>::from_data(packed.clone(), device);
            (packed, Tensor::<2, Int>::from_data(scales.clone(), device))
        };
        let ((p1, s1), (p2, s2)) = (on(device), on(&cpu));
        let y = quant_linear(x1.clone(), p1, s1, encoding, b1.clone(), Activation::None);
        let expected = quant_linear_reference(x2.clone(), p2, s2, encoding, b2.clone());
        agree(&format!("{encoding} linear"), allowed, y, expected).await?;
    }

    let data: [TensorData; 3] = std::array::from_fn(|_| floats(&[1, 2, 19, 32], 2.0));
    let on = |device: &Device| {
        data.clone()
            .map(|part| Tensor::<4>::from_data(part, device))
    };
    let ([q1, k1, v1], [q2, k2, v2]) = (on(device), on(&cpu));
    let y = attention(q1, k1, v1, None);
    agree(
        "attention",
        allowed,
        y,
        attention_reference(q2, k2, v2, None),
    )
    .await
}

fn integers(packed: &[u32], rows: usize) -> TensorData {
    let signed: Vec<i32> = packed.iter().map(|&word| word.cast_signed()).collect();
    TensorData::new(signed, [rows, packed.len() / rows])
}

async fn agree<const D: usize>(
    what: &str,
    allowed: f32,
    actual: Tensor<D>,
    expected: Tensor<D>,
) -> std::result::Result<(), String> {
    let read = |data: TensorData| values(&data);
    let failed = |error| format!("{what} could not be read from the GPU: {error:?}");
    let actual = read(actual.into_data_async().await.map_err(failed)?);
    let expected = read(expected.into_data_async().await.map_err(failed)?);
    let differences = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs());
    // NaN counts as the largest difference and propagates.
    let worst = differences.fold(
        0.0,
        |worst: f32, d| if d > worst || d.is_nan() { d } else { worst },
    );

    if worst <= allowed {
        return Ok(());
    }
    Err(format!(
        "{what} differs from the CPU by {worst}, where {allowed} is allowed; the CPU is used"
    ))
}

fn values(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}
