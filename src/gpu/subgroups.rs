//! Enables subgroups in a browser. wgpu 30 does not know that a browser may offer them, so it does not request them; this module
//! adds the feature to its request.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise};

const FEATURE: &str = "subgroups";
const ADAPTER: &str = "requestAdapter";

/// While this value lives, devices of an adapter that supports subgroups are requested with them.
pub(super) struct Request {
    given: Rc<Cell<bool>>,
    gpu: Option<JsValue>,
}

impl Request {
    /// Starts to intercept requests. If the function cannot be replaced, devices have no subgroups.
    pub(super) fn completed() -> Self {
        let given = Rc::new(Cell::new(false));
        let gpu = replace_request(given.clone()).ok();
        Request { given, gpu }
    }

    /// Returns whether a device was requested with subgroups.
    pub(super) fn given(&self) -> bool {
        self.given.get()
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Deleting the replacement uncovers the browser's own function on the prototype.
        if let Some(gpu) = self.gpu.as_ref().and_then(|gpu| gpu.dyn_ref::<Object>()) {
            let _ = Reflect::delete_property(gpu, &ADAPTER.into());
        }
    }
}

fn function(of: &JsValue, name: &str) -> Result<Function, JsValue> {
    Reflect::get(of, &name.into())?.dyn_into()
}

/// Replaces `navigator.gpu.requestAdapter` and returns `navigator.gpu`.
fn replace_request(given: Rc<Cell<bool>>) -> Result<JsValue, JsValue> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into())?;
    let gpu = Reflect::get(&navigator, &"gpu".into())?;
    let request = function(&gpu, ADAPTER)?;
    let holder = gpu.clone();
    let completed = move |options: JsValue| -> Promise {
        let answer = request.call1(&holder, &options);
        let given = given.clone();
        future_to_promise(async move {
            let adapter = JsFuture::from(Promise::resolve(&answer?)).await?;
            if has_them(&adapter) {
                replace_device_request(&adapter, given)?;
            }
            Ok(adapter)
        })
    };
    let completed = Closure::<dyn Fn(JsValue) -> Promise>::new(completed);
    Reflect::set(&gpu, &ADAPTER.into(), &completed.into_js_value())?;
    Ok(gpu)
}

fn has_them(adapter: &JsValue) -> bool {
    let has = || -> Result<JsValue, JsValue> {
        let features = Reflect::get(adapter, &"features".into())?;
        function(&features, "has")?.call1(&features, &FEATURE.into())
    };
    has().is_ok_and(|has| has.is_truthy())
}

fn replace_device_request(adapter: &JsValue, given: Rc<Cell<bool>>) -> Result<(), JsValue> {
    let request = function(adapter, "requestDevice")?;
    let holder = adapter.clone();
    let completed = move |descriptor: JsValue| -> Result<JsValue, JsValue> {
        // wgpu always passes a descriptor with a list of features.
        let listed = Reflect::get(&descriptor, &"requiredFeatures".into())?;
        let features: Array = listed.dyn_into()?;
        features.push(&FEATURE.into());
        given.set(true);
        request.call1(&holder, &descriptor)
    };
    let completed = Closure::<dyn Fn(JsValue) -> Result<JsValue, JsValue>>::new(completed);
    Reflect::set(adapter, &"requestDevice".into(), &completed.into_js_value())?;
    Ok(())
}
