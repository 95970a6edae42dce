//! The autoencoder's loss: the error of the image and its edges, and the divergence of the latent from a standard normal.

use burn::tensor::Tensor;

use super::settings::Stage;
use unireal::internals::model::vae::Autoencoder;

/// Returns the loss of each image, `[b]`, and its mean squared error alone. The loss is the mean squared error, plus terms weighted
/// by the stage's settings: the mean absolute error, that of the differences between neighbouring pixels, and the KL divergence of
/// the latent's distribution from a standard normal, a mean over its elements (Kingma and Welling, 2014). `noise` is standard
/// normal, of the latent's shape. The log variance is clamped to diffusers' bounds.
pub(super) fn vae_losses(
    vae: &Autoencoder,
    images: Tensor<4>,
    noise: Tensor<4>,
    stage: &Stage,
) -> (Tensor<1>, Tensor<1>) {
    let moments = if stage.decoder_only {
        vae.moments(images.clone()).detach()
    } else {
        vae.moments(images.clone())
    };
    let channels = moments.dims()[1] / 2;
    let mean = moments.clone().narrow(1, 0, channels);
    let log_variance = moments.narrow(1, channels, channels).clamp(-30.0, 20.0);
    let latent = mean.clone() + (log_variance.clone() * 0.5).exp() * noise;
    let error = vae.decode_latent(latent) - images;
    let squared = mean_per_image(error.clone().square());
    let divergence =
        mean_per_image(mean.square() + log_variance.clone().exp() - log_variance - 1.0) * 0.5;
    let mut loss = squared.clone() + divergence * stage.kl;
    if stage.gradient > 0.0 {
        let edges = mean_per_image(neighbour_differences(&error, 2).abs())
            + mean_per_image(neighbour_differences(&error, 3).abs());
        loss = loss + edges * stage.gradient;
    }
    if stage.l1 > 0.0 {
        loss = loss + mean_per_image(error.abs()) * stage.l1;
    }
    (loss, squared)
}

/// Returns the differences between neighbours along an axis.
fn neighbour_differences(x: &Tensor<4>, axis: usize) -> Tensor<4> {
    let n = x.dims()[axis];
    x.clone().narrow(axis, 1, n - 1) - x.clone().narrow(axis, 0, n - 1)
}

/// Returns the mean of each image's values, `[b]`.
fn mean_per_image(x: Tensor<4>) -> Tensor<1> {
    x.flatten::<2>(1, 3).mean_dim(1).squeeze_dim::<1>(1)
}
