//! Encodes and decodes large images in overlapping tiles.

use burn::tensor::{Tensor, TensorData};

/// Tiling of large images: tiles overlap, and the overlaps are blended linearly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiling {
    /// Side of a tile in latent cells.
    pub latent: usize,
    /// Fraction of a tile that overlaps its neighbour.
    pub overlap: f64,
}

impl Tiling {
    pub(super) fn encode(
        self,
        images: Tensor<4>,
        stride: usize,
        f: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        self.run(images, self.latent * stride, self.latent, f)
    }

    pub(super) fn decode(
        self,
        latents: Tensor<4>,
        stride: usize,
        f: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        self.run(latents, self.latent, self.latent * stride, f)
    }

    /// Applies `f` to overlapping tiles of side `from`, each giving a tile of side `to`, and blends them into one map.
    fn run(
        self,
        x: Tensor<4>,
        from: usize,
        to: usize,
        f: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let step = ((from as f64 * (1.0 - self.overlap)) as usize).max(1);
        let blend = (to as f64 * self.overlap) as usize;
        let inner = to - blend;
        let mut above: Vec<Tensor<4>> = Vec::new();
        let mut rows = Vec::new();
        for y in (0..height).step_by(step) {
            let mut tiles: Vec<Tensor<4>> = Vec::new();
            for (j, left) in (0..width).step_by(step).enumerate() {
                let (h, w) = (from.min(height - y), from.min(width - left));
                let mut tile = f(x.clone().narrow(2, y, h).narrow(3, left, w));
                if let Some(upper) = above.get(j) {
                    tile = blend_edges(upper.clone(), tile, blend, 2);
                }
                if let Some(previous) = tiles.last() {
                    tile = blend_edges(previous.clone(), tile, blend, 3);
                }
                tiles.push(tile);
            }
            let trimmed = tiles.iter().map(|tile| {
                let [_, _, h, w] = tile.dims();
                tile.clone()
                    .narrow(2, 0, h.min(inner))
                    .narrow(3, 0, w.min(inner))
            });
            rows.push(Tensor::cat(trimmed.collect(), 3));
            above = tiles;
        }
        Tensor::cat(rows, 2)
    }
}

/// Returns `after` with its first `extent` rows (axis 2) or columns (axis 3) faded in from the last ones of `before`.
fn blend_edges(before: Tensor<4>, after: Tensor<4>, extent: usize, axis: usize) -> Tensor<4> {
    let (n, m) = (before.dims()[axis], after.dims()[axis]);
    let extent = extent.min(n).min(m);
    if extent == 0 {
        return after;
    }
    let ramp: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let mut shape = [1; 4];
    shape[axis] = extent;
    let ramp = Tensor::from_data(TensorData::new(ramp, shape), &after.device());
    let old = before.narrow(axis, n - extent, extent);
    let new = after.clone().narrow(axis, 0, extent);
    let mixed = old.clone() + (new - old) * ramp;
    if extent == m {
        return mixed;
    }
    Tensor::cat(vec![mixed, after.narrow(axis, extent, m - extent)], axis)
}
