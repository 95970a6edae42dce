//! HTTP client of a chat endpoint, with time limits, retries and a cache of answers on disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Settings;
use crate::train::checkpoint;
use unireal::{Error, Result};

/// Maximum size of a response body, in bytes.
const MAX_BODY: u64 = 1 << 20;
/// Number of consecutive failed requests after which no further one is sent.
const MAX_FAILURES: u32 = 3;

pub(super) struct Client {
    settings: Settings,
    cache: PathBuf,
    agent: ureq::Agent,
    failures: AtomicU32,
}

/// Why a try failed, and whether a retry may help.
enum Failure {
    Permanent(String),
    Transient(String, Option<Duration>),
}

impl Client {
    pub(super) fn new(settings: Settings, cache: &Path) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(settings.limit))
            .http_status_as_error(false)
            .build();
        Client {
            settings,
            cache: cache.to_owned(),
            agent: config.into(),
            failures: AtomicU32::new(0),
        }
    }

    /// Returns the first answer that `parse` accepts, from the cache or from the endpoint; a rejected answer is requested again.
    pub(super) fn ask<T>(
        &self,
        request: &Value,
        parse: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let path = self.path(request);
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Ok(answer) = parse(&text)
        {
            return Ok(answer);
        }
        let url = format!("{}/chat/completions", self.settings.url);
        let fail = |reason: String| Error::Network {
            url: url.clone(),
            reason,
        };
        if self.failures.load(Ordering::Relaxed) >= MAX_FAILURES {
            return Err(fail(format!(
                "sending a request: {MAX_FAILURES} in a row failed; no further one is sent"
            )));
        }
        let mut pause = self.settings.pause;
        for tries in 1.. {
            let (reason, wait) = match self.send(&url, request) {
                Ok(text) => match parse(&text) {
                    Ok(answer) => {
                        self.failures.store(0, Ordering::Relaxed);
                        checkpoint::write(&path, text.as_bytes())?;
                        return Ok(answer);
                    }
                    Err(reason) => (format!("parsing the answer: {reason}"), None),
                },
                Err(Failure::Transient(reason, wait)) => (reason, wait),
                Err(Failure::Permanent(reason)) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    return Err(fail(reason));
                }
            };
            if tries >= self.settings.tries {
                self.failures.fetch_add(1, Ordering::Relaxed);
                return Err(fail(format!("{reason} (after {tries} tries)")));
            }
            std::thread::sleep(wait.unwrap_or(pause).min(self.settings.longest_pause));
            pause *= 2;
        }
        unreachable!("the loop ends by a return")
    }

    /// Returns the cache path of a request: a hash of the address and the whole request, without the API key.
    fn path(&self, request: &Value) -> PathBuf {
        let hash = Sha256::digest(format!("{} {request}", self.settings.url).as_bytes());
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.cache.join(format!("{name}.txt"))
    }

    /// Sends a request once.
    fn send(&self, url: &str, request: &Value) -> std::result::Result<String, Failure> {
        let mut call = self.agent.post(url);
        if let Some(key) = &self.settings.key {
            call = call.header("Authorization", &format!("Bearer {key}"));
        }
        let transient = |e: ureq::Error| Failure::Transient(e.to_string(), None);
        let mut response = match call.send_json(request) {
            Err(e @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                return Err(Failure::Permanent(e.to_string()));
            }
            other => other.map_err(transient)?,
        };
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_BODY)
            .read_to_string();
        if status != 200 {
            let body: String = body.unwrap_or_default().chars().take(300).collect();
            let reason = format!("status {status}, expected 200: {}", body.trim());
            return Err(match status {
                408 | 409 | 425 | 429 | 500..=599 => {
                    Failure::Transient(reason, wait.map(Duration::from_secs))
                }
                _ => Failure::Permanent(reason),
            });
        }
        let body: Value = serde_json::from_str(&body.map_err(transient)?)
            .map_err(|e| Failure::Transient(format!("parsing the response as JSON: {e}"), None))?;
        let content = &body["choices"][0]["message"]["content"];
        let content = content.as_str().map(str::to_owned);
        content.ok_or_else(|| {
            Failure::Transient(
                "parsing the response: no content, expected text".into(),
                None,
            )
        })
    }
}
