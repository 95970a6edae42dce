//! The little of the browser that is needed, declared by hand.
//!
//! `web-sys` has most of it, but each of its features is shared by the whole build, and it lacks
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

    /// Ends the request that carries its signal.
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

    /// `FileSystemSyncAccessHandle`. Reads and writes go straight from and to wasm's memory.
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

/// A plain object of these properties.
pub(super) fn object(properties: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in properties {
        // A fresh plain object takes every property.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

/// A property, `undefined` where it is missing or its holder is no object.
pub(super) fn property(holder: &JsValue, name: &str) -> JsValue {
    Reflect::get(holder, &name.into()).unwrap_or(JsValue::UNDEFINED)
}

/// The message of something that was thrown.
pub(super) fn message(thrown: &JsValue) -> String {
    let text = property(thrown, "message").as_string();
    text.or_else(|| thrown.as_string())
        .unwrap_or_else(|| format!("{thrown:?}"))
}

/// The name of a thrown `DOMException` or error, empty for anything else.
pub(super) fn name(thrown: &JsValue) -> String {
    property(thrown, "name").as_string().unwrap_or_default()
}

/// An error as the worker passes it on: `{ code, message }`.
pub(super) fn thrown(error: Error) -> JsValue {
    object(&[
        ("code", error.code().into()),
        ("message", error.to_string().into()),
    ])
    .into()
}

/// A value as a plain object, numbers as numbers and what is missing as null.
pub(super) fn plain(value: &impl serde::Serialize) -> Result<JsValue> {
    value
        .serialize(&serde_wasm_bindgen::Serializer::json_compatible())
        .map_err(|e| Error::Internal(format!("an answer cannot be passed on: {e}")))
}

/// The SHA-256 of bytes by `crypto.subtle`, which takes a copy of them; `None` where a page has no such thing.
pub(super) async fn digest(bytes: &[u8]) -> Option<[u8; 32]> {
    let subtle = property(&property(&js_sys::global(), "crypto"), "subtle");
    let digest: Function = property(&subtle, "digest").dyn_into().ok()?;
    // SAFETY: the view ends before wasm's memory could grow or `bytes` be dropped: the call copies what it shows.
    let promise = unsafe {
        let view = Uint8Array::view(bytes);
        digest.call2(&subtle, &"SHA-256".into(), &view).ok()?
    };
    let buffer = JsFuture::from(Promise::resolve(&promise)).await.ok()?;
    Uint8Array::new(&buffer).to_vec().try_into().ok()
}
