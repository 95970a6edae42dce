//! A pack on a static host, with the browser's cache in front of it.
//!
//! A shard is streamed chunk by chunk into memory of its final size, so that neither JavaScript nor wasm ever holds it
//! twice. That memory has room for the pack's largest shard and serves one shard after the other: wasm's memory only grows,
//! and holes that the next shard does not fit would make it grow by one more.
//!
//! A connection that is cut or stalls is taken up where it ended: `Range` asks for the rest and `If-Range`, or a comparison of
//! the answer's version, sees to it that the rest belongs to what is there. A host that answers with the whole file instead,
//! or that has another version by now, starts the shard anew.
//!
//! The pack's JSON files come from the cache once a load was completed, so that a second load makes no request at all. A
//! pack that changed on its host is noticed when a shard has to be fetched that the kept files no longer describe:
//! [`Http::plan`] and [`Http::read_anew`] then read the files from the host. While everything is in the cache, the kept
//! version is used; clearing the cache is how to see a new one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::cache::{Cache, Descriptions, Partial};
pub use super::host::Patience;
use super::host::{Failure, Host, Try, Version, append, header};
use super::js;
use crate::error::{Error, Result};
use crate::weights::load::Plan;
use crate::weights::manifest::Shard;
use crate::weights::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};

/// A pack on a static host.
#[derive(Debug)]
pub struct Http {
    host: Host,
    cache: Option<Cache>,
    /// JSON files that an earlier load kept, while they are used.
    kept: RefCell<Option<Descriptions>>,
    /// JSON files as the host sent them.
    fetched: RefCell<Descriptions>,
    /// Shards that arrived and were written, but are not verified yet.
    written: RefCell<HashMap<String, Partial>>,
    /// Bytes of the plan's largest shard.
    largest: Cell<u64>,
    /// Memory of shards that were read.
    spare: RefCell<Vec<Vec<u8>>>,
}

impl Http {
    /// The pack in the folder at `url`, with or without a cache.
    pub fn new(url: &str, cache: Option<Cache>, patience: Patience) -> Self {
        Http {
            host: Host::new(url, patience),
            cache,
            kept: RefCell::default(),
            fetched: RefCell::default(),
            written: RefCell::default(),
            largest: Cell::default(),
            spare: RefCell::default(),
        }
    }

    /// The pack's descriptions, and whether they are those that an earlier load kept: they are used when the cache holds
    /// every shard that they name.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub async fn plan(&self) -> Result<(Plan, bool)> {
        if let Some(cache) = &self.cache
            && let Some(kept) = cache.descriptions().await
        {
            self.kept.replace(Some(kept));
            // Kept files that cannot be read, or that lack one, are no better than none.
            if let Ok(plan) = Plan::read(self).await
                && plan.shards().all(|shard| cache.holds(shard))
            {
                self.prepare(&plan);
                return Ok((plan, true));
            }
        }
        Ok((self.read_anew().await?, false))
    }

    /// The pack's descriptions as the host has them now.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub async fn read_anew(&self) -> Result<Plan> {
        self.kept.replace(None);
        self.fetched.take();
        let plan = Plan::read(self).await?;
        self.prepare(&plan);
        Ok(plan)
    }

    fn prepare(&self, plan: &Plan) {
        let lengths = plan.shards().map(|shard| shard.length);
        self.largest.set(lengths.max().unwrap_or(0));
    }

    /// Empty memory with room for any shard of the plan.
    fn memory(&self, shard: &Shard) -> Result<Vec<u8>> {
        let mut memory = self.spare.borrow_mut().pop().unwrap_or_default();
        memory.clear();
        let available = shard.length.max(self.largest.get());
        memory
            .try_reserve_exact(available as usize)
            .map_err(|_| Error::Memory(format!("a shard of {available} bytes does not fit")))?;
        Ok(memory)
    }

    /// Bytes of the plan's shards that the cache holds.
    pub fn cached_bytes(&self, plan: &Plan) -> u64 {
        let Some(cache) = &self.cache else {
            return 0;
        };
        let held = plan.shards().filter(|shard| cache.holds(shard));
        held.map(|shard| shard.length).sum()
    }

    /// Keeps the descriptions too, after a load in which every shard of them was verified.
    pub async fn complete(&self, shards: &[Shard]) {
        let Some(cache) = &self.cache else { return };
        if self.kept.borrow().is_none() && shards.iter().all(|shard| cache.holds(shard)) {
            let fetched = self.fetched.borrow().clone();
            cache.complete(&fetched, shards).await;
        }
    }

    /// What a person should know about how keeping went.
    pub fn note(&self) -> Option<&'static str> {
        self.cache.as_ref().and_then(Cache::note)
    }

    /// One connection's worth of a shard.
    async fn piece(&self, shard: &Shard, arriving: &mut Arriving<'_>) -> Try<()> {
        let length = shard.length as usize;
        let rest = arriving.version.clone();
        let rest = rest
            .as_ref()
            .filter(|_| !arriving.bytes.is_empty())
            .map(|version| (arriving.bytes.len(), version));
        if rest.is_none() {
            self.restart(shard, arriving).await;
        }
        // The shard goes into the cache of this module; a second copy in the browser's own would only take room. Where it does not, a
        // copy that the browser thinks fresh may be of a pack that the host has replaced: it asks.
        let store = match arriving.partial {
            Some(_) => "no-store",
            None => "no-cache",
        };
        let answer = self.host.ask(&shard.path, rest, store).await?;
        let integrity = |reason: String| Error::Integrity {
            file: shard.path.clone(),
            reason,
        };
        let version = Version::of(&answer.response);
        match (rest, answer.status) {
            (Some(_), 206) if version.is_some() && version != arriving.version => {
                self.restart(shard, arriving).await;
                return Err(Failure::Cut("the file was replaced meanwhile".into()));
            }
            (Some((from, _)), 416) => {
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
                    arriving.no_room |= !cache.set_version(shard, version).await;
                }
            }
        }
        // Known before the first byte, where the header counts the file's own bytes and not those of a compressed form.
        if self.host.own_origin
            && header(&answer.response, "content-encoding").is_none()
            && let Some(rest) = header(&answer.response, "content-length")
            && let Ok(rest) = rest.parse::<u64>()
            && arriving.bytes.len() as u64 + rest != shard.length
        {
            let whole = arriving.bytes.len() as u64 + rest;
            let reason = format!("the host has {whole} bytes, the index promises {length}");
            return Err(integrity(reason).into());
        }
        let body = answer.body(&self.host)?;
        loop {
            let chunk = match body.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                // A connection that is cut when nothing is missing has done its work.
                Err(Failure::Cut(_)) if arriving.bytes.len() == length => break,
                Err(failure) => return Err(failure),
            };
            if arriving.bytes.len() + chunk.length() as usize > length {
                let reason = format!("more bytes came than the {length} that the index promises");
                return Err(integrity(reason).into());
            }
            append(&mut arriving.bytes, &chunk);
            arriving.report(false);
            arriving.write(false);
            self.spare_room(arriving).await;
        }
        match arriving.bytes.len() {
            n if n < length => Err(Failure::Cut(format!(
                "the connection ended after {n} of {length} bytes"
            ))),
            _ => Ok(()),
        }
    }

    /// Deletes what was written of a shard once a write has failed: it would only take room from the others.
    async fn spare_room(&self, arriving: &mut Arriving<'_>) {
        if arriving.no_room
            && let Some(cache) = &self.cache
            && let Some(partial) = arriving.partial.take()
        {
            cache.give_up(partial).await;
        }
    }

    /// Begins the shard anew.
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

impl ShardSource for Http {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let kept = self
            .kept
            .borrow()
            .as_ref()
            .map(|kept| kept.get(path).cloned());
        match kept {
            Some(Some(text)) => return Ok(text.into_bytes()),
            Some(None) => return Err(self.host.network(path, "is not among the kept files")),
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
            no_room: false,
            arrived,
        };
        let mut cached = false;
        if let Some(cache) = &self.cache {
            // Closes what an earlier try wrote that did not turn out to be the promised bytes.
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
            // A shard that is there and cannot be read belongs to another tab just now.
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
        self.spare_room(&mut arriving).await;
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
        self.spare.borrow_mut().push(memory);
    }

    /// By the browser, beside this thread and with the processor's own instructions; only a page on plain HTTP has no such thing.
    async fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        match js::digest(bytes).await {
            Some(digest) => digest,
            None => Sha256::digest(bytes).into(),
        }
    }
}

/// A shard on its way.
struct Arriving<'a> {
    bytes: Vec<u8>,
    /// How many bytes `arrived` was told of; those that come a second time are not told again.
    reported: usize,
    version: Option<Version>,
    partial: Option<Partial>,
    no_room: bool,
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
            self.no_room |= !partial.follow(&self.bytes, now);
        }
    }
}

/// A shard that is given up half way, by an error or a cancellation, leaves what arrived for the next time.
impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.write(true);
    }
}
