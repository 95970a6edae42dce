//! Muon (Jordan et al., 2024) for one matrix: Nesterov momentum, orthogonalised by five Newton-Schulz iterations. Steps are scaled to
//! the root mean square of AdamW's, so that learning rates carry over (Liu et al., 2025). Equals burn's Muon, but runs matrix
//! products in the thread's precision.

use burn::tensor::Tensor;

use super::cpu_tensor::{combine, squares};
#[cfg(target_arch = "x86_64")]
use super::cpu_tensor::{flex, on_cpu, values};
#[cfg(target_arch = "x86_64")]
use unireal::internals::cpu::gemm::{Matrix, Precision, long_product, precision};

/// The decay of the velocity.
const MOMENTUM: f32 = 0.95;

/// The coefficients of an iteration, `a x + (b x x^T + c (x x^T)^2) x`, and the number of iterations.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
const ITERATIONS: usize = 5;

/// Lower bound of the norm by which a matrix is divided.
const EPSILON: f64 = 1e-7;

/// The coefficients of one step.
#[derive(Clone, Copy)]
pub(super) struct Muon {
    /// Factor from the sum of gradients to their clipped mean.
    pub(super) scale: f32,
    pub(super) weight_decay: f32,
    pub(super) learning_rate: f64,
}

impl Muon {
    /// Returns the values and the velocity after a step, flat; `sides` is `[rows, columns]` of the matrix.
    pub(super) fn step(
        self,
        values: Tensor<1>,
        gradient: Tensor<1>,
        velocity: Option<Tensor<1>>,
        sides: [usize; 2],
    ) -> [Tensor<1>; 2] {
        let velocity = match velocity {
            Some(velocity) => combine((velocity, MOMENTUM), (&gradient, self.scale)),
            None => gradient.clone() * self.scale,
        };
        let update = combine((gradient, self.scale), (&velocity, MOMENTUM));
        let update = orthogonal(update.reshape(sides)).flatten(0, 1);
        let longer_side = sides[0].max(sides[1]) as f64;
        let learning_rate = self.learning_rate * 0.2 * longer_side.sqrt();
        let decay = 1.0 - self.learning_rate * f64::from(self.weight_decay);
        let values = combine((values, decay as f32), (&update, -learning_rate as f32));
        [values, velocity]
    }
}

/// Orthogonalises a matrix: keeps its singular vectors and brings its singular values to about 1.
fn orthogonal(x: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = x.dims();
    if rows > columns {
        return orthogonal(x.transpose()).transpose();
    }
    let (flat, squares) = squares(x.flatten(0, 1));
    let norm = squares.sqrt().max(EPSILON);
    let mut x = (flat * (1.0 / norm)).reshape([rows, columns]);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = product(&x, &x, Layout::Transposed);
        // The Gram matrix is symmetric.
        let square = product(&gram, &gram, Layout::Transposed);
        let [gram, square] = [gram, square].map(|matrix| matrix.flatten(0, 1));
        let polynomial = combine((gram, b), (&square, c)).reshape([rows, rows]);
        let change = product(&polynomial, &x, Layout::Plain).flatten(0, 1);
        x = combine((change, 1.0), (&x.flatten(0, 1), a)).reshape([rows, columns]);
    }
    x
}

/// Layout of the right operand of a product.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Plain,
    Transposed,
}

/// Returns `x y` or `x y^T`.
fn product(x: &Tensor<2>, y: &Tensor<2>, layout: Layout) -> Tensor<2> {
    #[cfg(target_arch = "x86_64")]
    if precision() == Precision::Bf16 && on_cpu(&x.clone().flatten(0, 1)) {
        return bf16_product(x, y, layout);
    }
    let y = y.clone();
    match layout {
        Layout::Plain => x.clone().matmul(y),
        Layout::Transposed => x.clone().matmul(y.transpose()),
    }
}

#[cfg(target_arch = "x86_64")]
fn bf16_product(x: &Tensor<2>, y: &Tensor<2>, layout: Layout) -> Tensor<2> {
    let ([m, k], [rows, columns]) = (x.dims(), y.dims());
    let [left, right] = [x, y].map(|matrix| flex(matrix.clone().flatten(0, 1)));
    let (right, n) = match layout {
        Layout::Plain => (Matrix::Columns(values(&right), columns), columns),
        Layout::Transposed => (Matrix::Rows(values(&right), columns), rows),
    };
    let mut result = vec![0f32; m * n];
    long_product(
        Matrix::Rows(values(&left), k),
        right,
        [m, n, k],
        &mut result,
    );
    let result = burn::tensor::TensorData::new(result, [m, n]);
    Tensor::from_data(result, &x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::{AdjustLrFn, MuonConfig, Optimizer as _};
    use burn::tensor::{Device, Distribution};

    use unireal::internals::cpu::gemm::{Precision, engine};

    /// Returns the values after three steps of this Muon and of burn's with random gradients.
    fn ours_and_burns(sides: [usize; 2]) -> [Vec<f32>; 2] {
        let device = Device::flex();
        device.seed(5);
        let random = || Tensor::<2>::random(sides, Distribution::Normal(0.0, 1.0), &device);
        let burns = MuonConfig::new()
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
            .with_weight_decay(Some(WeightDecayConfig::new(0.1)))
            .build();
        let ours = Muon {
            scale: 0.5,
            weight_decay: 0.1,
            learning_rate: 0.02,
        };
        let start = random();
        let (mut expected, mut state) = (start.clone(), None);
        let (mut found, mut velocity) = (start.flatten(0, 1), None);
        for _ in 0..3 {
            let gradient = random();
            let scaled = gradient.clone() * 0.5;
            (expected, state) = burns.step(0.02, expected, scaled, state);
            let flat = gradient.flatten(0, 1);
            let [values, moved] = ours.step(found, flat, velocity, sides);
            (found, velocity) = (values, Some(moved));
        }
        [found, expected.flatten(0, 1)].map(|values| values.into_data().iter::<f32>().collect())
    }

    fn max_difference([found, expected]: [Vec<f32>; 2]) -> f32 {
        let pairs = std::iter::zip(found, expected);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn steps_equal_those_of_burn() {
        for sides in [[24, 24], [24, 40], [70, 30]] {
            let error = max_difference(ours_and_burns(sides));
            assert!(error < 1e-5, "{sides:?}: off by {error}");
        }
    }

    /// A step changes a value by about 0.02 x 0.2; bf16 has three digits, and the singular values do not converge to 1 in f32 either.
    #[test]
    fn bf16_steps_are_close_to_f32() {
        let _precision = engine::scoped(Precision::Bf16);
        let error = max_difference(ours_and_burns([70, 30]));
        assert!(error < 2e-3, "off by {error}");
    }
}
