//! The values that parameters have before training. The runtime creates parameters of zeros (norms: ones), which a pack fills.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use unireal::internals::config::{Config, TextConfig, TransformerConfig, VaeConfig};
use unireal::internals::model::Model;
use unireal::internals::model::text::TextEncoder;
use unireal::internals::model::transformer::Transformer;
use unireal::internals::model::vae::Autoencoder;
use unireal::internals::weights::module::ParamPath;
use unireal::internals::weights::quant::Encoding;

/// The initial values of a parameter.
pub(super) enum Initial {
    /// Those that the module was created with.
    Unchanged,
    /// Normally distributed with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniformly distributed between minus and plus this bound.
    Uniform(f64),
    /// These, row-major.
    Values(Vec<f32>),
}

impl Initial {
    /// Xavier-uniform values of a weight matrix `[out, in]` (Glorot and Bengio, 2010).
    pub(super) fn xavier(shape: &[usize]) -> Self {
        Initial::Uniform((6.0 / (shape[0] + shape[1]) as f64).sqrt())
    }

    /// Kaiming-uniform values of a kernel `[out, in, y, x]` with gain 1 (He et al., 2015).
    fn kaiming(shape: &[usize]) -> Self {
        let fan_in: usize = shape[1..].iter().product();
        Initial::Uniform((3.0 / fan_in as f64).sqrt())
    }
}

/// Returns the module with the parameters that `initial` gives for each path, such as `blocks.0.attention.q.weight`, and shape. Draws
/// from the device's random numbers.
pub(super) fn initialised<M: Module>(module: M, initial: impl Fn(&str, &[usize]) -> Initial) -> M {
    struct Map<R> {
        path: ParamPath,
        initial: R,
    }
    impl<R: Fn(&str, &[usize]) -> Initial> ModuleMapper for Map<R> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape: [usize; D] = param.lazy_shape().dims();
            let device = &param.lazy_device();
            let random = |distribution| Tensor::random(shape, distribution, device);
            let values = match (self.initial)(&self.path.name(), &shape) {
                Initial::Unchanged => return param,
                Initial::Normal(deviation) => random(Distribution::Normal(0.0, deviation)),
                Initial::Uniform(bound) => random(Distribution::Uniform(-bound, bound)),
                Initial::Values(values) => {
                    Tensor::from_data(TensorData::new(values, shape), device)
                }
            };
            let id = param.id;
            param.transform_for_load(values, id)
        }
    }
    let path = ParamPath::new(&[]);
    module.map(&mut Map { path, initial })
}

/// Creates the three networks of `config`, as [`text_encoder`], [`autoencoder`] and [`transformer`] do.
pub fn model(config: &Config, device: &Device) -> Model {
    Model {
        text: text_encoder(&config.text_encoder, device),
        vae: autoencoder(&config.vae, device),
        transformer: transformer(&config.transformer, device),
    }
}

/// Creates a transformer. Modulation and output start at zero, so that each block starts as the identity (AdaLN-zero; Peebles and
/// Xie, 2023).
pub fn transformer(config: &TransformerConfig, device: &Device) -> Transformer {
    let network = Transformer::new(config, Encoding::F32, device);
    initialised(network, |name, shape| {
        let layer = name.strip_suffix(".weight").unwrap_or("");
        match layer {
            "modulation" | "final_modulation" | "patch_out" => Initial::Unchanged,
            "input_index" | "output_index" | "category" | "clean_embedding" => {
                Initial::Normal(0.02)
            }
            _ if shape.len() == 2 => Initial::xavier(shape),
            _ => Initial::Unchanged,
        }
    })
}

/// Creates a text encoder, initialised as T5. T5 does not scale its scores, so query weights start small; otherwise content would
/// outweigh positions.
pub fn text_encoder(config: &TextConfig, device: &Device) -> TextEncoder {
    let network = TextEncoder::new(config, Encoding::F32, device);
    initialised(network, |name, shape| match name {
        "embedding.weight" => Initial::Normal(1.0),
        "relative_bias.weight" => Initial::Values(position_biases(shape[0], shape[1])),
        _ if shape.len() != 2 => Initial::Unchanged,
        _ if name.ends_with("attention.q.weight") => {
            Initial::Normal(((shape[1] * config.d_kv) as f64).powf(-0.5))
        }
        _ => Initial::Normal((shape[1] as f64).powf(-0.5)),
    })
}

/// Returns initial position biases `[buckets, heads]`: the first head attends to the previous token, the second to the next token, and
/// the others to near tokens more than to far ones. Only these biases encode positions, and a small encoder rarely learns them from
/// noise: without this initialisation, small encoders fail to bind adjectives to nouns.
fn position_biases(buckets: usize, heads: usize) -> Vec<f32> {
    let half = buckets / 2;
    let bias = |i: usize| {
        let (row, head) = (i / heads, i % heads);
        let (after, distance) = (row >= half, row % half.max(1));
        match head {
            0 | 1 if distance == 1 && after == (head == 1) => 4.0,
            0 | 1 => 0.0,
            _ => -0.5 * distance as f32,
        }
    };
    (0..buckets * heads).map(bias).collect()
}

/// Creates an autoencoder.
pub fn autoencoder(config: &VaeConfig, device: &Device) -> Autoencoder {
    let network = Autoencoder::new(config, Encoding::F32, device);
    initialised(network, |_, shape| match shape.len() {
        4 => Initial::kaiming(shape),
        2 => Initial::xavier(shape),
        _ => Initial::Unchanged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use unireal::internals::model::{text, transformer, vae};
    use unireal::internals::weights::module::{CpuTensor, Names, collect};

    fn tensors<M: Module>(module: &M, names: Names) -> Vec<CpuTensor> {
        collect(module, names).unwrap()
    }

    /// Returns mean and standard deviation of a tensor's values.
    fn moments(all: &[CpuTensor], name: &str) -> [f64; 2] {
        let tensor = all.iter().find(|tensor| tensor.name == name).expect(name);
        let count = tensor.values.len() as f64;
        let sum = |of: &dyn Fn(f64) -> f64| {
            tensor.values.iter().map(|&x| of(f64::from(x))).sum::<f64>() / count
        };
        let mean = sum(&|x| x);
        [mean, sum(&|x| (x - mean).powi(2)).sqrt()]
    }

    #[test]
    fn parameters_have_the_expected_distributions() {
        let device = Device::flex();
        device.seed(11);
        let config = Config::tabletop();
        let model = model(&config, &device);
        let network = tensors(&model.transformer, transformer::NAMES);
        let d = config.transformer.hidden_size as f64;
        let near = |[mean, deviation]: [f64; 2], expected: f64, name: &str| {
            assert!(
                mean.abs() < 0.1 * expected.max(1e-9) + 1e-12,
                "{name}: mean {mean}"
            );
            let allowed = 0.1 * expected;
            assert!(
                (deviation - expected).abs() <= allowed,
                "{name}: {deviation}, expected {expected}"
            );
        };
        for name in [
            "modulation.weight",
            "final_modulation.weight",
            "patch_out.weight",
        ] {
            assert_eq!(moments(&network, name), [0.0, 0.0], "{name}");
        }
        let name = "blocks.0.attention.qkv.weight";
        near(moments(&network, name), (2.0 / (4.0 * d)).sqrt(), name);
        near(moments(&network, "input_index.weight"), 0.02, "input_index");
        let name = "blocks.0.attention.query_norm.weight";
        assert_eq!(moments(&network, name), [1.0, 0.0]);

        let encoder = tensors(&model.text, text::NAMES);
        let (width, d_kv) = (
            config.text_encoder.d_model as f64,
            config.text_encoder.d_kv as f64,
        );
        let layer = "encoder.block.0.layer.0.SelfAttention";
        let (q, k) = (format!("{layer}.q.weight"), format!("{layer}.k.weight"));
        near(moments(&encoder, &q), (width * d_kv).powf(-0.5), &q);
        near(moments(&encoder, &k), width.powf(-0.5), &k);
        let bias = format!("{layer}.relative_attention_bias.weight");
        let bias = encoder.iter().find(|tensor| tensor.name == bias).unwrap();
        let (half, heads) = (bias.shape[0] / 2, bias.shape[1]);
        assert_eq!(
            bias.values[heads], 4.0,
            "the first head sees the token before"
        );
        assert_eq!(
            bias.values[(half + 1) * heads + 1],
            4.0,
            "the second the one after"
        );

        let images = tensors(&model.vae, vae::NAMES);
        let name = "decoder.mid_block.resnets.0.conv1.weight";
        let kernel = images.iter().find(|tensor| tensor.name == name).unwrap();
        let fan_in: usize = kernel.shape[1..].iter().product();
        near(moments(&images, name), (fan_in as f64).powf(-0.5), name);
    }
}
