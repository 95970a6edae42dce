//! The autoencoder's loss: keep the picture, keep the latent near a standard normal.

use burn::tensor::{Distribution, Tensor};

use crate::model::vae::Autoencoder;

/// Mean squared error of the decoded picture plus `kl` times the divergence of the latent's distribution from a standard
/// normal, a mean over its numbers (Kingma and Welling, 2014). The log variance is held within diffusers' bounds.
pub(super) fn vae_loss(vae: &Autoencoder, pictures: Tensor<4>, kl: f64) -> Tensor<1> {
    let moments = vae.moments(pictures.clone());
    let channels = moments.dims()[1] / 2;
    let mean = moments.clone().narrow(1, 0, channels);
    let log_variance = moments.narrow(1, channels, channels).clamp(-30.0, 20.0);
    let eps = mean.random_like(Distribution::Normal(0.0, 1.0));
    let latent = mean.clone() + (log_variance.clone() * 0.5).exp() * eps;
    let error = (vae.decode_latent(latent) - pictures).square().mean();
    let divergence = (mean.square() + log_variance.clone().exp() - log_variance - 1.0).mean() * 0.5;
    error + divergence * kl
}
