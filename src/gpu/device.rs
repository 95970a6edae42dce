//! Opening a device: WebGPU where it is there and computes right, else the CPU.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Activation, attention, attention_reference, linear, linear_reference, quant_linear,
    quant_linear_reference, tile,
};
use crate::error::{Error, Result};
use crate::weights::quant::{BLOCK, Encoding};

/// Which device the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// WebGPU on a real GPU whose start-up check agrees with the CPU, else the CPU: an adapter that is itself software
    /// shares the processor's cores with nothing to gain.
    #[default]
    Auto,
    /// WebGPU, or an error.
    WebGpu,
    /// As [`Choice::WebGpu`], with products in 16-bit floats that are added up in 32-bit ones. Faster where the GPU multiplies those
    /// faster, and exact to three digits; numbers beyond 65504 overflow. Of a process, not of one model: the last choice counts.
    WebGpuHalf,
    /// The CPU.
    Cpu,
}

impl std::str::FromStr for Choice {
    type Err = Error;

    /// `auto`, `webgpu` or `gpu`, either with `-f16`, `cpu`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Choice::Auto),
            "webgpu" | "gpu" => Ok(Choice::WebGpu),
            "webgpu-f16" | "gpu-f16" => Ok(Choice::WebGpuHalf),
            "cpu" => Ok(Choice::Cpu),
            _ => Err(Error::Request(format!(
                "there is no device {text:?}; write auto, webgpu (or gpu), webgpu-f16 or cpu"
            ))),
        }
    }
}

/// An open device.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Where tensors go.
    pub device: Device,
    /// `webgpu` or `cpu`.
    pub kind: &'static str,
    /// What the adapter calls itself, for people.
    pub adapter: String,
    /// Why it is not the device that [`Choice::Auto`] would rather have had.
    pub note: Option<String>,
    /// Whether the adapter is a program rather than a GPU.
    software: bool,
    /// Whether it multiplies 16-bit floats.
    f16_enabled: bool,
}

/// Opens the device that `choice` asks for, for matrices in these quantised encodings besides floats.
///
/// # Errors
/// [`Error::Unsupported`] for [`Choice::WebGpu`] where there is no WebGPU, no adapter, or the adapter gives no device, and for
/// [`Choice::WebGpuHalf`] where it has no 16-bit floats besides.
pub async fn open(choice: Choice, quantized: &[Encoding]) -> Result<Opened> {
    if choice != Choice::Cpu {
        tile::enable_f16(false);
    }
    match choice {
        Choice::Cpu => Ok(cpu(None)),
        Choice::WebGpu => webgpu().await,
        Choice::WebGpuHalf => {
            let opened = webgpu().await?;
            if !opened.f16_enabled {
                let adapter = &opened.adapter;
                return Err(Error::Unsupported(format!(
                    "{adapter} has no 16-bit floats (shader-f16); choose webgpu"
                )));
            }
            tile::enable_f16(true);
            Ok(opened)
        }
        Choice::Auto => Ok(match webgpu().await {
            Ok(opened) if opened.software => cpu(Some(format!(
                "{} is software; the CPU is faster",
                opened.adapter
            ))),
            Ok(opened) => match canary(&opened.device, quantized).await {
                Ok(()) => opened,
                Err(note) => cpu(Some(format!("{}: {note}", opened.adapter))),
            },
            Err(error) => cpu(Some(error.to_string())),
        }),
    }
}

impl Opened {
    /// Describes a device that the caller opened.
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
            f16_enabled: false,
        }
    }
}

fn cpu(note: Option<String>) -> Opened {
    Opened {
        note,
        ..Opened::new(Device::flex())
    }
}

/// Runs the constructors of statics, with which cubecl's compiler registers some hundred operations.
///
/// Where nothing calls them, wasm's linker has every exported function call them first: each object that passes from JavaScript
/// then costs tens of microseconds, and a load of 507 MB takes 31 s instead of 6 (`scripts/bench page`).
#[cfg(target_arch = "wasm32")]
fn construct() {
    unsafe extern "C" {
        /// Made by the linker.
        safe fn __wasm_call_ctors();
    }
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| __wasm_call_ctors());
}

async fn webgpu() -> Result<Opened> {
    #[cfg(target_arch = "wasm32")]
    construct();
    let named = available().await?;
    // The runtime behind a device is made once in a process and cannot be made anew.
    static OPENED: Mutex<Option<Opened>> = Mutex::new(None);
    let opened = || OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(opened) = opened().clone() {
        return Ok(opened);
    }
    #[cfg(target_arch = "wasm32")]
    let request = super::subgroups::Request::completed();
    let answer = Device::wgpu_options().init_with_setup_async().await;
    let (device, setup) =
        answer.map_err(|error| Error::Unsupported(format!("WebGPU gave no device: {error}")))?;
    #[cfg(target_arch = "wasm32")]
    let subgroup_quads = request.given();
    #[cfg(not(target_arch = "wasm32"))]
    let subgroup_quads = setup.device.features().contains(wgpu::Features::SUBGROUP);
    tile::allow_subgroup_quads(subgroup_quads);
    let info = setup.adapter.get_info();
    let parts = [named, info.name, info.driver_info];
    let known: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let adapter = if known.is_empty() {
        "an unnamed adapter".into()
    } else {
        known.join(", ")
    };
    let found = Opened {
        device,
        kind: "webgpu",
        adapter,
        note: None,
        software: info.device_type == wgpu::DeviceType::Cpu,
        f16_enabled: setup.device.features().contains(wgpu::Features::SHADER_F16),
    };
    *opened() = Some(found.clone());
    Ok(found)
}

/// Asks the browser itself, since wgpu panics where `navigator.gpu` is missing. Gives what the browser tells of the adapter,
/// which wgpu does not pass on.
#[cfg(target_arch = "wasm32")]
async fn available() -> Result<String> {
    use js_sys::{Function, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    let missing = |what: &str| Error::Unsupported(format!("{what}; choose the CPU"));
    let get = |object: &JsValue, key: &str| {
        let value = Reflect::get(object, &JsValue::from_str(key)).ok()?;
        (!value.is_undefined() && !value.is_null()).then_some(value)
    };
    let gpu = get(&js_sys::global(), "navigator")
        .and_then(|navigator| get(&navigator, "gpu"))
        .ok_or_else(|| {
            missing("this browser has no WebGPU (navigator.gpu), or the page is not https")
        })?;
    let request = get(&gpu, "requestAdapter")
        .and_then(|request| request.dyn_into::<Function>().ok())
        .ok_or_else(|| missing("this browser's WebGPU has no requestAdapter"))?;
    let refused = |error: JsValue| missing(&format!("WebGPU refused an adapter: {error:?}"));
    let promise = request.call0(&gpu).map_err(refused)?;
    let adapter = wasm_bindgen_futures::JsFuture::from(Promise::resolve(&promise))
        .await
        .map_err(refused)?;
    if adapter.is_null() || adapter.is_undefined() {
        return Err(missing("WebGPU has no adapter for this machine"));
    }
    let info = get(&adapter, "info").unwrap_or(JsValue::UNDEFINED);
    let text = |key| get(&info, key).and_then(|value| value.as_string());
    let parts: Vec<String> = ["vendor", "architecture", "description"]
        .into_iter()
        .filter_map(text)
        .filter(|part| !part.is_empty())
        .collect();
    Ok(parts.join(" "))
}

/// Natively the runtime's own errors say it.
#[cfg(not(target_arch = "wasm32"))]
async fn available() -> Result<String> {
    Ok(String::new())
}

/// The largest difference from the CPU that the start-up check allows, for results of a size near one.
fn tolerance() -> f32 {
    if tile::f16_enabled() { 1e-2 } else { 1e-3 }
}

/// Computes a small linear, one in each of the quantised encodings and an attention here and on the CPU; the error says where and
/// by how much they differ. A driver that computes wrongly, or not at all, is found in milliseconds and not in a picture of noise.
///
/// # Errors
/// A sentence that names the kernel and the difference.
pub async fn canary(device: &Device, quantized: &[Encoding]) -> std::result::Result<(), String> {
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
    agree("linear", y, linear_reference(x2.clone(), w2, b2.clone())).await?;

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
        agree(&format!("{encoding} linear"), y, expected).await?;
    }

    let data: [TensorData; 3] = std::array::from_fn(|_| floats(&[1, 2, 19, 32], 2.0));
    let on = |device: &Device| {
        data.clone()
            .map(|part| Tensor::<4>::from_data(part, device))
    };
    let ([q1, k1, v1], [q2, k2, v2]) = (on(device), on(&cpu));
    let y = attention(q1, k1, v1, None);
    agree("attention", y, attention_reference(q2, k2, v2, None)).await
}

fn integers(packed: &[u32], rows: usize) -> TensorData {
    let signed: Vec<i32> = packed.iter().map(|&word| word.cast_signed()).collect();
    TensorData::new(signed, [rows, packed.len() / rows])
}

async fn agree<const D: usize>(
    what: &str,
    actual: Tensor<D>,
    expected: Tensor<D>,
) -> std::result::Result<(), String> {
    let read = |data: TensorData| values(&data);
    let failed = |error| format!("{what} could not be read from the GPU: {error:?}");
    let actual = read(actual.into_data_async().await.map_err(failed)?);
    let expected = read(expected.into_data_async().await.map_err(failed)?);
    let differences = actual.iter().zip(&expected).map(|(a, e)| (a - e).abs());
    // NaN counts as the largest difference, and stays.
    let worst = differences.fold(
        0.0,
        |worst: f32, d| if d > worst || d.is_nan() { d } else { worst },
    );
    let allowed = tolerance();
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
