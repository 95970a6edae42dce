//! A client for one static HTTP server: requests with retries, and responses that are read chunk by chunk.

use js_sys::{Object, Uint8Array};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Response};

use super::js::{AbortController, fetch, message, object, property};
use super::wait::{sleep, within};
use crate::error::{Error, Result};

/// Timeouts and retries of network requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Milliseconds without a byte after which a connection counts as cut.
    pub stall: u32,
    /// Number of retries without progress before the request fails.
    pub retries: u32,
    /// Milliseconds before the first retry; each further retry waits twice as long.
    pub backoff: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            stall: 30_000,
            retries: 4,
            backoff: 250,
        }
    }
}

/// The longest `Retry-After` that is accepted, in milliseconds; the request fails if the server asks for more.
const LONGEST_WAIT: f64 = 60_000.0;

/// Number of bytes that count as progress: a connection that brings this many resets the retry counter.
const WORTHWHILE: usize = 256 << 10;

/// The version of a file on the server, for `If-Range`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// A strong `ETag`.
    Etag(String),
    /// A `Last-Modified` date.
    LastModified(String),
}

/// A folder on a static HTTP server.
#[derive(Debug)]
pub(super) struct Server {
    folder: String,
    query: String,
    /// Whether the page has the same origin, so that all headers may be sent and read.
    pub(super) own_origin: bool,
    retry_policy: RetryPolicy,
}

/// The reason why a try failed.
pub(super) enum Failure {
    /// May be retried.
    Cut(String),
    /// May be retried after this number of milliseconds, as the server asks.
    Later(String, f64),
    /// May not be retried.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

pub(super) type Try<T> = std::result::Result<T, Failure>;

impl Server {
    pub(super) fn new(url: &str, retry_policy: RetryPolicy) -> Self {
        let (folder, query) = match url.split_once('?') {
            Some((folder, query)) => (folder, format!("?{query}")),
            None => (url, String::new()),
        };
        let origin = property(&property(&js_sys::global(), "location"), "origin").as_string();
        let own_origin = !folder.contains("://")
            || origin.is_some_and(|origin| {
                let rest = folder.strip_prefix(origin.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
        Server {
            folder: folder.trim_end_matches('/').to_owned(),
            query,
            own_origin,
            retry_policy,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}{}", self.folder, self.query)
    }

    pub(super) fn network(&self, path: &str, reason: impl Into<String>) -> Error {
        Error::Network {
            url: self.url(path),
            reason: reason.into(),
        }
    }

    /// Retries until the attempt succeeds, fails permanently or has failed too often. `progress` returns the number of
    /// bytes so far.
    pub(super) async fn persist<S, T>(
        &self,
        path: &str,
        state: &mut S,
        progress: impl Fn(&S) -> usize,
        mut attempt: impl AsyncFnMut(&mut S) -> Try<T>,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            let before = progress(state);
            let (reason, asked) = match attempt(state).await {
                Ok(result) => return Ok(result),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(reason)) => (reason, 0.0),
                Err(Failure::Later(reason, wait)) => (reason, wait),
            };
            if asked > LONGEST_WAIT {
                let seconds = asked / 1e3;
                let reason = format!("{reason}, and asks to come back in {seconds:.0} s");
                return Err(self.network(path, reason));
            }
            if progress(state) >= before + WORTHWHILE {
                failures = 0;
            }
            if failures == self.retry_policy.retries {
                let tries = failures + 1;
                return Err(self.network(path, format!("{reason}; tried {tries} times")));
            }
            sleep((self.retry_policy.backoff << failures).max(asked as u32)).await;
            failures += 1;
        }
    }

    /// Requests a file, or the part after its first bytes, and reads the response's head.
    pub(super) async fn ask(
        &self,
        path: &str,
        rest: Option<(usize, &Version)>,
        store: &str,
    ) -> Try<Answer> {
        let request = Request(AbortController::new());
        let headers = Object::new();
        if let Some((from, version)) = rest {
            set(&headers, "Range", format!("bytes={from}-"));
            // Across origins this header needs a CORS permission that static servers do not give; the version in the
            // response is compared instead.
            if self.own_origin {
                set(&headers, "If-Range", version.text());
            }
        }
        let init = object(&[
            ("signal", request.0.signal().into()),
            ("headers", headers.into()),
            ("cache", store.into()),
        ]);
        let cut = |thrown: JsValue| Failure::Cut(format!("no answer ({})", message(&thrown)));
        let promise = fetch(&self.url(path), &init).map_err(cut)?;
        let answer = within(self.retry_policy.stall, JsFuture::from(promise)).await;
        let answer = answer.ok_or_else(|| self.stalled())?.map_err(cut)?;
        let response: Response = answer
            .dyn_into()
            .map_err(|_| Error::Internal("fetch answered with no Response".into()))?;
        let status = response.status();
        if rest.is_some() && status == 416 {
            return Ok(Answer {
                request,
                response,
                status,
            });
        }
        if !response.ok() {
            let reason = format!("answered {status} {}", response.status_text());
            let reason = reason.trim().to_owned();
            return Err(match status {
                408 | 425 | 429 | 500.. => match retry_after(&response) {
                    Some(wait) => Failure::Later(reason, wait),
                    None => Failure::Cut(reason),
                },
                _ => Failure::Final(self.network(path, reason)),
            });
        }
        let kind = header(&response, "content-type").unwrap_or_default();
        if kind.starts_with("text/html") || kind.starts_with("application/xhtml") {
            let reason = "answered a page of HTML; is this the folder of a pack?";
            return Err(self.network(path, reason).into());
        }
        Ok(Answer {
            request,
            response,
            status,
        })
    }

    fn stalled(&self) -> Failure {
        let seconds = f64::from(self.retry_policy.stall) / 1000.0;
        Failure::Cut(format!("nothing came for {seconds} s"))
    }

    pub(super) async fn small(&self, path: &str, limit: u64) -> Try<Vec<u8>> {
        // The copy in the browser's HTTP cache may belong to another version than the shards: revalidate it.
        let answer = self.ask(path, None, "no-cache").await?;
        let body = answer.body(self)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await? {
            if (bytes.len() + chunk.length() as usize) as u64 > limit {
                let reason = format!("is longer than {limit} bytes");
                return Err(Error::format(path, reason).into());
            }
            append(&mut bytes, &chunk);
        }
        Ok(bytes)
    }
}

/// Aborts the request on drop, which has no effect on a request that is complete.
struct Request(AbortController);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response whose body is still to be read.
pub(super) struct Answer {
    request: Request,
    pub(super) response: Response,
    pub(super) status: u16,
}

impl Answer {
    pub(super) fn body(self, host: &Server) -> Try<Body<'_>> {
        let stream = self.response.body();
        let reader = stream
            .map(|stream| stream.get_reader().dyn_into())
            .transpose()
            .map_err(|_| Error::Internal("a stream has no default reader".into()))?;
        Ok(Body {
            host,
            reader,
            _request: self.request,
        })
    }
}

/// The body of a response.
pub(super) struct Body<'a> {
    host: &'a Server,
    /// `None` if the response has no body.
    reader: Option<ReadableStreamDefaultReader>,
    _request: Request,
}

impl Body<'_> {
    /// Returns the next chunk, or `None` at the end.
    pub(super) async fn next(&self) -> Try<Option<Uint8Array>> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        let chunk = within(self.host.retry_policy.stall, JsFuture::from(reader.read())).await;
        let chunk = chunk
            .ok_or_else(|| self.host.stalled())?
            .map_err(|e| Failure::Cut(format!("the connection was cut ({})", message(&e))))?;
        if property(&chunk, "done").is_truthy() {
            return Ok(None);
        }
        let value = property(&chunk, "value").dyn_into();
        Ok(Some(value.map_err(|_| {
            Error::Internal("a stream brought no bytes".into())
        })?))
    }
}

impl Version {
    pub(super) fn of(response: &Response) -> Option<Self> {
        // A weak ETag does not promise equal bytes, so it cannot be used for a range.
        let etag = header(response, "etag").filter(|etag| etag.starts_with('"'));
        etag.map(Version::Etag)
            .or_else(|| header(response, "last-modified").map(Version::LastModified))
    }

    pub(super) fn text(&self) -> &str {
        let (Version::Etag(text) | Version::LastModified(text)) = self;
        text
    }
}

pub(super) fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// Returns the milliseconds to wait that the server asks for: `Retry-After` in seconds or as a date.
fn retry_after(response: &Response) -> Option<f64> {
    let text = header(response, "retry-after")?;
    let wait = match text.trim().parse::<u32>() {
        Ok(seconds) => f64::from(seconds) * 1e3,
        Err(_) => js_sys::Date::parse(&text) - js_sys::Date::now(),
    };
    // An invalid date gives NaN.
    (wait >= 0.0).then_some(wait)
}

fn set(headers: &Object, name: &str, value: impl Into<JsValue>) {
    // Setting a property of a new plain object cannot fail.
    let _ = js_sys::Reflect::set(headers, &name.into(), &value.into());
}

/// Appends a chunk to `bytes`, which copies it out of JavaScript.
pub(super) fn append(bytes: &mut Vec<u8>, chunk: &Uint8Array) {
    let start = bytes.len();
    bytes.resize(start + chunk.length() as usize, 0);
    chunk.copy_to(&mut bytes[start..]);
}
