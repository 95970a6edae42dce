//! GEMM with a quantised matrix: `shaders/linear_quant.wgsl`.

use burn::tensor::{Int, Tensor};

use super::launch::{self, Shader, Threads};
use super::linear::{Activation, STORE, linear, linear_reference};
use crate::weights::quant::{BLOCK, Encoding};

const PRODUCT: &str = include_str!("../../shaders/linear_quant.wgsl");
const VALUES_Q8: &str = include_str!("../../shaders/values_q8.wgsl");
const VALUES_Q4: &str = include_str!("../../shaders/values_q4.wgsl");

/// Computes `y = activation(x W^T + b)` with a quantised `W` (layout: [`crate::weights::quant`]).
///
/// # Shapes
/// `x [b, n, k]`, `packed [o, k / 4]` (q8) or `[o, k / 8]` (q4), `scales [o, k / 64]` of two f16 each, `bias [o]` to `[b, n, o]`.
///
/// # Panics
/// When the shapes do not match, or `encoding` is not quantised.
pub fn quant_linear(
    x: Tensor<3>,
    packed: Tensor<2, Int>,
    scales: Tensor<2, Int>,
    encoding: Encoding,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<3> {
    check(&x, &packed, &scales, encoding);
    if let Some(y) = on_gpu(&x, &packed, &scales, encoding, bias.as_ref(), activation) {
        return y;
    }
    match crate::cpu::dequantize(&packed, &scales, encoding) {
        Some(weight) => linear(x, weight, bias, activation),
        None => activation.apply(quant_linear_reference(x, packed, scales, encoding, bias)),
    }
}

/// [`quant_linear`] in plain tensor operations, without an activation. The dequantised matrix exists only during the call.
pub fn quant_linear_reference(
    x: Tensor<3>,
    packed: Tensor<2, Int>,
    scales: Tensor<2, Int>,
    encoding: Encoding,
    bias: Option<Tensor<1>>,
) -> Tensor<3> {
    linear_reference(x, dequantize(packed, scales, encoding), bias)
}

/// Returns the dequantised matrix `[o, k]`.
///
/// # Panics
/// When the shapes do not match, or `encoding` is not quantised.
pub fn dequantize(packed: Tensor<2, Int>, scales: Tensor<2, Int>, encoding: Encoding) -> Tensor<2> {
    let [o, integers] = packed.dims();
    let k = integers * encoding.values_per_word();
    let lanes = |integers: Tensor<2, Int>, bits: usize| -> Tensor<3, Int> {
        let [rows, columns] = integers.dims();
        let parts = (0..32 / bits).map(|i| {
            // The mask also removes the sign bits that an arithmetic right shift inserts.
            integers
                .clone()
                .bitwise_right_shift_scalar((i * bits) as i32)
                .bitwise_and_scalar(((1u64 << bits) - 1) as i32)
                .reshape([rows, columns, 1])
        });
        Tensor::cat(parts.collect(), 2)
    };
    let values = match encoding {
        Encoding::Q8 => {
            let bytes = lanes(packed, 8).float();
            // 128..=255 represent -128..=-1.
            let negative = bytes.clone().greater_equal_elem(128.0).float();
            bytes - negative * 256.0
        }
        Encoding::Q4 => lanes(packed, 4).float() - 8.0,
        Encoding::F32 | Encoding::F16 => panic!("{encoding} has no blocks to dequantise"),
    };
    let scales = half_to_float(lanes(scales, 16));
    let values = values.reshape([o, k / BLOCK, BLOCK]);
    (values * scales.reshape([o, k / BLOCK, 1])).reshape([o, k])
}

/// Converts f16 bit patterns to floats exactly, with operations that every device has. Infinities and NaN, which no scale is,
/// become large numbers.
fn half_to_float(bits: Tensor<3, Int>) -> Tensor<3> {
    let field = |shift: i32, mask: i32| {
        let bits = bits.clone().bitwise_right_shift_scalar(shift);
        bits.bitwise_and_scalar(mask).float()
    };
    let (sign, exponent, mantissa) = (field(15, 1), field(10, 31), field(0, 1023));
    let subnormal = exponent.clone().equal_elem(0.0);
    // 2^exponent as the product of the powers that the exponent's bits select: exact, while exp2 may round.
    let mut power = Tensor::ones_like(&exponent);
    for bit in 0..5 {
        let factor = f64::from(1u32 << (1 << bit)).min(65536.0);
        power = power * (field(10 + bit, 1) * (factor - 1.0) + 1.0);
    }
    // 2^(exponent - 15) (1 + mantissa / 1024), or 2^-24 mantissa.
    let normal = (mantissa.clone() + 1024.0) * power * 2f64.powi(-25);
    let magnitude = normal.mask_where(subnormal, mantissa * 2f64.powi(-24));
    magnitude * (sign * -2.0 + 1.0)
}

fn check(x: &Tensor<3>, packed: &Tensor<2, Int>, scales: &Tensor<2, Int>, encoding: Encoding) {
    let [_, _, k] = x.dims();
    let [o, integers] = packed.dims();
    assert!(encoding.quantizes(k), "{encoding} with {k} columns");
    assert_eq!(integers * encoding.values_per_word(), k, "packed columns");
    assert_eq!(scales.dims(), [o, k / (2 * BLOCK)], "scales");
}

fn on_gpu(
    x: &Tensor<3>,
    packed: &Tensor<2, Int>,
    scales: &Tensor<2, Int>,
    encoding: Encoding,
    bias: Option<&Tensor<1>>,
    activation: Activation,
) -> Option<Tensor<3>> {
    let [b, n, k] = x.dims();
    let [o, _] = packed.dims();
    if [b, n, o].contains(&0) || bias.is_some_and(|bias| bias.dims() != [o]) {
        return None;
    }
    let (name, texts): (_, &[_]) = match encoding {
        Encoding::Q8 => ("linear_q8", &[PRODUCT, VALUES_Q8, STORE]),
        _ => ("linear_q4", &[PRODUCT, VALUES_Q4, STORE]),
    };
    let input = launch::floats(x)?;
    let shader = Shader {
        name,
        texts,
        threads: Threads::product(&input.device, [b * n, o], k),
    };
    let (packed, scales) = (launch::packed(packed)?, launch::packed(scales)?);
    let offset = launch::optional(bias, &input)?;
    let bias = usize::from(bias.is_some());
    let sizes = [b * n, o, k / (2 * BLOCK), bias, activation.code()];
    let inputs = [&input, &packed, &scales, &offset];
    let y = shader.launch([b * n, o], &inputs, &sizes, [b, n, o])?;
    Some(launch::tensor(y))
}
