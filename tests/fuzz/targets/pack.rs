//! Malformed index or shard bytes: the loader returns a typed error or a valid model. The first byte selects which of the two
//! files the rest replaces; a shard's length and hash are put into the index, so that its bytes reach the parser.
#![no_main]

#[path = "../../pack/mod.rs"]
mod pack;

use std::sync::OnceLock;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use unireal::Error;
use unireal::internals::weights::load::Plan;
use unireal::internals::weights::manifest::MAX_SHARD;
use unireal::internals::weights::quant::Encoding;

const INDEX: &str = "transformer/model.safetensors.index.json";
const SHARD: &str = "transformer/model-00001.safetensors";

fn good() -> &'static pack::Memory {
    static PACK: OnceLock<pack::Memory> = OnceLock::new();
    PACK.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        pack::checkpoint(&pack::small(), &input);
        pack::packed(&input, &output, Encoding::Q8, MAX_SHARD).expect("a pack");
        pack::Memory::read(&output)
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let mut pack = good().clone();
    if first % 2 == 0 {
        pack.files.insert(INDEX.to_owned(), bytes.to_vec());
    } else {
        let mut index: serde_json::Value =
            serde_json::from_slice(&pack.files[INDEX]).expect("the good index");
        let hash: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        index["metadata"]["shards"]["model-00001.safetensors"] =
            serde_json::json!({ "length": bytes.len(), "sha256": hash });
        pack.files.insert(INDEX.to_owned(), serde_json::to_vec(&index).expect("JSON"));
        pack.files.insert(SHARD.to_owned(), bytes.to_vec());
    }
    let result = pollster::block_on(async {
        let plan = Plan::read(&pack).await?;
        plan.load(&pack, &Device::flex(), &mut |_| {}).await.map(|_| ())
    });
    if let Err(Error::Internal(reason)) = result {
        panic!("a defect: {reason}");
    }
});
