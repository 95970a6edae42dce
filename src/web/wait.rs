//! Timers and cancellation as futures that clean up after themselves.
//!
//! A promise that never settles keeps its callbacks for ever. Timers and abort listeners are therefore futures, which
//! remove their timer or listener on drop.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::{Either, select};
use js_sys::Function;
use wasm_bindgen::prelude::*;
use web_sys::AbortSignal;

use crate::error::{Error, Result};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, milliseconds: u32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// A flag that a JavaScript callback sets once, and that wakes the waiting task.
#[derive(Default)]
struct Flag {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Flag {
    /// Returns the flag and the callback that sets it.
    fn with_callback() -> (Rc<Flag>, Closure<dyn FnMut()>) {
        let flag = Rc::new(Flag::default());
        let callback = Closure::new({
            let flag = flag.clone();
            move || {
                flag.set.set(true);
                let waker = flag.waker.borrow_mut().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        });
        (flag, callback)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.set.get() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

struct Sleep {
    flag: Rc<Flag>,
    timer: JsValue,
    _callback: Closure<dyn FnMut()>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.flag.poll(context)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        clear_timeout(&self.timer);
    }
}

/// Completes after `milliseconds`.
pub fn sleep(milliseconds: u32) -> impl Future<Output = ()> {
    let (flag, callback) = Flag::with_callback();
    let timer = set_timeout(callback.as_ref().unchecked_ref(), milliseconds);
    Sleep {
        flag,
        timer,
        _callback: callback,
    }
}

/// Yields to the event loop once, which delivers messages to the worker.
pub async fn turn() {
    sleep(0).await;
}

/// Returns the future's result, or `None` if it takes longer than `milliseconds`; the future is then dropped.
pub async fn within<T>(milliseconds: u32, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sleep(milliseconds))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

struct Abort<'a> {
    signal: &'a AbortSignal,
    flag: Rc<Flag>,
    callback: Closure<dyn FnMut()>,
}

impl Future for Abort<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.signal.aborted() {
            return Poll::Ready(());
        }
        self.flag.poll(context)
    }
}

impl Drop for Abort<'_> {
    fn drop(&mut self) {
        let callback = self.callback.as_ref().unchecked_ref();
        let _ = self
            .signal
            .remove_event_listener_with_callback("abort", callback);
    }
}

/// Returns the future's result, or [`Error::Aborted`] as soon as the signal aborts; the future is then dropped.
///
/// # Errors
/// [`Error::Aborted`], or the error of the future.
pub async fn or_abort<T>(
    signal: Option<&AbortSignal>,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(signal) = signal else {
        return future.await;
    };
    let (flag, callback) = Flag::with_callback();
    // Only a signal of a destroyed context refuses a listener; every poll still checks the signal.
    let _ = signal.add_event_listener_with_callback("abort", callback.as_ref().unchecked_ref());
    let abort = Abort {
        signal,
        flag,
        callback,
    };
    // Polls the abort first, so that it also ends a future that never yields to the event loop.
    match select(pin!(abort), pin!(future)).await {
        Either::Left(_) => Err(Error::Aborted),
        Either::Right((result, _)) => result,
    }
}
