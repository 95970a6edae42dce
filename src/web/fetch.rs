//! Fetches a pack from a static HTTP server, with the browser's cache in front of it.
//!
//! A shard is streamed chunk by chunk into memory of its final size, so that neither JavaScript nor wasm ever holds it
//! twice. That memory has the capacity of the pack's largest shard and is reused for every shard: wasm's memory only
//! grows, and freed blocks that are too small for the next shard would make it grow again.
//!
//! A connection that is cut or stalls is resumed. `Range` requests the rest; `If-Range`, or a comparison of the
//! response's version, ensures that the rest belongs to the bytes so far. If the server answers with the whole file, or
//! has another version, the shard starts from the beginning.
//!
//! After a complete load, the pack's JSON files come from the cache, so a second load makes no request. A change of the
//! pack on its server is noticed when a shard has to be fetched that no longer matches the cached files: [`Http::plan`]
//! and [`Http::read_anew`] then read the files from the server. While everything is in the cache, the cached version is
//! used; clear the cache to get a new one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::cache::{Cache, Descriptions, Partial};
use super::js;
pub use super::server::RetryPolicy;
use super::server::{Answer, Failure, Server, Try, Version, append, header};
use crate::error::{Error, Result};
use crate::weights::load::Plan;
use crate::weights::manifest::Shard;
use crate::weights::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};

/// A pack on a static HTTP server.
#[derive(Debug)]
pub struct Http {
    host: Server,
    cache: Option<Cache>,
    /// JSON files that an earlier load cached, while they are in use.
    cached_files: RefCell<Option<Descriptions>>,
    /// JSON files as the server sent them.
    fetched: RefCell<Descriptions>,
    /// Shards that were fetched and written, but are not verified yet.
    written: RefCell<HashMap<String, Partial>>,
    /// Size of the plan's largest shard in bytes.
    largest: Cell<u64>,
    /// Buffers of shards that were read, for reuse.
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl Http {
    /// A pack in the folder at `url`, with or without a cache.
    pub fn new(url: &str, cache: Option<Cache>, retry_policy: RetryPolicy) -> Self {
        Http {
            host: Server::new(url, retry_policy),
            cache,
            cached_files: RefCell::default(),
            fetched: RefCell::default(),
            written: RefCell::default(),
            largest: Cell::default(),
            buffers: RefCell::default(),
        }
    }

    /// Returns the pack's descriptions, and whether they are cached ones. Cached descriptions are used if the cache
    /// holds every shard that they name.
    ///
    /// # Errors
    /// Those of [`Plan::read`].
    pub async fn plan(&self) -> Result<(Plan, bool)> {
        if let Some(cache) = &self.cache
            && let Some(cached_files) = cache.descriptions().await
        {
            self.cached_files.replace(Some(cached_files));
            // Ignore cached files that are unreadable or incomplete.
            if let Ok(plan) = Plan::read(self).await
                && plan.shards().all(|shard| cache.holds(shard))
            {
                self.prepare(&plan);
                return Ok((plan, true));
            }
        }
        Ok((self.read_anew().await?, false))
    }

    /// Reads the pack's current descriptions from the server.
    ///
    /// # Errors
    /// Those of [`Plan::read`].
    pub async fn read_anew(&self) -> Result<Plan> {
        self.cached_files.replace(None);
        self.fetched.take();
        let plan = Plan::read(self).await?;
        self.prepare(&plan);
        Ok(plan)
    }

    fn prepare(&self, plan: &Plan) {
        let lengths = plan.shards().map(|shard| shard.length);
        self.largest.set(lengths.max().unwrap_or(0));
    }

    /// Returns an empty buffer with the capacity of the plan's largest shard.
    fn memory(&self, shard: &Shard) -> Result<Vec<u8>> {
        let mut memory = self.buffers.borrow_mut().pop().unwrap_or_default();
        memory.clear();
        let available = shard.length.max(self.largest.get());
        memory
            .try_reserve_exact(available as usize)
            .map_err(|_| Error::Memory(format!("a shard of {available} bytes does not fit")))?;
        Ok(memory)
    }

    /// Returns the number of bytes of the plan's shards that the cache holds.
    pub fn cached_bytes(&self, plan: &Plan) -> u64 {
        let Some(cache) = &self.cache else {
            return 0;
        };
        let held = plan.shards().filter(|shard| cache.holds(shard));
        held.map(|shard| shard.length).sum()
    }

    /// Caches the descriptions after a load in which all their shards were verified.
    pub async fn complete(&self, shards: &[Shard]) {
        let Some(cache) = &self.cache else { return };
        if self.cached_files.borrow().is_none() && shards.iter().all(|shard| cache.holds(shard)) {
            let fetched = self.fetched.borrow().clone();
            cache.complete(&fetched, shards).await;
        }
    }

    /// Returns a message for the user if storage ran out.
    pub fn note(&self) -> Option<&'static str> {
        self.cache.as_ref().and_then(Cache::note)
    }

    /// Fetches as much of a shard as one connection brings.
    async fn piece(&self, shard: &Shard, arriving: &mut Arriving<'_>) -> Try<()> {
        let rest = arriving.version.clone();
        let rest = rest
            .as_ref()
            .filter(|_| !arriving.bytes.is_empty())
            .map(|version| (arriving.bytes.len(), version));
        if rest.is_none() {
            self.restart(shard, arriving).await;
        }
        // With a shard in this module's cache, a second copy in the browser's HTTP cache only takes space. Otherwise
        // the browser must revalidate its copy, which may belong to an older version of the pack.
        let store = match arriving.partial {
            Some(_) => "no-store",
            None => "no-cache",
        };
        let answer = self.host.ask(&shard.path, rest, store).await?;
        let resumed_at = rest.map(|(from, _)| from);
        self.accept(shard, arriving, &answer, resumed_at).await?;
        self.read_body(shard, arriving, answer).await
    }

    /// Decides whether the answer continues the bytes so far, replaces them or is unusable.
    async fn accept(
        &self,
        shard: &Shard,
        arriving: &mut Arriving<'_>,
        answer: &Answer,
        resumed_at: Option<usize>,
    ) -> Try<()> {
        let length = shard.length;
        let version = Version::of(&answer.response);
        match (resumed_at, answer.status) {
            (Some(_), 206) if version.is_some() && version != arriving.version => {
                self.restart(shard, arriving).await;
                return Err(Failure::Cut("the file was replaced meanwhile".into()));
            }
            (Some(from), 416) => {
                self.restart(shard, arriving).await;
                let reason = format!("the host has no byte {from} of a shard of {length}");
                return Err(Failure::Cut(reason));
            }
            (Some(_), 206) => {}
            _ => {
                self.restart(shard, arriving).await;
                arriving.version = version;
                if let (Some(cache), Some(_)) = (&self.cache, &arriving.partial) {
                    let version = arriving.version.as_ref();
                    arriving.storage_full |= !cache.set_version(shard, version).await;
                }
            }
        }
        // Checks the length before the first byte, if the header counts the bytes of the file and not of a compressed
        // form.
        if self.host.own_origin
            && header(&answer.response, "content-encoding").is_none()
            && let Some(rest) = header(&answer.response, "content-length")
            && let Ok(rest) = rest.parse::<u64>()
            && arriving.bytes.len() as u64 + rest != shard.length
        {
            let whole = arriving.bytes.len() as u64 + rest;
            let reason = format!("the host has {whole} bytes, the index promises {length}");
            return Err(integrity(shard, reason).into());
        }
        Ok(())
    }

    /// Appends what the connection brings.
    async fn read_body(
        &self,
        shard: &Shard,
        arriving: &mut Arriving<'_>,
        answer: Answer,
    ) -> Try<()> {
        let length = shard.length as usize;
        let body = answer.body(&self.host)?;
        loop {
            let chunk = match body.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // A connection that is cut after the last byte is complete.
                Err(Failure::Cut(_)) if arriving.bytes.len() == length => break,
                Err(failure) => return Err(failure),
            };
            if arriving.bytes.len() + chunk.length() as usize > length {
                let reason = format!("more bytes came than the {length} that the index promises");
                return Err(integrity(shard, reason).into());
            }
            append(&mut arriving.bytes, &chunk);
            arriving.report(false);
            arriving.write(false);
            self.give_up_if_full(arriving).await;
        }
        match arriving.bytes.len() {
            n if n < length => Err(Failure::Cut(format!(
                "the connection ended after {n} of {length} bytes"
            ))),
            _ => Ok(()),
        }
    }

    /// After a failed write, deletes the shard's partial file and stops caching.
    async fn give_up_if_full(&self, arriving: &mut Arriving<'_>) {
        if arriving.storage_full
            && let Some(cache) = &self.cache
            && let Some(partial) = arriving.partial.take()
        {
            cache.give_up(partial).await;
        }
    }

    /// Starts the shard from the beginning.
    async fn restart(&self, shard: &Shard, arriving: &mut Arriving<'_>) {
        arriving.version = None;
        if arriving.bytes.is_empty() {
            return;
        }
        arriving.bytes.clear();
        if let (Some(cache), Some(mut partial)) = (&self.cache, arriving.partial.take()) {
            cache.set_version(shard, None).await;
            if partial.restart() {
                arriving.partial = Some(partial)
            } else {
                cache.give_up(partial).await
            }
        }
    }
}

fn integrity(shard: &Shard, reason: String) -> Error {
    Error::Integrity {
        file: shard.path.clone(),
        reason,
    }
}

impl ShardSource for Http {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let cached_files = self
            .cached_files
            .borrow()
            .as_ref()
            .map(|cached_files| cached_files.get(path).cloned());
        match cached_files {
            Some(Some(text)) => return Ok(text.into_bytes()),
            Some(None) => {
                return Err(self
                    .host
                    .network(path, "is not among the pack's cached files"));
            }
            None => {}
        }
        let attempt = async |(): &mut ()| self.host.small(path, limit).await;
        let bytes = self.host.persist(path, &mut (), |()| 0, attempt).await?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let mut fetched = self.fetched.borrow_mut();
            fetched.insert(path.to_owned(), text.to_owned());
        }
        Ok(bytes)
    }

    async fn shard(
        &self,
        shard: &Shard,
        origin: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        let mut arriving = Arriving {
            bytes: self.memory(shard)?,
            reported: 0,
            version: None,
            partial: None,
            storage_full: false,
            arrived,
        };
        let mut cached = false;
        if let Some(cache) = &self.cache {
            // Closes the partial file of an earlier try whose bytes failed verification.
            self.written.borrow_mut().remove(&shard.sha256);
            if origin == Origin::Fresh {
                cache.forget(shard).await;
            } else if cache.read(shard, &mut arriving.bytes).await {
                arriving.report(true);
                return Ok(Fetched {
                    bytes: std::mem::take(&mut arriving.bytes),
                    cached: true,
                });
            }
            // A shard that exists but cannot be read is open in another tab.
            if !cache.holds(shard)
                && let Some((partial, version)) = cache.begin(shard, &mut arriving.bytes).await
            {
                cached = version.is_some();
                arriving.version = version;
                arriving.partial = Some(partial);
                arriving.report(true);
            }
        }
        let attempt = async |arriving: &mut Arriving<'_>| self.piece(shard, arriving).await;
        self.host
            .persist(&shard.path, &mut arriving, |a| a.bytes.len(), attempt)
            .await?;
        arriving.write(true);
        self.give_up_if_full(&mut arriving).await;
        if let Some(partial) = arriving.partial.take() {
            let mut written = self.written.borrow_mut();
            written.insert(shard.sha256.clone(), partial);
        }
        Ok(Fetched {
            bytes: std::mem::take(&mut arriving.bytes),
            cached,
        })
    }

    async fn cache(&self, shard: &VerifiedShard) {
        let partial = self.written.borrow_mut().remove(&shard.shard().sha256);
        if let (Some(cache), Some(partial)) = (&self.cache, partial)
            && partial.written() == shard.bytes().len()
        {
            cache.commit(partial).await;
        }
    }

    fn reuse(&self, memory: Vec<u8>) {
        self.buffers.borrow_mut().push(memory);
    }

    /// Uses the browser's SHA-256, which runs off this thread with hardware instructions. Pages on plain HTTP do not
    /// have it.
    async fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        match js::digest(bytes).await {
            Some(digest) => digest,
            None => Sha256::digest(bytes).into(),
        }
    }
}

/// A shard that is being fetched.
struct Arriving<'a> {
    bytes: Vec<u8>,
    /// Number of bytes reported to `arrived`. Bytes that are fetched a second time are not reported again.
    reported: usize,
    version: Option<Version>,
    partial: Option<Partial>,
    storage_full: bool,
    arrived: &'a mut dyn FnMut(Arrived),
}

impl Arriving<'_> {
    fn report(&mut self, cached: bool) {
        if self.bytes.len() > self.reported {
            let bytes = (self.bytes.len() - self.reported) as u64;
            self.reported = self.bytes.len();
            (self.arrived)(Arrived { bytes, cached });
        }
    }

    fn write(&mut self, now: bool) {
        if let Some(partial) = &mut self.partial {
            self.storage_full |= !partial.write_new(&self.bytes, now);
        }
    }
}

/// Writes the bytes so far when a fetch ends early, by an error or a cancellation, so that the next load resumes there.
impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.write(true);
    }
}
