use burn::tensor::{Distribution, Tensor};

use super::*;
use crate::train::flow::{Batch, flow_losses};
use unireal::Role;
use unireal::internals::model::sequence::{InputFrame, TextStates};
use unireal::internals::model::text::TextEncoder;
use unireal::internals::model::tokens::batch_tokens;
use unireal::internals::model::transformer::Transformer;
use unireal::internals::model::vae::Autoencoder;
use unireal::internals::weights::quant::Encoding;

fn settings(folder: &Path) -> Settings {
    let shards = folder.join("shards").display().to_string();
    let json = format!(r#"{{"preset": "tiny", "data": ["{shards}"], "stages": []}}"#);
    serde_json::from_str(&json).unwrap()
}

/// Writes a pack of random weights, also in layers that are zero in a fresh model.
fn random_pack(config: &Config, folder: &Path) {
    let device = Device::flex();
    let random = |mut tensors: Vec<CpuTensor>| {
        for tensor in &mut tensors {
            let shape = [tensor.values.len()];
            let distribution = Distribution::Normal(0.0, 0.1);
            let noise = Tensor::<1>::random(shape, distribution, &device);
            tensor.values = noise.into_data().iter::<f32>().collect();
        }
        checkpoint::bytes(&tensors, None).unwrap()
    };
    let text = TextEncoder::new(&config.text_encoder, Encoding::F32, &device);
    let network = Transformer::new(&config.transformer, Encoding::F32, &device);
    let autoencoder = Autoencoder::new(&config.vae, Encoding::F32, &device);
    for (name, tensors) in [
        ("text_encoder", collect(&text, text::NAMES).unwrap()),
        (
            "transformer",
            collect(&network, transformer::NAMES).unwrap(),
        ),
        ("vae", collect(&autoencoder, vae::NAMES).unwrap()),
    ] {
        let path = folder.join(name).join("model-00001.safetensors");
        checkpoint::write(&path, &random(tensors)).unwrap();
    }
    let json = vocabulary::vocabulary(&["a red cube".into()], config.text_encoder.vocab_size);
    let path = folder.join("tokenizer/tokenizer.json");
    checkpoint::write(&path, json.unwrap().as_bytes()).unwrap();
    config.write(folder).unwrap();
}

/// Returns the loss of one fixed batch with the networks of a folder.
fn loss(folder: &Path) -> f32 {
    let device = Device::flex();
    device.seed(3);
    let config = Config::read(folder).unwrap();
    let module = |name| {
        float_weights::read(&folder.join(name))
            .unwrap()
            .into_values()
            .collect()
    };
    let text = TextEncoder::new(&config.text_encoder, Encoding::F32, &device);
    let text = checkpoint::filled(text, text::NAMES, module("text_encoder"), "", &device);
    let network = Transformer::new(&config.transformer, Encoding::F32, &device);
    let network = checkpoint::filled(
        network,
        transformer::NAMES,
        module("transformer"),
        "",
        &device,
    );
    let json = std::fs::read(folder.join("tokenizer/tokenizer.json")).unwrap();
    let tokens = Tokenizer::from_json(&json)
        .unwrap()
        .encode("a red cube")
        .unwrap();
    let (ids, image_refs, mask) = batch_tokens(&[&tokens], &config, &device);
    let latent = |_| {
        let shape = [1, config.vae.latent_channels, 4, 4];
        Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device)
    };
    let batch = Batch {
        text: TextStates {
            states: text.unwrap().forward(ids, mask.clone()),
            image_refs,
            mask,
        },
        inputs: vec![InputFrame {
            latent: latent(0),
            role: Role::Canvas,
        }],
        targets: vec![latent(1)],
        noise: vec![latent(2)],
        t: Tensor::from_floats([0.4], &device),
        weights: Vec::new(),
        target_mask: None,
    };
    let losses = flow_losses(&network.unwrap(), config.transformer.patch_size, &batch);
    losses.into_scalar::<f32>()
}

/// Returns the reconstruction of one fixed image by the autoencoder of a folder.
fn reconstruction(folder: &Path) -> Vec<f32> {
    let device = Device::flex();
    let config = Config::read(folder).unwrap();
    let autoencoder = Autoencoder::new(&config.vae, Encoding::F32, &device);
    let module = float_weights::read(&folder.join("vae"))
        .unwrap()
        .into_values()
        .collect();
    let autoencoder = checkpoint::filled(autoencoder, vae::NAMES, module, "", &device);
    let image: Vec<f32> = (0..3 * 16 * 16).map(|i| (i as f32 * 0.37).sin()).collect();
    let image = Tensor::<1>::from_floats(&image[..], &device).reshape([1, 3, 16, 16]);
    let autoencoder = autoencoder.unwrap();
    let result = autoencoder.decode(autoencoder.encode(image, None), None);
    result.into_data().iter::<f32>().collect()
}

#[test]
fn deeper_networks_compute_the_same_as_the_shallow_ones() {
    let folder = tempfile::tempdir().unwrap();
    let (from, run) = (folder.path().join("from"), folder.path().join("run"));
    let old = Config::preset("tiny").unwrap();
    random_pack(&old, &from);
    let mut config = old.clone();
    config.text_encoder.num_layers += 1;
    config.transformer.num_layers += 2;
    config.vae.layers_per_block += 1;
    grow(&from, &[], &run, config.clone(), &settings(folder.path())).unwrap();
    assert_eq!(Config::read(&run).unwrap(), config);
    let (before, after) = (loss(&from), loss(&run));
    assert!(
        (before - after).abs() < 1e-5 * before,
        "{before} and {after}"
    );
    let (before, after) = (reconstruction(&from), reconstruction(&run));
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }

    let assert_refused = |change: fn(&mut Config), networks: &[Network]| {
        let mut config = config.clone();
        change(&mut config);
        let error = grow(&from, networks, &run, config, &settings(folder.path())).unwrap_err();
        assert!(
            error.to_string().contains(
                "only depth, latent channels, the number of patches and vocabulary can grow"
            ),
            "{error}"
        );
    };
    assert_refused(|config| config.transformer.hidden_size = 384, &[]);
    // Fewer channels do not count as a smaller patch.
    let only = [Network::Transformer];
    assert_refused(|config| config.transformer.in_channels /= 4, &only);
}

#[test]
fn patch_layers_sum_inputs_and_average_outputs_over_cells() {
    let tensor = |name: &str, shape: &[usize]| CpuTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values: (0..shape.iter().product())
            .map(|i: usize| i as f32)
            .collect(),
    };
    let grown = |name, shape: &[usize], cells| {
        to_single_cell(name, &tensor(name, shape), cells).map(|tensor| tensor.values)
    };
    // Two channels of 2 x 2 cells.
    let sums = grown("patch_in.weight", &[2, 8], 4).unwrap();
    assert_eq!(sums, [6., 22., 38., 54.]);
    let means = grown("patch_out.weight", &[8, 2], 4).unwrap();
    assert_eq!(means, [3., 4., 11., 12.]);
    assert_eq!(grown("patch_out.bias", &[8], 4).unwrap(), [1.5, 5.5]);
    let same = grown("patch_in.weight", &[2, 2], 1).unwrap();
    assert_eq!(same, [0., 1., 2., 3.]);
    assert!(grown("mlp.0.weight", &[8, 8], 4).is_none());
}

#[test]
fn old_channels_keep_their_indices() {
    let tensor = |shape: &[usize], from: f32| CpuTensor {
        name: "a".into(),
        shape: shape.to_vec(),
        values: (0..shape.iter().product())
            .map(|i: usize| from + i as f32)
            .collect(),
    };
    let (old, new) = (tensor(&[2, 2], 1.0), tensor(&[4, 3], 10.0));
    let grown = copy_into(&old, new.clone(), 1).unwrap().values;
    assert_eq!(
        grown,
        [1., 2., 12., 3., 4., 15., 16., 17., 18., 19., 20., 21.]
    );
    let grown = copy_into(&old, new, 2).unwrap().values;
    assert_eq!(
        grown,
        [1., 2., 12., 13., 14., 15., 3., 4., 18., 19., 20., 21.]
    );
    assert!(copy_into(&tensor(&[2, 4], 0.0), tensor(&[4, 3], 0.0), 1).is_none());
}

#[test]
fn known_tokens_keep_their_rows_and_new_ones_get_the_mean_of_their_parts() {
    let json = vocabulary::vocabulary(&["red".into()], 200).unwrap();
    let old = Vocabularies {
        ids: serde_json::from_str::<TokenizerJson>(&json)
            .unwrap()
            .model
            .vocab,
        tokenizer: Tokenizer::from_json(json.as_bytes()).unwrap(),
        new: HashMap::from([("red".into(), 0), ("xy".into(), 1)]),
    };
    let tensor = |rows: usize| CpuTensor {
        name: TOKEN_EMBEDDING.into(),
        shape: vec![rows, 1],
        values: (0..rows).map(|i| i as f32).collect(),
    };
    let grown = old.embedding(&tensor(200), &tensor(3)).unwrap().values;
    let id = |token: &str| old.ids[token] as f32;
    assert_eq!(grown, [id("red"), (id("x") + id("y")) / 2.0, 2.0]);
}
