//! Hand-written bindings of the browser APIs that are needed.
//!
//! `web-sys` has most of them, but each of its features is shared by the whole build, and it lacks
//! `FileSystemFileHandle.move` and the modes of access handles.

use js_sys::{Function, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::AbortSignal;

use crate::error::{Error, Result};

#[wasm_bindgen]
extern "C" {
    /// `fetch`.
    #[wasm_bindgen(catch)]
    pub(super) fn fetch(url: &str, init: &Object) -> std::result::Result<Promise, JsValue>;

    /// Aborts the request that carries its signal.
    pub(super) type AbortController;
    #[wasm_bindgen(constructor)]
    pub(super) fn new() -> AbortController;
    #[wasm_bindgen(method, getter)]
    pub(super) fn signal(this: &AbortController) -> AbortSignal;
    #[wasm_bindgen(method)]
    pub(super) fn abort(this: &AbortController);

    /// `FileSystemDirectoryHandle`.
    #[derive(Clone, Debug)]
    pub(super) type Directory;
    #[wasm_bindgen(method, catch, js_name = getDirectoryHandle)]
    pub(super) fn directory(
        this: &Directory,
        name: &str,
        options: &Object,
    ) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getFileHandle)]
    pub(super) fn file(
        this: &Directory,
        name: &str,
        options: &Object,
    ) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = removeEntry)]
    pub(super) fn remove(
        this: &Directory,
        name: &str,
        options: &Object,
    ) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn keys(this: &Directory) -> std::result::Result<js_sys::AsyncIterator, JsValue>;

    /// `FileSystemFileHandle`.
    #[derive(Clone, Debug)]
    pub(super) type File;
    #[wasm_bindgen(method, catch, js_name = createSyncAccessHandle)]
    pub(super) fn open(this: &File, options: &Object) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = move)]
    pub(super) fn rename(this: &File, name: &str) -> std::result::Result<Promise, JsValue>;

    /// `FileSystemSyncAccessHandle`. Reads into and writes from wasm's memory directly.
    #[derive(Clone, Debug)]
    pub(super) type Access;
    #[wasm_bindgen(method, catch, js_name = getSize)]
    pub(super) fn size(this: &Access) -> std::result::Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn read(
        this: &Access,
        buffer: &mut [u8],
        options: &Object,
    ) -> std::result::Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn write(
        this: &Access,
        buffer: &[u8],
        options: &Object,
    ) -> std::result::Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn truncate(this: &Access, size: f64) -> std::result::Result<(), JsValue>;
    #[wasm_bindgen(method)]
    pub(super) fn close(this: &Access);

    #[wasm_bindgen(js_namespace = performance)]
    pub(super) fn now() -> f64;
}

/// Creates a plain object with these properties.
pub(super) fn object(properties: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in properties {
        // Setting a property of a new plain object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

/// Returns a property, or `undefined` if it is missing or `holder` is not an object.
pub(super) fn property(holder: &JsValue, name: &str) -> JsValue {
    Reflect::get(holder, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// Returns the message of a thrown value.
pub(super) fn message(thrown: &JsValue) -> String {
    let text = property(thrown, "message").as_string();
    text.or_else(|| thrown.as_string())
        .unwrap_or_else(|| format!("{thrown:?}"))
}

/// Returns the name of a thrown `DOMException` or error, or an empty string for anything else.
pub(super) fn name(thrown: &JsValue) -> String {
    property(thrown, "name").as_string().unwrap_or_default()
}

/// Converts an error to the object that the worker passes on: `{ code, message }`.
pub(super) fn thrown(error: Error) -> JsValue {
    object(&[
        ("code", error.code().into()),
        ("message", error.to_string().into()),
    ])
    .into()
}

/// Serialises a value to a plain object, with numbers as numbers and `None` as null.
pub(super) fn plain(value: &impl serde::Serialize) -> Result<JsValue> {
    value
        .serialize(&serde_wasm_bindgen::Serializer::json_compatible())
        .map_err(|e| Error::Internal(format!("an answer cannot be passed on: {e}")))
}

/// Computes SHA-256 with `crypto.subtle`, which copies the bytes. Returns `None` if the page does not have it.
pub(super) async fn digest(bytes: &[u8]) -> Option<[u8; 32]> {
    let subtle = property(&property(&js_sys::global(), "crypto"), "subtle");
    let digest: Function = property(&subtle, "digest").dyn_into().ok()?;
    // SAFETY: the view ends before wasm's memory can grow or `bytes` can be dropped, because the call copies its bytes.
    let promise = unsafe {
        let view = Uint8Array::view(bytes);
        digest.call2(&subtle, &"SHA-256".into(), &view).ok()?
    };
    let buffer = JsFuture::from(Promise::resolve(&promise)).await.ok()?;
    Uint8Array::new(&buffer).to_vec().try_into().ok()
}
