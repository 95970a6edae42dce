//! Seeded Gaussian noise, generated on the CPU: a seed gives the same image natively and in the browser.

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A stream of standard normal values. ChaCha is specified bit by bit, unlike a library's default generator, so a seed
/// gives the same noise in every release and on every machine.
#[derive(Clone, Debug)]
pub struct Noise(ChaCha8Rng);

impl Noise {
    /// Creates the stream of a seed.
    pub fn new(seed: u64) -> Self {
        Noise(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Returns the next values of the stream as a tensor of `shape`.
    pub fn tensor<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::from_data(self.data(shape), device)
    }

    /// Returns the next values of the stream as CPU data of `shape`.
    pub fn data<const D: usize>(&mut self, shape: [usize; D]) -> TensorData {
        let count = shape.iter().product();
        let values: Vec<f32> = StandardNormal
            .sample_iter(&mut self.0)
            .take(count)
            .collect();
        TensorData::new(values, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_noise_in_every_release() {
        let first: Vec<f32> = Noise::new(7)
            .tensor([4], &Device::flex())
            .into_data()
            .iter::<f32>()
            .collect();
        assert_eq!(first, [-0.7753719, -1.3834218, 0.889713, 0.35977906]);
    }

    #[test]
    fn noise_is_standard_normal() {
        let seed = rand::random::<u64>();
        let x = Noise::new(seed).tensor([100_000], &Device::flex());
        let mean = x.clone().mean().into_scalar::<f32>();
        let variance = x.square().mean().into_scalar::<f32>();
        assert!(mean.abs() < 0.02, "seed {seed}: mean {mean}");
        assert!(
            (variance - 1.0).abs() < 0.03,
            "seed {seed}: variance {variance}"
        );
    }
}
