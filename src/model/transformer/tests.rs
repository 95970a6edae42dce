//! Tests of channel conditioning, clean states and frame checks.

use burn::module::ModuleMapper;
use burn::tensor::{Distribution, Int};

use super::super::linear::Weight;
use super::super::sequence::check_frames;
use super::*;
use crate::config::{Attention, Conditioning, Config};

/// Adds noise to every parameter, since zero-initialised ones hide the effect of the others.
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

/// With equal input weights for noise and canvas, channel conditioning equals a frame that holds their sum.
#[test]
fn a_canvas_of_channels_is_read_beside_the_noise() {
    let device = Device::flex();
    let normal = Distribution::Normal(0.0, 1.0);
    let frames = Transformer::new(&config(), Encoding::F32, &device).map(&mut Noise);
    let mut channels = frames.clone();
    channels.config.conditioning = Conditioning::Channels;
    let Weight::Float(weight) = &frames.patch_in.weight else {
        panic!("floats were asked for");
    };
    let twice = Tensor::cat(vec![weight.val(), weight.val()], 1);
    assert_eq!(twice.dims()[1], channels.config.patch_in_dim());
    channels.patch_in.weight = Weight::Float(Param::from_tensor(twice));

    let text = TextStates {
        states: Tensor::random([2, 5, 16], normal, &device),
        image_refs: Tensor::<2, Int>::zeros([2, 5], &device),
        mask: None,
    };
    let latent = || Tensor::<4>::random([2, 4, 6, 8], normal, &device);
    let (noisy, canvas) = (latent(), latent());
    let t = Tensor::from_data([0.3f32, 0.8], &device);
    let grid = [Grid::of(&noisy, 2)];
    let input = [InputFrame {
        latent: canvas.clone(),
        role: Role::Canvas,
    }];
    let values =
        |v: Vec<Tensor<4>>| -> Vec<f32> { v[0].clone().into_data().try_to_vec().expect("f32") };
    let of = |model: &Transformer, inputs: &[InputFrame], noisy: &Tensor<4>| {
        let [once, prepared] = [
            model.sequence(&text, inputs, &grid),
            model.prepare(&text, inputs, &grid),
        ];
        let [once, prepared] = [once, prepared].map(|sequence| {
            values(model.forward(&sequence, std::slice::from_ref(noisy), t.clone()))
        });
        assert_eq!(once, prepared);
        once
    };
    let far = |a: &[f32], b: &[f32]| {
        let differences = std::iter::zip(a, b).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max)
    };
    let seen = of(&channels, &input, &noisy);
    let sum = of(&frames, &[], &(noisy.clone() + canvas));
    assert!(far(&seen, &sum) < 1e-4, "{}", far(&seen, &sum));
    let blind = of(&channels, &[], &noisy);
    assert!(far(&blind, &of(&frames, &[], &noisy)) < 1e-4);
    assert!(far(&blind, &seen) > 1e-2, "the canvas changes nothing");
}

/// Clean tokens that do not attend to outputs have the same states with and without outputs.
#[test]
fn clean_states_are_those_beside_an_output_that_is_not_seen() {
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
    let mut beside = None;
    network.forward_with_hook(&sequence, &[noisy], t, |blocks, tokens| {
        if blocks == 1 {
            beside = Some(tokens.clone().narrow(1, 0, clean));
        }
    });
    let alone = network.clean_states(&text, &inputs, 1);
    let differences = (alone.clone() - beside.unwrap()).abs().max();
    let worst = differences.into_scalar::<f32>();
    assert!(worst < 1e-4, "{worst}");
    let before = network.clean_states(&text, &inputs, 0);
    let moved = (alone - before).abs().max().into_scalar::<f32>();
    assert!(moved > 1e-2, "the block does nothing");
}

#[test]
fn more_pictures_than_there_are_places_for_are_refused() {
    let few = TransformerConfig {
        max_inputs: 2,
        max_outputs: 1,
        ..config()
    };
    let inputs = [Role::Canvas, Role::Asset, Role::Asset];
    check_frames(&few, &inputs[..2], 1).unwrap();
    for (inputs, outputs, told) in [
        (&inputs[..], 1, "3 input pictures"),
        (&inputs[..1], 2, "2 output pictures"),
    ] {
        let refused = check_frames(&few, inputs, outputs).unwrap_err().to_string();
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn what_channels_cannot_hold_is_refused() {
    let channels = TransformerConfig {
        conditioning: Conditioning::Channels,
        ..config()
    };
    let two = [Role::Canvas, Role::Asset];
    for (inputs, outputs) in [(&two[..], 1), (&two[1..], 1), (&two[..1], 2)] {
        check_frames(&config(), inputs, outputs).unwrap();
        let refused = check_frames(&channels, inputs, outputs)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("one canvas") && refused.contains(inputs[0].name()),
            "{refused}"
        );
    }
    check_frames(&channels, &two[..1], 1).unwrap();
    check_frames(&channels, &[], 1).unwrap();
    // A file without the field means the default, which is not written.
    let json = serde_json::to_string(&config()).unwrap();
    assert!(!json.contains("conditioning"));
    assert_eq!(
        serde_json::from_str::<TransformerConfig>(&json).unwrap(),
        config()
    );
    let json = serde_json::to_string(&channels).unwrap();
    assert_eq!(
        serde_json::from_str::<TransformerConfig>(&json).unwrap(),
        channels
    );
}
