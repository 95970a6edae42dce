//! Quantisation to blocks of 32 small integers that share an f16 scale, and its CPU reference, against which the kernels are tested.
//!
//! A matrix `W [out, in]` becomes two ordinary safetensors tensors. `W.packed` is U32 `[out, in / 4]` (q8) or
//! `[out, in / 8]` (q4), with the first value in a word's lowest bits. `W.scales` is F16 `[out, in / 32]`. A value is
//! `i8 * scale` in q8 and `(nibble - 8) * scale` in q4.

use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Values that share a scale, along `in`.
pub const BLOCK: usize = 32;

/// The storage format of a component's matrices.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// 32-bit floats.
    F32,
    /// 16-bit floats in files, 32-bit floats on the device.
    F16,
    /// 8 bits per value and a scale per 32 values.
    Q8,
    /// 4 bits per value and a scale per 32 values.
    Q4,
}

impl FromStr for Encoding {
    type Err = Error;

    /// Parses `f32`, `f16`, `q8` or `q4`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Encoding::F32),
            "f16" => Ok(Encoding::F16),
            "q8" => Ok(Encoding::Q8),
            "q4" => Ok(Encoding::Q4),
            _ => Err(Error::Request(format!(
                "encoding {text:?}, expected f32, f16, q8 or q4"
            ))),
        }
    }
}

/// A quantised matrix on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// Packed integers, row-major.
    pub packed: Vec<u32>,
    /// One scale per block, row-major.
    pub scales: Vec<f16>,
}

impl Encoding {
    /// The encodings that stay quantised on the device.
    pub const QUANTIZED: [Encoding; 2] = [Encoding::Q8, Encoding::Q4];

    /// Whether a matrix with `input` columns is quantised. Its rows must be whole pairs of blocks, since two scales share a 32-bit word
    /// on the device.
    pub fn quantizes(self, input: usize) -> bool {
        matches!(self, Encoding::Q8 | Encoding::Q4) && input.is_multiple_of(2 * BLOCK)
    }

    /// Number of values per 32-bit word.
    pub fn values_per_word(self) -> usize {
        match self {
            Encoding::F32 => 1,
            Encoding::F16 => 2,
            Encoding::Q8 => 4,
            Encoding::Q4 => 8,
        }
    }

    /// Number of bits per value.
    fn bits(self) -> usize {
        32 / self.values_per_word()
    }

    /// Quantises values to the nearest step of each block's scale. In q4, the value furthest from 0 becomes step -8 and determines the
    /// scale's sign, so that all 16 steps are used; values beyond 7 steps on the other side are clamped to 7.
    ///
    /// # Panics
    /// When the encoding is not q8 or q4, and when the number of values is not a multiple of [`BLOCK`].
    pub fn quantize(self, values: &[f32]) -> Quantized {
        assert!(matches!(self, Encoding::Q8 | Encoding::Q4), "{self:?}");
        assert!(values.len().is_multiple_of(BLOCK), "{}", values.len());
        // The step of the value furthest from 0, the range of steps, and the offset at which they are stored.
        let (furthest, steps, offset) = match self {
            Encoding::Q8 => (127.0, -127.0..=127.0, 0),
            _ => (-8.0, -8.0..=7.0, 8),
        };
        let (bits, per_word) = (self.bits(), self.values_per_word());
        let mask = ((1u64 << bits) - 1) as u32;
        let mut packed = Vec::with_capacity(values.len() / per_word);
        let mut scales = Vec::with_capacity(values.len() / BLOCK);
        for block in values.chunks_exact(BLOCK) {
            let further = |peak: f32, v: &f32| if v.abs() > peak.abs() { *v } else { peak };
            let peak = block.iter().fold(0f32, further);
            let peak = if self == Encoding::Q8 {
                peak.abs()
            } else {
                peak
            };
            let most = f16::MAX.to_f32();
            // Values are divided by the stored scale, not the exact one, so that its rounding adds no error of its own.
            let scale = f16::from_f32((peak / furthest).clamp(-most, most));
            let inverse = match scale.to_f32() {
                0.0 => 0.0,
                scale => 1.0 / scale,
            };
            for word in block.chunks_exact(per_word) {
                let pack = |word: u32, (i, value): (usize, &f32)| {
                    let step = (value * inverse)
                        .round()
                        .clamp(*steps.start(), *steps.end());
                    let step = step as i32 + offset;
                    word | ((step as u32 & mask) << (i * bits))
                };
                packed.push(word.iter().enumerate().fold(0, pack));
            }
            scales.push(scale);
        }
        Quantized { packed, scales }
    }

    /// Dequantises a matrix.
    pub fn dequantize(self, quantized: &Quantized) -> Vec<f32> {
        let (bits, per_word) = (self.bits(), self.values_per_word());
        let mut values = Vec::with_capacity(quantized.packed.len() * per_word);
        for (i, word) in quantized.packed.iter().enumerate() {
            let scale = quantized.scales[i * per_word / BLOCK].to_f32();
            for j in 0..per_word {
                let raw = word >> (j * bits);
                let step = match self {
                    Encoding::Q8 => i32::from(raw as u8 as i8),
                    _ => (raw & 15) as i32 - 8,
                };
                values.push(step as f32 * scale);
            }
        }
        values
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Q8 => "q8",
            Encoding::Q4 => "q4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| rng.random_range(-2.0..2.0)).collect()
    }

    #[test]
    fn values_come_back_within_half_a_step() {
        // q4 clamps values opposite the peak by up to a step.
        for (encoding, largest, off) in [(Encoding::Q8, 127.0, 0.5), (Encoding::Q4, 8.0, 1.0)] {
            for seed in 0..50 {
                let before = values(seed, 8 * BLOCK);
                let after = encoding.dequantize(&encoding.quantize(&before));
                for (before, after) in before.chunks(BLOCK).zip(after.chunks(BLOCK)) {
                    let peak = before.iter().fold(0f32, |p, v| p.max(v.abs()));
                    // Includes the error at the peak from rounding the scale to f16.
                    let allowed = peak / largest * off + peak * 1e-3;
                    for (b, a) in before.iter().zip(after) {
                        assert!((a - b).abs() <= allowed, "{encoding}: {b} became {a}");
                    }
                }
            }
        }
    }

    #[test]
    fn quantising_twice_changes_nothing() {
        for encoding in [Encoding::Q8, Encoding::Q4] {
            let once = encoding.quantize(&values(9, 64));
            let twice = encoding.quantize(&encoding.dequantize(&once));
            assert_eq!(encoding.dequantize(&once), encoding.dequantize(&twice));
        }
    }

    #[test]
    fn zeros_and_tiny_values_stay_finite() {
        for encoding in [Encoding::Q8, Encoding::Q4] {
            for value in [0.0, 1e-12, -1e-30, 6e4, -3e38] {
                let back = encoding.dequantize(&encoding.quantize(&[value; BLOCK]));
                assert!(back.iter().all(|v| v.is_finite()), "{encoding}: {value}");
            }
        }
    }
}
