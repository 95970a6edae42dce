//! `unireal data encode`: writes the latents and prompts of shards for other trainers, such as `scripts/gpu/train_flow.py`.
//!
//! A shard `NAME.tar` becomes two files. `NAME-HASH.f16` holds the latents of its distinct frames: little-endian 16-bit floats of shape
//! `[c, y, x]`. `NAME-HASH.json` lists its samples with kind, prompts, roles and frames; a frame is its hash, `[rows, columns]` and byte
//! offset in the first file, which is null if an earlier shard of the same call holds it.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;

use super::data::Encoder;
use crate::data::shard;
use crate::float_weights;
use unireal::internals::config::Config;
use unireal::internals::cpu::gemm::engine;
use unireal::internals::model::vae::{self, Autoencoder};
use unireal::internals::weights::quant::Encoding;
use unireal::{Error, Result};

/// Options of `unireal data encode`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Shards, or folders of shards
    #[arg(required = true, value_name = "DIR|FILE")]
    pub shards: Vec<PathBuf>,
    /// Folder of a pack or a training run, whose autoencoder is used
    #[arg(long, value_name = "DIR")]
    pub pack: PathBuf,
    /// Side in pixels of the square whose area the encoded frames have
    #[arg(long, value_name = "PX", default_value_t = 64)]
    pub size: u32,
    /// Output folder
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Encodes the shards one after another on one core. Skips files that are up to date.
///
/// # Errors
/// [`Error::Request`] for a size that is no multiple of the model's grid, [`Error::Format`] for an unreadable shard or pack.
pub fn run(options: &Options) -> Result<()> {
    let device = Device::flex();
    let precision = engine::choose(None, true);
    let _precision = engine::scoped(precision);
    let mut encoder = open(options, &device)?;
    let never = AtomicBool::new(false);
    let (mut shards, mut samples) = (0, 0);
    for path in shard::find(&options.shards)? {
        let entries = encoder.encode_shard(&path, &never)?.unwrap_or_default();
        shards += 1;
        samples += entries.len();
    }
    let folder = options.out.display();
    say!("{samples} samples of {shards} shards in {folder}");
    Ok(())
}

/// Creates an encoder with the autoencoder of the options.
fn open(options: &Options, device: &Device) -> Result<Encoder> {
    let config = Config::read(&options.pack)?;
    let grid = config.grid() as u32;
    if options.size == 0 || !options.size.is_multiple_of(grid) {
        let size = options.size;
        return Err(Error::Request(format!(
            "--size: {size}, expected a multiple of {grid}"
        )));
    }
    let autoencoder = Autoencoder::new(&config.vae, Encoding::F32, device);
    let weights: &Path = &options.pack.join("vae");
    let autoencoder = float_weights::load(autoencoder, vae::NAMES, weights, device)?;
    let folder = options.out.clone();
    Ok(Encoder::new(
        autoencoder,
        &config,
        folder,
        options.size,
        device,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shard::Writer;
    use crate::data::{Kind, Sample};
    use unireal::Image;
    use unireal::Role;

    fn options(shards: &Path, size: u32, out: &Path) -> Options {
        Options {
            shards: vec![shards.to_owned()],
            pack: "../../www/models/tabletop".into(),
            size,
            out: out.to_owned(),
        }
    }

    #[test]
    fn encoded_files_hold_every_distinct_frame_and_every_prompt() {
        let folder = tempfile::tempdir().unwrap();
        let (shards, out) = (folder.path().join("shards"), folder.path().join("out"));
        std::fs::create_dir(&shards).unwrap();
        let image = |level| Image::from_rgb(32, 32, vec![level; 3 * 32 * 32]).unwrap();
        let sample = |prompt: &str, output: u8| Sample {
            kind: Kind::Edit,
            variant: "light".into(),
            prompts: vec![prompt.into()],
            context: Vec::new(),
            inputs: vec![(image(50), Role::Canvas)],
            outputs: vec![image(output)],
            changed: None,
            source: serde_json::json!({}),
        };
        let mut writer = Writer::create(&shards, "part", 9).unwrap();
        for (key, prompt, output) in [("a", "darker", 20), ("b", "brighter", 90)] {
            writer.write(key, &sample(prompt, output)).unwrap();
        }
        writer.close(None).unwrap();
        run(&options(&shards, 32, &out)).unwrap();
        let file = |ending: &str| {
            let mut files = std::fs::read_dir(&out).unwrap().map(|f| f.unwrap().path());
            files
                .find(|path| path.extension().is_some_and(|e| e == ending))
                .unwrap()
        };
        let channels = Config::read(Path::new("../../www/models/tabletop"))
            .unwrap()
            .vae
            .latent_channels;
        // Three distinct frames of 4 x 4 cells: both samples share the canvas.
        let frame = 2 * channels * 4 * 4;
        assert_eq!(std::fs::read(file("f16")).unwrap().len(), 3 * frame);
        let index: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file("json")).unwrap()).unwrap();
        let samples = index["samples"].as_array().unwrap();
        let prompts: Vec<&str> = samples
            .iter()
            .filter_map(|s| s["prompts"][0].as_str())
            .collect();
        assert_eq!(prompts, ["darker", "brighter"]);
        assert_eq!(samples[0]["inputs"][0], samples[1]["inputs"][0]);
        assert_eq!(samples[1]["outputs"][0][1], serde_json::json!([4, 4]));
        assert_eq!(samples[1]["changed"], "1111111111111111");
    }

    #[test]
    fn a_size_off_the_grid_is_refused() {
        let error = run(&options(Path::new("."), 12, Path::new("."))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("--size: 12, expected a multiple of 8")
        );
    }
}
