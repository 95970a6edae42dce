//! Packs: weights survive a round trip, malformed bytes give typed errors, and at most three shards are in memory.

#[path = "../../../tests/pack/mod.rs"]
mod pack;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use pack::{Memory, checkpoint, packed, small, tensors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use unireal::internals::model::{Model, text, transformer, vae};
use unireal::internals::weights::load::{Plan, Progress};
use unireal::internals::weights::manifest::{MAX_SHARD, Shard};
use unireal::internals::weights::module::CpuTensor;
use unireal::internals::weights::quant::Encoding;
use unireal::internals::weights::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};
use unireal::{Error, Result};
use unireal_tools::location::Location;
use unireal_tools::pack::{InspectOptions, inspect};

fn load(source: &impl ShardSource) -> Result<Model> {
    pollster::block_on(async {
        let plan = Plan::read(source).await?;
        plan.load(source, &Device::flex(), &mut |_| {}).await
    })
}

/// Returns the float parameters of all networks, by component and name.
fn parameters(model: &Model) -> BTreeMap<String, CpuTensor> {
    let named = |component: &'static str, all: Vec<CpuTensor>| {
        all.into_iter()
            .map(move |t| (format!("{component}/{}", t.name), t))
    };
    named("text_encoder", tensors(&model.text, text::NAMES))
        .chain(named(
            "transformer",
            tensors(&model.transformer, transformer::NAMES),
        ))
        .chain(named("vae", tensors(&model.vae, vae::NAMES)))
        .collect()
}

#[test]
fn what_is_packed_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let before = checkpoint(&small(), &input);
    for encoding in [Encoding::F32, Encoding::F16, Encoding::Q8, Encoding::Q4] {
        packed(&input, &output, encoding, MAX_SHARD).expect("a pack");
        let after = parameters(&load(&Location::folder(&output)).expect("a model"));
        let mut quantised = 0;
        for (name, tensor) in &before {
            let Some(found) = after.get(name) else {
                quantised += 1;
                assert!(
                    encoding.quantizes(tensor.shape[1]),
                    "{encoding}: {name} is gone"
                );
                continue;
            };
            assert_eq!(found.shape, tensor.shape, "{encoding}: {name}");
            for (a, b) in found.values.iter().zip(&tensor.values) {
                let allowed = if encoding == Encoding::F32 {
                    0.0
                } else {
                    b.abs() * 5e-4 + 1e-7
                };
                assert!(
                    (a - b).abs() <= allowed,
                    "{encoding}: {name} has {a}, was {b}"
                );
            }
        }
        assert_eq!(
            quantised > 0,
            matches!(encoding, Encoding::Q8 | Encoding::Q4)
        );
        let report = inspect(&InspectOptions {
            pack: output.clone(),
            json: false,
        });
        assert_eq!(
            report.expect("a sound pack").components["transformer"].encoding,
            encoding
        );
    }
}

#[test]
fn large_tensors_are_split_by_rows_and_joined_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let before = checkpoint(&unireal::internals::config::Config::tiny(), &input);
    packed(&input, &output, Encoding::F32, 128 << 10).expect("a pack");
    let source = Location::folder(&output);
    let plan = pollster::block_on(Plan::read(&source)).expect("a plan");
    assert!(
        plan.manifests[1].shards.len() >= 10,
        "{}",
        plan.manifests[1].shards.len()
    );
    assert!(
        plan.manifests[1]
            .tensors
            .keys()
            .any(|name| name.contains(".rows."))
    );
    assert!(plan.shards().all(|shard| shard.length <= 128 << 10));
    assert_eq!(parameters(&load(&source).expect("a model")), before);
}

/// A source that counts the shards in flight: from the request for a shard until the loader has finished with it.
struct Counting {
    pack: Memory,
    out: Cell<usize>,
    most: Cell<usize>,
    kept: Cell<usize>,
}

impl ShardSource for Counting {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        self.pack.file(path, limit).await
    }

    async fn shard(
        &self,
        shard: &Shard,
        origin: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        self.out.set(self.out.get() + 1);
        self.most.set(self.most.get().max(self.out.get()));
        self.pack.shard(shard, origin, arrived).await
    }

    async fn cache(&self, _: &VerifiedShard) {
        self.kept.set(self.kept.get() + 1);
        self.out.set(self.out.get() - 1);
    }
}

#[test]
fn at_most_three_shards_are_held_and_progress_is_honest() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    checkpoint(&unireal::internals::config::Config::tiny(), &input);
    packed(&input, &output, Encoding::Q8, 128 << 10).expect("a pack");
    let source = Counting {
        pack: Memory::read(&output),
        out: Cell::new(0),
        most: Cell::new(0),
        kept: Cell::new(0),
    };
    let mut events: Vec<Progress> = Vec::new();
    let plan = pollster::block_on(Plan::read(&source)).expect("a plan");
    pollster::block_on(plan.load(&source, &Device::flex(), &mut |p| events.push(p)))
        .expect("a model");
    assert!(source.kept.get() >= 10, "{} shards", source.kept.get());
    assert!(
        source.most.get() <= 3,
        "{} shards were held",
        source.most.get()
    );
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].loaded < pair[1].loaded)
    );
    assert!(events.iter().all(|event| event.total == plan.bytes()));
    assert_eq!(events.last().map(|event| event.loaded), Some(plan.bytes()));
}

/// Returns a small q8 pack in memory, and the path of its transformer's only shard.
fn pack_in_memory() -> (Memory, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    checkpoint(&small(), &input);
    packed(&input, &output, Encoding::Q8, MAX_SHARD).expect("a pack");
    (
        Memory::read(&output),
        "transformer/model-00001.safetensors".to_owned(),
    )
}

const INDEX: &str = "transformer/model.safetensors.index.json";

/// Replaces a shard and its length and hash in the index, so that only the parser can reject it.
fn replace_shard(pack: &mut Memory, path: &str, bytes: Vec<u8>) {
    let name = path.rsplit('/').next().expect("a name").to_owned();
    edit_index(pack, |index| {
        let entry = &mut index["metadata"]["shards"][&name];
        entry["length"] = bytes.len().into();
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        entry["sha256"] = hash.into();
    });
    pack.files.insert(path.to_owned(), bytes);
}

fn edit_index(pack: &mut Memory, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut index = serde_json::from_slice(&pack.files[INDEX]).expect("JSON");
    edit(&mut index);
    pack.files
        .insert(INDEX.to_owned(), serde_json::to_vec(&index).expect("JSON"));
}

#[track_caller]
fn refused(pack: &Memory, code: &str, words: &str) {
    let error = load(pack).expect_err("an error");
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn spoilt_shards_are_refused() {
    let (good, shard) = pack_in_memory();
    load(&good).expect("a sound pack");

    let mut pack = good.clone();
    pack.files.get_mut(&shard).expect("a shard").pop();
    refused(&pack, "integrity", "the index promises");

    let mut pack = good.clone();
    let bytes = pack.files.get_mut(&shard).expect("a shard");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    refused(&pack, "integrity", "SHA-256");

    let mut pack = good.clone();
    pack.files.remove(&shard);
    refused(&pack, "network", "404");

    let mut pack = good.clone();
    let other = pack.files["vae/model-00001.safetensors"].clone();
    pack.files.insert(shard.clone(), other);
    refused(&pack, "integrity", "the index promises");

    // The index itself lists another component's shard: its tensors are not those of the model.
    let mut pack = good.clone();
    let other = pack.files["vae/model-00001.safetensors"].clone();
    replace_shard(&mut pack, &shard, other);
    refused(&pack, "format", "the index does not place there");

    let mut pack = good.clone();
    replace_shard(
        &mut pack,
        &shard,
        b"<!doctype html><title>Sign in</title>".to_vec(),
    );
    refused(&pack, "format", "transformer/model-00001.safetensors");
}

#[test]
fn scales_that_are_not_finite_are_refused() {
    let (mut pack, shard) = pack_in_memory();
    let mut bytes = pack.files[&shard].clone();
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).expect("JSON");
    let (name, entry) = json
        .as_object()
        .expect("an object")
        .iter()
        .find(|(name, _)| name.ends_with(".scales"))
        .expect("scales");
    let at = 8 + header + entry["data_offsets"][0].as_u64().expect("an offset") as usize;
    bytes[at..at + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    let name = name.clone();
    replace_shard(&mut pack, &shard, bytes);
    refused(&pack, "format", &format!("{name} holds NaN"));
}

#[test]
fn wild_indexes_are_refused() {
    let (good, shard) = pack_in_memory();
    let name = shard.rsplit('/').next().expect("a name").to_owned();
    let wild = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut pack = good.clone();
        edit_index(&mut pack, edit);
        pack
    };
    for length in [0u64, MAX_SHARD + 1, u64::MAX] {
        let pack = wild(&|index| index["metadata"]["shards"][&name]["length"] = length.into());
        refused(&pack, "format", "a shard has 1 to");
    }
    let pack = wild(&|index| index["metadata"]["shards"][&name]["length"] = (-1).into());
    refused(&pack, "format", INDEX);
    let pack = wild(&|index| index["metadata"]["shards"][&name]["sha256"] = "AB".into());
    refused(&pack, "format", "hexadecimal");
    for path in [
        "../secret",
        "/etc/passwd",
        "a/b",
        "https://elsewhere",
        "",
        ".hidden",
    ] {
        let pack = wild(&|index| {
            let entry = index["metadata"]["shards"][&name].clone();
            index["metadata"]["shards"][path] = entry;
        });
        refused(&pack, "format", "plain file name");
    }
    let pack = wild(&|index| index["weight_map"]["patch_in.bias"] = "elsewhere.safetensors".into());
    refused(&pack, "format", "not among the metadata's shards");
    let pack = wild(&|index| index["weight_map"]["one_more"] = name.clone().into());
    refused(&pack, "format", "promises one_more");
    let pack = wild(&|index| index["metadata"]["encoding"] = "q3".into());
    refused(&pack, "format", "q3");
    let pack = wild(&|index| index["metadata"]["encoding"] = "f32".into());
    refused(&pack, "format", "packed");
    let pack = wild(&|index| index["metadata"]["shards"] = serde_json::json!({}));
    refused(&pack, "format", "lists 0 shards");
}

#[test]
fn wild_configurations_are_refused() {
    let (good, _) = pack_in_memory();
    let edits: [(&str, &str, serde_json::Value); 8] = [
        ("transformer/config.json", "hidden_size", 0.into()),
        ("transformer/config.json", "hidden_size", u64::MAX.into()),
        (
            "transformer/config.json",
            "num_layers",
            1_000_000_000.into(),
        ),
        ("transformer/config.json", "patch_size", 0.into()),
        (
            "vae/config.json",
            "block_out_channels",
            serde_json::json!([]),
        ),
        ("vae/config.json", "norm_num_groups", 0.into()),
        ("text_encoder/config.json", "vocab_size", 1.into()),
        ("text_encoder/config.json", "num_layers", (-3).into()),
    ];
    for (path, field, value) in edits {
        let mut pack = good.clone();
        let mut json: serde_json::Value = serde_json::from_slice(&pack.files[path]).expect("JSON");
        json[field] = value.clone();
        pack.files
            .insert(path.to_owned(), serde_json::to_vec(&json).expect("JSON"));
        let error = load(&pack)
            .err()
            .unwrap_or_else(|| panic!("{path} {field}={value} was taken"));
        assert_eq!(error.code(), "format", "{path} {field}={value}: {error}");
    }
    for path in good.files.keys() {
        let mut pack = good.clone();
        pack.files.insert(path.clone(), Vec::new());
        let code = load(&pack).err().map(|error| error.code());
        assert!(
            matches!(code, Some("format" | "integrity")),
            "{path} of zero bytes: {code:?}"
        );
    }
}

/// After random changes to the index or the shard, loading returns a typed error or a valid model, and never panics. Every run
/// prints its random seed, to reproduce failures.
#[test]
fn random_damage_never_panics() {
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64);
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (good, shard) = pack_in_memory();
    let header = 8 + u64::from_le_bytes(good.files[&shard][..8].try_into().expect("8 bytes"));
    let mut refusals = 0;
    for round in 0..600 {
        let mut pack = good.clone();
        if round % 2 == 0 {
            damage(
                pack.files.get_mut(INDEX).expect("an index"),
                usize::MAX,
                &mut rng,
            );
        } else {
            let mut bytes = pack.files[&shard].clone();
            // Most of a shard is weights; only its header can be malformed.
            damage(&mut bytes, header as usize, &mut rng);
            replace_shard(&mut pack, &shard, bytes);
        }
        match load(&pack) {
            Ok(_) => {}
            Err(Error::Internal(reason)) => panic!("a defect: {reason}"),
            Err(_) => refusals += 1,
        }
    }
    assert!(refusals > 300, "only {refusals} of 600 were refused");
}

/// Applies random bit flips, truncations, repetitions and replaced numbers within the first `reach` bytes.
fn damage(bytes: &mut Vec<u8>, reach: usize, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..6) {
        let end = bytes.len().min(reach);
        if end < 2 {
            return;
        }
        let at = rng.random_range(0..end);
        match rng.random_range(0..5) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => {
                bytes[at] = *b"0123456789{}[]\",:-.e"
                    .get(rng.random_range(0..20))
                    .unwrap_or(&b'0')
            }
            2 => {
                bytes.truncate(at);
            }
            3 => {
                let from = rng.random_range(0..end);
                let piece: Vec<u8> = bytes[from..end.min(from + 16)].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                if let Some(digit) = bytes[at..end].iter().position(u8::is_ascii_digit) {
                    let wild = ["-1", "0", "4294967296", "18446744073709551615", "1e99"];
                    let wild = wild[rng.random_range(0..wild.len())];
                    bytes.splice(at + digit..=at + digit, wild.bytes());
                }
            }
        }
    }
}

/// `golden/quant.py` is an independent numpy implementation: packed integers, scales and values are bit-identical.
#[test]
fn numpy_reads_and_writes_the_same_encodings() {
    let bytes = std::fs::read("../../tests/golden/quant.safetensors").expect("the fixture");
    let fixture = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let data = |name: String| fixture.tensor(&name).expect("a tensor").data().to_vec();
    let floats = |name: String| -> Vec<f32> {
        let words = data(name).as_chunks::<4>().0.to_vec();
        words.into_iter().map(f32::from_le_bytes).collect()
    };
    for encoding in [Encoding::Q8, Encoding::Q4] {
        let weights = floats(format!("{encoding}.weight"));
        let packed = data(format!("{encoding}.packed"))
            .as_chunks::<4>()
            .0
            .to_vec();
        let scales = data(format!("{encoding}.scales"))
            .as_chunks::<2>()
            .0
            .to_vec();
        let quantized = encoding.quantize(&weights);
        let words: Vec<u32> = packed.into_iter().map(u32::from_le_bytes).collect();
        assert_eq!(quantized.packed, words, "{encoding}: words");
        let scales: Vec<half::f16> = scales.into_iter().map(half::f16::from_le_bytes).collect();
        assert_eq!(quantized.scales, scales, "{encoding}: scales");
        let values = floats(format!("{encoding}.values"));
        assert_eq!(
            encoding.dequantize(&quantized),
            values,
            "{encoding}: values"
        );
    }
}
