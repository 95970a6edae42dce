use burn::tensor::Device;

use super::*;
use crate::train::initialise;
use unireal::internals::config::Config;
use unireal::internals::noise::Noise;
use unireal::internals::weights::module::{CpuTensor, collect};

/// Muon updates the autoencoder's inner convolutions, AdamW the layers that read and write pixels; the step of a convolution is
/// orthogonal as a matrix of shape `[out, in * height * width]`.
#[test]
fn muon_updates_the_inner_convolutions() {
    let device = Device::flex();
    let config = OptimizerConfig {
        kind: OptimizerKind::Muon,
        weight_decay: 0.0,
        ..OptimizerConfig::default()
    };
    let vae = initialise::autoencoder(&Config::tiny().vae, &device).train();
    let images = Noise::new(3).tensor([2, 3, 32, 32], &device.clone().autodiff());
    let loss = vae.decode_latent(vae.encode(images, None)).square().mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &vae);
    let before = collect(&vae, &[]).unwrap();
    let mut optimizer = Optimizer::new(&config);
    let learning_rate = 1e-3;
    let vae = optimizer.step(vae, vec![gradients], learning_rate).unwrap();
    let after = collect(&vae, &[]).unwrap();

    let saved = optimizer.tensors().unwrap();
    let has = |name: &str| saved.iter().any(|tensor| tensor.name == name);
    for convolution in [
        "encoder.down_blocks.0.resnets.0.conv1",
        "encoder.down_blocks.0.downsample",
        "encoder.down_blocks.1.resnets.0.conv_shortcut",
        "decoder.mid_block.resnets.0.conv2",
        "decoder.up_blocks.0.upsample",
    ] {
        let name = format!("{convolution}.weight");
        assert!(has(&format!("velocity/{name}")), "{name}");
        let find = |all: &[CpuTensor]| all.iter().position(|tensor| tensor.name == name);
        let (old, new) = (find(&before).unwrap(), find(&after).unwrap());
        let shape = &before[old].shape;
        let (rows, columns) = (shape[0], shape[1..].iter().product::<usize>());
        let size = learning_rate * 0.2 * (rows.max(columns) as f64).sqrt();
        let step: Vec<f64> = std::iter::zip(&before[old].values, &after[new].values)
            .map(|(old, new)| f64::from(old - new) / size)
            .collect();
        // Five iterations bring all but the smallest singular values to 0.7 to 1.2.
        let squares = step.iter().map(|x| x * x).sum::<f64>() / rows.min(columns) as f64;
        assert!((0.4..1.5).contains(&squares), "{name}: {squares}");
    }
    for other in ["encoder.conv_in", "decoder.conv_out"] {
        assert!(has(&format!("first/{other}.weight")), "{other}");
    }
}
