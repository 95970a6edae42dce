//! Opens WebGPU in a browser, about which wgpu knows less than natively.

use js_sys::{Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::js::{message, property};
use crate::error::{Error, Result};
use crate::gpu::device::{Choice, Opened, Platform, open_on};
use crate::weights::quant::Encoding;

/// Opens the device of `choice` in this browser; see [`open_on`].
///
/// # Errors
/// As [`open_on`].
pub async fn open(choice: Choice, quantized: &[Encoding]) -> Result<Opened> {
    open_on(choice, quantized, &Browser).await
}

struct Browser;

impl Platform for Browser {
    /// Requests an adapter, since wgpu panics without `navigator.gpu`, and returns the browser's description of it.
    async fn adapter(&self) -> Result<String> {
        let info = property(&adapter().await?, "info");
        let text = |key| property(&info, key).as_string().unwrap_or_default();
        let parts = ["vendor", "architecture", "description"].map(text);
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(parts.join(" "))
    }

    /// Reads what `www/subgroups.js` has set, which requests subgroups: wgpu does not know that a browser may have them.
    fn subgroups(&self, _: bool) -> bool {
        property(&js_sys::global(), "unirealSubgroups").is_truthy()
    }
}

/// Requests the browser's adapter.
///
/// # Errors
/// [`Error::Unsupported`] without WebGPU or an adapter.
pub(super) async fn adapter() -> Result<JsValue> {
    let unsupported = |what: &str| Error::Unsupported(what.to_owned());
    let gpu = property(&property(&js_sys::global(), "navigator"), "gpu");
    if !gpu.is_truthy() {
        // Browsers hide it from pages without https.
        let what = "this browser has no WebGPU, or not for this page (navigator.gpu)";
        return Err(unsupported(what));
    }
    let request: Function = property(&gpu, "requestAdapter")
        .dyn_into()
        .map_err(|_| unsupported("this browser's WebGPU has no requestAdapter"))?;
    let refused = |e: JsValue| unsupported(&format!("WebGPU refused an adapter: {}", message(&e)));
    let promise = request.call0(&gpu).map_err(refused)?;
    let adapter = JsFuture::from(Promise::resolve(&promise)).await;
    let adapter = adapter.map_err(refused)?;
    if adapter.is_truthy() {
        Ok(adapter)
    } else {
        Err(unsupported("WebGPU has no adapter for this computer"))
    }
}
