//! Compares the shaders with their references on random inputs (each run prints its seed): every shader on the browser's
//! WebGPU, and natively where there is an adapter. Natively, the references are also compared with naive loops.
//!
//! In the browser: `CHROMEDRIVER=$(command -v chromedriver) wasm-pack test --headless --chrome --mode no-install --release . --test kernels`.

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use unireal::internals::gpu::{self, Activation};
use unireal::internals::weights::quant::Encoding;

/// Random inputs of one test.
struct Inputs(ChaCha8Rng);

impl Inputs {
    fn new(seed: u64) -> Self {
        Inputs(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Returns values in `-bound..bound`.
    fn floats(&mut self, shape: &[usize], bound: f32) -> TensorData {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| self.0.random_range(-bound..bound))
            .collect();
        TensorData::new(values, shape.to_vec())
    }

    /// Returns an additive mask: 0, or -1e9 for about a third of the keys, but never for a whole row.
    fn mask(&mut self, shape: [usize; 3]) -> TensorData {
        let keys = shape[2];
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|i| {
                if i % keys == 0 || self.0.random_range(0..3) > 0 {
                    0.0
                } else {
                    -1e9
                }
            })
            .collect();
        TensorData::new(values, shape)
    }
}

/// A quantised matrix: the device's two tensors and the dequantised values.
struct Quantised {
    packed: TensorData,
    scales: TensorData,
    values: Vec<f32>,
}

fn quantise(encoding: Encoding, values: &[f32], rows: usize) -> Quantised {
    let quantized = encoding.quantize(values);
    let words = |words: Vec<u32>| {
        let columns = words.len() / rows;
        let words: Vec<i32> = words.into_iter().map(u32::cast_signed).collect();
        TensorData::new(words, [rows, columns])
    };
    let pair = |pair: &[f16]| u32::from(pair[0].to_bits()) | u32::from(pair[1].to_bits()) << 16;
    Quantised {
        scales: words(quantized.scales.chunks_exact(2).map(pair).collect()),
        packed: words(quantized.packed.clone()),
        values: encoding.dequantize(&quantized),
    }
}

fn numbers(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// Returns the maximum absolute difference relative to the maximum expected magnitude; NaN if any value is NaN.
fn error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(1e-6f32, |size, v| size.max(v.abs()));
    let differences = actual.iter().zip(expected).map(|(a, e)| (a - e).abs());
    differences.fold(
        0.0,
        |worst: f32, d| if d > worst || d.is_nan() { d } else { worst },
    ) / size
}

/// Passes the names of all shader tests to a macro that declares them for the platform.
macro_rules! shaders {
    ($test:ident) => {
        $test! {
            modulation_and_gate_are_their_references
            heads_are_normalised_and_rotated
            linear_is_its_reference
            quantised_linear_is_the_dequantised_one
            attention_is_its_reference
            attention_over_many_tokens_holds_no_matrix
            half_precision_is_near_single
            shared_memory_is_no_error
            convolution_is_its_reference
            the_start_up_check_passes_here
        }
    };
}

#[path = "kernels/shaders.rs"]
mod shaders;

#[cfg(not(target_arch = "wasm32"))]
#[path = "kernels/native.rs"]
mod native;

#[cfg(target_arch = "wasm32")]
#[path = "kernels/browser.rs"]
mod browser;

#[cfg(not(target_arch = "wasm32"))]
use native::{now, open, tell};

#[cfg(target_arch = "wasm32")]
use browser::{now, open, tell};
