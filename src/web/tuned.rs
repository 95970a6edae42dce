//! Which tiles are the fastest on an adapter: measured once, and remembered in the origin's private file system.

use sha2::{Digest, Sha256};

use super::folder::{Folder, Thrown, directory, origin_folder};
use super::js;
use crate::gpu::device::Opened;
use crate::gpu::{f16_enabled, measure_tiles, use_tiles};
use crate::weights::quant::Encoding;
use crate::weights::source::hex;

/// The folder, with a file for each adapter, version of the browser and of this crate, which holds the tiles' name.
const FOLDER: &str = "unireal-adapters";

/// Longer than every name of tiles.
const LONGEST: u64 = 64;

/// Makes the shaders use the tiles that are the fastest on the adapter, for matrices in these quantised encodings. Where
/// `remember` is not set, or nothing can be kept, they are measured each time.
pub(super) async fn tune(opened: &Opened, quantized: &[Encoding], remember: bool) {
    if opened.kind == "cpu" {
        return;
    }
    let folder = if remember { folder().await.ok() } else { None };
    let form = if f16_enabled() { "f16" } else { "f32" };
    // Another version of the browser may compile otherwise.
    let browser = js::property(&js::property(&js_sys::global(), "navigator"), "userAgent");
    let of = format!(
        "{} {form} {} {}",
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
        // Without it, the next visit measures again.
        let _ = folder.put(&file, name.as_bytes()).await;
    }
}

async fn folder() -> Thrown<Folder> {
    let origin = origin_folder().await?;
    Folder::list(directory(&origin, FOLDER, true).await?).await
}
