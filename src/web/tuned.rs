//! Measures the fastest tiles on an adapter once, and remembers them in the origin's private file system.

use sha2::{Digest, Sha256};

use super::folder::{Folder, Thrown, directory, origin_folder};
use super::js;
use crate::gpu::device::Opened;
use crate::gpu::{f16_enabled, measure_tiles, use_tiles};
use crate::weights::quant::Encoding;
use crate::weights::source::hex;

/// The folder with a file for each adapter, browser version and crate version, which holds the name of the tiles.
const FOLDER: &str = "unireal-adapters";

/// Upper limit for the length of a tile name in bytes.
const LONGEST: u64 = 64;

/// Makes the shaders use the fastest tiles on the adapter for matrices in these quantised encodings. Measures them each
/// time if `remember` is not set or nothing can be stored.
pub(super) async fn tune(opened: &Opened, quantized: &[Encoding], remember: bool) {
    if opened.kind == "cpu" {
        return;
    }
    let folder = if remember { folder().await.ok() } else { None };
    let precision = if f16_enabled(&opened.device) {
        "f16"
    } else {
        "f32"
    };
    // Another browser version may compile shaders differently.
    let browser = js::property(&js::property(&js_sys::global(), "navigator"), "userAgent");
    let of = format!(
        "{} {precision} {} {}",
        env!("CARGO_PKG_VERSION"),
        opened.adapter,
        browser.as_string().unwrap_or_default()
    );
    let file = hex(&Sha256::digest(of.as_bytes())[..16]);
    if let Some(folder) = &folder
        && let Some(name) = folder.get(&file, LONGEST).await
        && let Ok(name) = str::from_utf8(&name)
        && use_tiles(&opened.device, name)
    {
        return;
    }
    let fastest = measure_tiles(&opened.device, quantized, js::now).await;
    if let (Some(folder), Some(name)) = (folder, fastest) {
        // If this fails, the next visit measures again.
        let _ = folder.put(&file, name.as_bytes()).await;
    }
}

async fn folder() -> Thrown<Folder> {
    let origin = origin_folder().await?;
    Folder::list(directory(&origin, FOLDER, true).await?).await
}
