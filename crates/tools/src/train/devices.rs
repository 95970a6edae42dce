//! The devices of a run: the CPU, a GPU through WebGPU, or CUDA in a build with that feature; all run the same code.
//!
//! With several devices, each computes its threads' micro-batches on a copy of the networks, and the first device collects the
//! gradients and updates the weights. burn 0.22.1 has data-parallel training of its own (`DistributedContext`, which reduces
//! gradients during the backward pass), but it needs `all_reduce`, which only CUDA implements: on two WebGPU devices it panics in
//! cubecl's `ComputeServer::all_reduce`, and it does not support the CPU backend. Once it can be tested, it can replace the code
//! in `step::compute`.
//!
//! All tensors are f32. `Device::configure` can set a device's default type, but that is also the type of the weights, and bf16's
//! eight bits lose AdamW's small steps. Mixed precision needs a cast of weights and constants inside the networks, beside f32
//! weights outside.

use burn::tensor::{Device, DeviceKind};

use unireal::internals::gpu::device::{self, Choice};
use unireal::{Error, Result};

/// The kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The CPU.
    Cpu,
    /// WebGPU.
    Gpu,
    /// CUDA.
    Cuda,
}

/// Opens `count` devices of a kind.
///
/// # Errors
/// [`Error::Unsupported`] for a missing device or more than one CPU, [`Error::Request`] for a `count` of 0.
pub(super) fn open(kind: Kind, count: usize) -> Result<Vec<Device>> {
    match kind {
        _ if count == 0 => Err(Error::Request(
            "opening devices: 0, expected 1 or more".into(),
        )),
        Kind::Cpu if count > 1 => Err(Error::Unsupported(format!(
            "opening devices: {count} CPU devices, expected 1; use threads"
        ))),
        Kind::Cpu => Ok(vec![Device::flex()]),
        Kind::Gpu if count == 1 => {
            let opened = pollster::block_on(device::open(Choice::WebGpu, &[]))?;
            eprintln!("on {}", opened.adapter);
            Ok(vec![opened.device])
        }
        Kind::Gpu => {
            let kinds = (0..count).map(DeviceKind::DiscreteGpu);
            Ok(kinds.map(Device::wgpu).collect())
        }
        #[cfg(feature = "cuda")]
        Kind::Cuda => Ok((0..count).map(Device::cuda).collect()),
        #[cfg(not(feature = "cuda"))]
        Kind::Cuda => Err(Error::Unsupported(
            "opening CUDA: this build has no CUDA, expected one with --features cuda".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Tensor, TensorData};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::path::Path;

    use crate::train::checkpoint;
    use crate::train::flow::{Batch, flow_losses};
    use crate::train::initialise;
    use crate::train::optimizer::{Optimizer, OptimizerConfig};
    use crate::train::step::{compute, draw_micro_batches};
    use crate::train::task::{Losses, Task};
    use unireal::Image;
    use unireal::Role;
    use unireal::internals::config::{Config, TransformerConfig};
    use unireal::internals::model::sequence::{InputFrame, TextStates};
    use unireal::internals::model::transformer::{self, Transformer};
    use unireal::internals::noise::Noise;
    use unireal::internals::weights::module::{CpuTensor, collect};

    /// A task with two fixed micro-batches.
    struct Fixed(TransformerConfig, Device);

    impl Task for Fixed {
        type Module = Transformer;
        type MicroBatch = u64;

        fn device(&self) -> &Device {
            &self.1
        }

        fn fresh(&self) -> Transformer {
            initialise::transformer(&self.0, &self.1)
        }

        fn published(&self, _: &Path) -> Result<Option<Transformer>> {
            Ok(None)
        }

        fn micro_batches(&self, _: usize, _: &mut ChaCha8Rng) -> Result<Vec<u64>> {
            Ok(vec![1, 2])
        }

        fn held_out(&self) -> Result<Vec<u64>> {
            Ok(Vec::new())
        }

        fn preview(&self, _: &Transformer) -> Result<Option<Image>> {
            Ok(None)
        }

        fn losses(&self, module: &Transformer, batch: &u64, on: &Device) -> Result<Losses> {
            let noise = &mut Noise::new(*batch);
            let shape = [2, self.0.in_channels, 4, 4];
            let image_refs = TensorData::new(vec![0i32; 10], [2, 5]);
            let batch = Batch {
                text: TextStates {
                    states: noise.tensor([2, 5, self.0.text_dim], on),
                    image_refs: Tensor::from_data(image_refs, on),
                    mask: None,
                },
                inputs: vec![InputFrame {
                    latent: noise.tensor(shape, on),
                    role: Role::Canvas,
                }],
                targets: vec![noise.tensor(shape, on)],
                noise: vec![noise.tensor(shape, on)],
                t: Tensor::from_data(TensorData::new(vec![0.3f32, 0.8], [2]), on),
                weights: Vec::new(),
                target_mask: None,
            };
            let losses = flow_losses(module, self.0.patch_size, &batch);
            Ok(Losses {
                logged: losses.clone(),
                losses,
                names: vec![String::new(); 2],
            })
        }

        fn publish(&self, _: &Transformer, _: &Path) -> Result<()> {
            Ok(())
        }
    }

    /// Returns the losses of three steps and the weights after them; the initial weights are the same on all devices.
    fn trained(devices: &[Device]) -> (Vec<f32>, Vec<CpuTensor>) {
        let tracked: Vec<Device> = devices.iter().map(|d| d.clone().autodiff()).collect();
        let config = Config::tiny().transformer;
        let cpu = Fixed(config.clone(), Device::flex().autodiff());
        let mut start = collect(&cpu.fresh(), transformer::NAMES).unwrap();
        for (i, tensor) in start.iter_mut().enumerate() {
            let noise = Noise::new(i as u64).tensor([tensor.values.len()], &Device::flex());
            tensor.values = noise.into_data().iter::<f32>().map(|x| 0.05 * x).collect();
        }
        let task = Fixed(config, tracked[0].clone());
        let names = transformer::NAMES;
        let mut module =
            checkpoint::filled(task.fresh(), names, start, "the test", &tracked[0]).unwrap();
        let mut optimizer = Optimizer::new(&OptimizerConfig::default());
        let mut losses = Vec::new();
        for _ in 0..3 {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let batches = draw_micro_batches(&task, 1, 2, &mut rng).unwrap();
            let result = compute(&task, &module, &batches, &tracked).unwrap();
            losses.extend(result.losses.iter().map(|(_, loss)| *loss));
            module = optimizer.step(module, result.gradients, 1e-3).unwrap();
        }
        (losses, collect(&module, names).unwrap())
    }

    /// Steps on two devices equal those on one, and steps on WebGPU equal those on the CPU.
    #[test]
    fn two_devices_take_the_same_step_as_one() {
        let first = match open(Kind::Gpu, 1) {
            Ok(mut opened) => opened.remove(0),
            Err(error) => {
                eprintln!(
                    "SKIPPED, missing: an adapter for training on two devices: {error}; Debian has mesa-vulkan-drivers"
                );
                return;
            }
        };
        let (expected, weights) = trained(&[Device::flex()]);
        let second = Device::wgpu(DeviceKind::Cpu);
        assert_ne!(first, second);
        for devices in [vec![first.clone()], vec![first, second]] {
            let (losses, moved) = trained(&devices);
            for (ours, cpu) in losses.iter().zip(&expected) {
                println!("{} devices: loss {ours}, the CPU's {cpu}", devices.len());
                assert!((ours - cpu).abs() < 1e-4 * cpu, "{ours} and {cpu}");
            }
            for (ours, cpu) in moved.iter().zip(&weights) {
                let pairs = std::iter::zip(&ours.values, &cpu.values);
                let worst = pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs()));
                // Three steps of 1e-3; AdamW amplifies rounding errors of tiny gradients to fractions of a step.
                assert!(worst < 1e-3, "{}: off by {worst}", ours.name);
            }
        }
    }
}
