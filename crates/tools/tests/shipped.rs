//! The shipped model: the effect of quantised weights on the final image, and its memory requirements.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use unireal::Device;
use unireal::Image;
use unireal::Pipeline;
use unireal::internals::weights::load::Plan;
use unireal::internals::weights::manifest::MAX_SHARD;
use unireal::internals::weights::quant::Encoding;
use unireal::{Request, Role};
use unireal_tabletop::Wording;
use unireal_tools::data::tabletop::{HELD_OUT, clip};
use unireal_tools::location::Location;
use unireal_tools::pack::{PackOptions, pack};

const SCENES: u64 = 4;

/// Returns one pack's results for fixed requests and seeds.
fn results(folder: &Path) -> Vec<Image> {
    pollster::block_on(async {
        let loader = Pipeline::from_dir(folder).device(Device::Cpu);
        let pipeline = loader.load().await.expect("a model");
        let size = pipeline.config.index.sample_size as u32;
        let mut images = Vec::new();
        for scene in 0..SCENES {
            let edits = clip(HELD_OUT + 1000 + scene, size, Wording::Training).edits;
            for edit in edits.into_iter().take(2) {
                let mut request = Request::new(&edit.texts[0]).frame(edit.before, Role::Canvas);
                request.seed = scene;
                // Without compositing, only the model's pixels are compared.
                request.composite = false;
                let result = pipeline.generate(&request).await;
                images.extend(result.expect("an image"));
            }
        }
        images
    })
}

fn decibels(a: &Image, b: &Image) -> f64 {
    let squares = a.rgb.iter().zip(&b.rgb);
    let squares: f64 = squares
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    let mean = squares / a.rgb.len() as f64;
    10.0 * (255f64.powi(2) / mean.max(1e-9)).log10()
}

/// Packs the shipped float weights in an encoding.
fn packed(folder: &Path, encoding: Encoding) -> PathBuf {
    let output = folder.join(encoding.to_string());
    pack(&PackOptions {
        input: "../../www/models/tabletop-f16".into(),
        output: output.clone(),
        encoding,
        text_encoder: None,
        transformer: None,
        vae: None,
        partial: false,
        shard_bytes: MAX_SHARD,
    })
    .expect("a pack");
    output
}

/// PSNR of each image against f32 weights: q8 at least 35 dB, q4 at least 25 dB.
#[test]
fn quantised_weights_give_nearly_the_same_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let float = results(&packed(folder.path(), Encoding::F32));
    for (encoding, min_db) in [(Encoding::Q8, 35.0), (Encoding::Q4, 25.0)] {
        let quantised = results(&packed(folder.path(), encoding));
        assert_eq!(float.len(), quantised.len());
        for (a, b) in float.iter().zip(&quantised) {
            let found = decibels(a, b);
            println!("{encoding}: {found:.1} dB");
            assert!(
                found >= min_db,
                "{encoding}: {found:.1} dB, expected at least {min_db}"
            );
        }
    }
}

/// The pack in `www/models/tabletop` is the float weights beside it, quantised to q8.
#[test]
fn the_shipped_pack_agrees_with_the_float_weights() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = results(&packed(folder.path(), Encoding::Q8));
    let shipped = results(Path::new("../../www/models/tabletop"));
    for (a, b) in packed.iter().zip(&shipped) {
        assert!(decibels(a, b) >= 40.0, "{:.1} dB", decibels(a, b));
    }
}

/// The memory requirements that `UniReal.check` reports agree with the tensors in the files.
#[test]
fn the_memory_estimate_agrees_with_the_weights() {
    for folder in ["../../www/models/tabletop", "../../www/models/tabletop-f16"] {
        let source = Location::folder(Path::new(folder));
        let plan = pollster::block_on(Plan::read(&source)).expect("a pack");
        let (mut largest, mut all) = (0, 0);
        for shard in plan.shards() {
            let bytes = std::fs::read(Path::new(folder).join(&shard.path)).expect("a shard");
            let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
            for (name, view) in tensors.iter() {
                // Floats become f32 on the device; packed integers and scales keep their types.
                let half = view.dtype() == Dtype::F16 && !name.ends_with(".scales");
                let size = view.data().len() as u64 * if half { 2 } else { 1 };
                (largest, all) = (largest.max(size), all + size);
            }
        }
        let needs = plan.needs();
        assert_eq!(needs.largest, largest, "{folder}");
        // The estimate includes a component's headers, and counts floats beside quantised matrices at their stored size.
        let error = needs.weights.abs_diff(all) as f64 / all as f64;
        assert!(
            error < 0.2,
            "{folder}: {} estimated, {all} found",
            needs.weights
        );
    }
}
