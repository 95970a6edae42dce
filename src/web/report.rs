//! Reports progress to the page: bytes of a load, timings of a generation.

use std::cell::{Cell, RefCell};

use js_sys::Function;
use wasm_bindgen::prelude::*;

use super::js::{now, object};
use crate::pipeline::Stage;
use crate::weights::load::Progress;

/// Milliseconds between two progress reports: about one frame.
const REPORT_EVERY: f64 = 16.0;

/// Passes progress to the page, at most about 60 times a second.
pub(super) struct Report {
    callback: Option<Function>,
    last: Cell<f64>,
    /// Whether all bytes since the last report came from the cache.
    cached: Cell<bool>,
}

impl Report {
    pub(super) fn new(callback: Option<Function>) -> Self {
        Report {
            callback,
            last: Cell::new(f64::NEG_INFINITY),
            cached: Cell::new(true),
        }
    }

    pub(super) fn add(&self, progress: Progress) {
        let Some(callback) = &self.callback else {
            return;
        };
        let cached = self.cached.get() && progress.cached;
        self.cached.set(cached);
        if now() < self.last.get() + REPORT_EVERY && progress.loaded < progress.total {
            return;
        }
        self.last.set(now());
        self.cached.set(true);
        let event = object(&[
            ("stage", "download".into()),
            ("loaded", (progress.loaded as f64).into()),
            ("total", (progress.total as f64).into()),
            ("cached", cached.into()),
        ]);
        // A page whose progress callback throws still gets its model.
        let _ = callback.call1(&JsValue::NULL, &event);
    }
}

/// The time at which each stage began.
#[derive(Default)]
pub(super) struct Clock(RefCell<Vec<(Stage, f64)>>);

impl Clock {
    pub(super) fn begin(&self, stage: Stage) {
        self.0.borrow_mut().push((stage, now()));
    }

    /// Returns `Timings` of `unireal.d.ts`: a stage lasts until the next one begins.
    pub(super) fn timings(&self, start: f64) -> JsValue {
        let (end, begun) = (now(), self.0.borrow());
        let lasted = |stage: Stage| {
            let place = begun.iter().position(|(begun, _)| *begun == stage);
            let lasted = place.map(|i| begun.get(i + 1).map_or(end, |next| next.1) - begun[i].1);
            JsValue::from(lasted.unwrap_or(0.0))
        };
        object(&[
            ("text", lasted(Stage::Text)),
            ("encode", lasted(Stage::Encode)),
            ("sample", lasted(Stage::Sample)),
            ("decode", lasted(Stage::Decode)),
            ("total", (end - start).into()),
        ])
        .into()
    }
}
