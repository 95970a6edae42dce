//! Training in bf16 reaches the loss of training in f32: 300 steps from one seed, then the loss on held-out samples.

use burn::module::Module as _;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use unireal::Role;
use unireal::internals::config::{Config, TransformerConfig};
use unireal::internals::model::sequence::{InputFrame, TextStates};
use unireal::internals::model::transformer::Transformer;
use unireal_tools::precision::{Precision, engine, scoped};
use unireal_tools::train::flow::{Batch, flow_loss};
use unireal_tools::train::initialise;
use unireal_tools::train::optimizer::{Optimizer, OptimizerConfig};

/// Latent side, and number of text tokens.
const SIDE: usize = 4;
const TEXT: usize = 3;

/// Returns a batch of a learnable task: the target is the negated input plus a shift from the first text state.
fn batch(config: &TransformerConfig, b: usize, device: &Device) -> Batch {
    let normal = Distribution::Normal(0.0, 1.0);
    let shape = [b, config.in_channels, SIDE, SIDE];
    let input = Tensor::<4>::random(shape, normal, device);
    let states = Tensor::<3>::random([b, TEXT, config.text_dim], normal, device);
    let shift = states
        .clone()
        .narrow(1, 0, 1)
        .narrow(2, 0, config.in_channels);
    let target = input.clone().neg() + shift.reshape([b, config.in_channels, 1, 1]);
    Batch {
        text: TextStates {
            states,
            image_refs: Tensor::from_data(TensorData::new(vec![0i32; b * TEXT], [b, TEXT]), device),
            mask: None,
        },
        inputs: vec![InputFrame {
            latent: input,
            role: Role::Canvas,
        }],
        targets: vec![target],
        noise: vec![Tensor::random(shape, normal, device)],
        t: Tensor::random([b], Distribution::Uniform(0.0, 1.0), device),
        weights: Vec::new(),
        target_mask: None,
    }
}

/// Returns the held-out loss before and after 300 steps in a precision.
fn trained(precision: Precision) -> [f32; 2] {
    let _precision = scoped(precision);
    let device = Device::flex().autodiff();
    device.seed(7);
    let config = Config::tiny().transformer;
    let mut model = initialise::transformer(&config, &device);
    let mut optimizer = Optimizer::new(&OptimizerConfig::default());
    let held_out = batch(&config, 64, &Device::flex());
    let loss = |model: &Transformer| {
        let loss = flow_loss(&model.valid(), config.patch_size, &held_out);
        loss.into_scalar::<f32>()
    };
    let before = loss(&model);
    for _ in 0..300 {
        let batch = batch(&config, 8, &device);
        let gradients = flow_loss(&model, config.patch_size, &batch).backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        model = optimizer.step(model, vec![gradients], 2e-3).unwrap();
    }
    [before, loss(&model)]
}

#[test]
fn three_hundred_steps_in_bf16_end_where_f32_does() {
    let Some(engine) = engine() else {
        eprintln!("SKIPPED bf16: this CPU has no instructions for it");
        return;
    };
    let [start, exact] = trained(Precision::F32);
    let [_, rounded] = trained(Precision::Bf16);
    println!(
        "held-out loss {start} at the start, after 300 steps {exact} in f32, {rounded} in bf16 by {engine}"
    );
    assert!(
        exact < 0.9 * start,
        "nothing was learnt: {start}, then {exact}"
    );
    assert!(
        (rounded - exact).abs() < 0.02 * exact,
        "bf16 ends at {rounded}, f32 at {exact}"
    );
}
