//! Rotary position embedding over three axes: frame, y and x.
//!
//! Choice: the paper adds a position embedding to image and noise tokens without saying which. Rotary embeddings encode position
//! differences, so they work for any size and number of frames, and a token can easily attend to the same place in another frame.

use burn::tensor::{Device, Tensor, TensorData};

use crate::gpu::{self, Activation};

/// Cosine and sine tables for the tokens of one sequence, and the matrix that rotates pairs of neighbouring features.
#[derive(Clone, Debug)]
pub struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
    rotation: Tensor<2>,
}

impl Rope {
    /// Computes the tables for tokens at `positions` (frame, y, x), with `axes_dims` rotary features per head for each axis.
    pub fn new(positions: &[[f32; 3]], axes_dims: [usize; 3], theta: f64, device: &Device) -> Self {
        let width: usize = axes_dims.iter().sum();
        let mut cos = Vec::with_capacity(positions.len() * width);
        let mut sin = Vec::with_capacity(positions.len() * width);
        for position in positions {
            for (axis, dims) in axes_dims.into_iter().enumerate() {
                for j in 0..dims / 2 {
                    let frequency = theta.powf(-2.0 * j as f64 / dims as f64);
                    let (s, c) = (f64::from(position[axis]) * frequency).sin_cos();
                    cos.extend([c as f32; 2]);
                    sin.extend([s as f32; 2]);
                }
            }
        }
        // `rotation` maps each pair (u0, u1) to (-u1, u0).
        let mut rotation = vec![0f32; width * width];
        for pair in 0..width / 2 {
            let (even, odd) = (2 * pair, 2 * pair + 1);
            rotation[even * width + odd] = -1.0;
            rotation[odd * width + even] = 1.0;
        }
        let table = |values| TensorData::new(values, [1, 1, positions.len(), width]);
        Rope {
            cos: Tensor::from_data(table(cos), device),
            sin: Tensor::from_data(table(sin), device),
            rotation: Tensor::from_data(TensorData::new(rotation, [width, width]), device),
        }
    }

    /// Returns the cosines and the sines, both `[1, 1, n, head_dim]`.
    pub fn tables(&self) -> [&Tensor<4>; 2] {
        [&self.cos, &self.sin]
    }

    /// Rotates every pair (u0, u1) to (u0 cos - u1 sin, u0 sin + u1 cos). A product with a constant matrix swaps the features of
    /// each pair, which costs less than strided copies on every backend.
    ///
    /// # Shapes
    /// `[b, h, n, head_dim]`, unchanged.
    pub fn rotate(&self, u: Tensor<4>) -> Tensor<4> {
        let [b, h, n, d] = u.dims();
        let rotated_pairs = gpu::linear(
            u.clone().reshape([b * h, n, d]),
            self.rotation.clone(),
            None,
            Activation::None,
        );
        u * self.cos.clone() + rotated_pairs.reshape([b, h, n, d]) * self.sin.clone()
    }
}
