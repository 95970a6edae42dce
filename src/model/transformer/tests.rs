//! Tests of clean tokens' states and of frame checks.

use burn::module::ModuleMapper;
use burn::tensor::{Distribution, Int};

use super::super::sequence::check_frames;
use super::*;
use crate::config::{Attention, Config};

/// Adds noise to every parameter, since new ones are zero.
struct Noise;

impl ModuleMapper for Noise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| {
            let noise = Tensor::random(x.shape(), Distribution::Normal(0.0, 0.2), &x.device());
            x + noise
        })
    }
}

fn config() -> TransformerConfig {
    TransformerConfig {
        in_channels: 4,
        patch_size: 2,
        hidden_size: 32,
        num_layers: 2,
        num_attention_heads: 2,
        text_dim: 16,
        axes_dims: [4, 6, 6],
        ..Config::tiny().transformer
    }
}

/// Clean tokens that do not attend to outputs have the same states with and without outputs.
#[test]
fn clean_tokens_do_not_depend_on_outputs_that_they_do_not_attend_to() {
    let device = Device::flex();
    let normal = Distribution::Normal(0.0, 1.0);
    let apart = TransformerConfig {
        attention: Attention::CleanApart,
        ..config()
    };
    let network = Transformer::new(&apart, Encoding::F32, &device).map(&mut Noise);
    let text = TextStates {
        states: Tensor::random([2, 5, 16], normal, &device),
        image_refs: Tensor::<2, Int>::zeros([2, 5], &device),
        mask: Some(Tensor::from_data(
            [[1f32, 1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0, 0.0]],
            &device,
        )),
    };
    let latent = || Tensor::<4>::random([2, 4, 6, 8], normal, &device);
    let inputs = [Role::Canvas, Role::Asset].map(|role| InputFrame {
        latent: latent(),
        role,
    });
    let noisy = latent();
    let t = Tensor::from_data([0.3f32, 0.8], &device);
    let sequence = network.sequence(&text, &inputs, &[Grid::of(&noisy, 2)]);
    let clean = 5 + 2 * 12;
    let hidden = network.embed(&sequence, &[noisy], t.clone());
    let hidden = network.run_blocks(&sequence, 0..1, hidden);
    let beside = hidden.tokens.narrow(1, 0, clean);
    let sequence = network.sequence(&text, &inputs, &[]);
    let before = network.embed(&sequence, &[], t);
    let alone = network.run_blocks(&sequence, 0..1, before.clone()).tokens;
    let differences = (alone.clone() - beside).abs().max();
    let worst = differences.into_scalar::<f32>();
    assert!(worst < 1e-4, "{worst}");
    let moved = (alone - before.tokens).abs().max().into_scalar::<f32>();
    assert!(moved > 1e-2, "the block does nothing");
}

#[test]
fn more_images_than_the_model_has_places_for_are_refused() {
    let few = TransformerConfig {
        max_inputs: 2,
        max_outputs: 1,
        ..config()
    };
    check_frames(&few, 2, 1).unwrap();
    for (inputs, outputs, told) in [(3, 1, "3 input images"), (1, 2, "2 output images")] {
        let refused = check_frames(&few, inputs, outputs).unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }
}
