//! Caches packs in the browser. Each pack has a folder in the origin's private file system (OPFS), which gives a
//! dedicated worker synchronous access to files. `www/cache.js` names the folders, reads their sizes and deletes them.
//!
//! A shard is committed in two phases. Its bytes go to `<sha256>.partial` as they arrive. Once they are verified, the
//! file is renamed to `<sha256>`; a browser that cannot rename gets an empty `<sha256>.done` as the marker instead.
//! Files are not flushed to disc, because that would delay the load; verification on the next read detects what a power
//! loss damaged. A page that ends in between leaves a partial file. A later load resumes it if the host still has the
//! version that `<sha256>.json` names. The pack's JSON files are cached as one file, [`DESCRIPTIONS`], which is written
//! last, when every shard is committed.
//!
//! A shard is written by `begin`, then `write_new` as bytes arrive, then `commit` or `give_up`; `complete` follows after all
//! shards.
//!
//! Cache errors never fail a load. If the browser is out of storage, or another tab has a file open, bytes are not
//! cached, and [`Cache::note`] reports that storage ran out. Cached bytes are not trusted: they are verified like bytes
//! from a host.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use wasm_bindgen::prelude::*;

use super::folder::{Folder, Open, Thrown, directory, origin_folder, read_into, wait, write_at};
use super::js::{self, Directory, File, name};
use super::server::Version;
use crate::weights::manifest::{MAX_JSON, Shard};

/// The file that holds the pack's JSON files.
pub const DESCRIPTIONS: &str = "pack.json";

/// Number of bytes that arrive between two writes, which is the most that a closed page loses.
const PIECE: usize = 1 << 20;

/// The pack's JSON files by path, in the form in which they are cached.
pub type Descriptions = BTreeMap<String, String>;

/// The cached files of one pack.
#[derive(Debug)]
pub struct Cache {
    folder: Folder,
    full: Cell<bool>,
}

/// A shard that is being written.
#[derive(Debug)]
pub struct Partial {
    access: Open,
    file: File,
    sha256: String,
    written: usize,
}

impl Cache {
    /// Opens the folder at `path`, such as `unireal/0a1b`, and creates it if needed. The page gives no path where it has
    /// no private file system.
    ///
    /// # Errors
    /// The reason why this browser cannot cache files, as a message for the user.
    pub async fn open(path: Option<&str>) -> std::result::Result<Self, String> {
        let Some(path) = path else {
            return Err(not_cached("it has no private file system for this page"));
        };
        let list = async { Self::list(folder(path, true).await?).await };
        let refused = |e: JsValue| not_cached(&format!("{}: {}", name(&e), js::message(&e)));
        list.await.map_err(refused)
    }

    /// Returns the cache at `path` if its folder exists.
    pub async fn find(path: &str) -> Option<Self> {
        Self::list(folder(path, false).await.ok()?).await.ok()
    }

    async fn list(folder: Directory) -> Thrown<Self> {
        Ok(Cache {
            folder: Folder::list(folder).await?,
            full: Cell::new(false),
        })
    }

    /// Returns a message for the user if storage ran out.
    pub fn note(&self) -> Option<&'static str> {
        self.full.get().then_some(
            "the browser's storage is full, so the next load downloads some of the model again",
        )
    }

    /// Returns whether the shard is committed.
    pub fn holds(&self, shard: &Shard) -> bool {
        self.committed_file(&shard.sha256).is_some()
    }

    /// Returns the name of the file that holds a committed shard.
    fn committed_file(&self, sha256: &str) -> Option<String> {
        let names = self.folder.names.borrow();
        if names.contains(sha256) {
            return Some(sha256.to_owned());
        }
        names
            .contains(&done(sha256))
            .then(|| partial(sha256))
            .filter(|file| names.contains(file))
    }

    /// Reads a committed shard into `bytes`, which must be empty with enough capacity. Returns false if that fails.
    pub async fn read(&self, shard: &Shard, bytes: &mut Vec<u8>) -> bool {
        let Some(file) = self.committed_file(&shard.sha256) else {
            return false;
        };
        let read = async {
            let access = self.folder.access(&file, false).await?.1;
            let whole = access.0.size()? == shard.length as f64;
            Ok(whole && read_into(&access, shard.length as usize, bytes)?)
        };
        match read.await {
            Ok(true) => return true,
            Ok(false) => self.forget(shard).await,
            // Another tab has the file open: leave it there and load the shard without it.
            Err::<bool, JsValue>(_) => {}
        }
        false
    }

    /// Begins or resumes a shard. Reads the bytes of a partial file into `bytes`, which must be empty with enough
    /// capacity, and returns the version that they belong to. Returns `None` if the shard cannot be written because
    /// storage is full or another tab is writing it.
    pub async fn begin(
        &self,
        shard: &Shard,
        bytes: &mut Vec<u8>,
    ) -> Option<(Partial, Option<Version>)> {
        if self.full.get() {
            return None;
        }
        let begin = async {
            // The shard replaces a damaged file, or a marker without its file.
            self.folder.remove(&done(&shard.sha256)).await;
            let (file, access) = self.folder.access(&partial(&shard.sha256), true).await?;
            let length = access.0.size()?;
            let version = if length >= 1.0 && length < shard.length as f64 {
                self.version(&shard.sha256).await
            } else {
                None
            };
            let resumed = match version {
                Some(version) if read_into(&access, length as usize, bytes)? => Some(version),
                _ => {
                    bytes.clear();
                    access.0.truncate(0.0)?;
                    None
                }
            };
            let partial = Partial {
                access,
                file,
                sha256: shard.sha256.clone(),
                written: bytes.len(),
            };
            Ok((partial, resumed))
        };
        let begun: Thrown<_> = begin.await;
        begun
            .map_err(|e| {
                bytes.clear();
                self.failed(&e);
            })
            .ok()
    }

    /// Stores which version of the host's file the bytes of a partial shard belong to; `None` deletes the entry.
    /// Returns false if storage is full.
    pub async fn set_version(&self, shard: &Shard, version: Option<&Version>) -> bool {
        let file = version_file(&shard.sha256);
        let Some(json) = version.and_then(|version| serde_json::to_vec(version).ok()) else {
            self.folder.remove(&file).await;
            return true;
        };
        let put = self.folder.put(&file, &json).await;
        put.map_err(|e| self.failed(&e)).is_ok()
    }

    async fn version(&self, sha256: &str) -> Option<Version> {
        let json = self.folder.get(&version_file(sha256), 4096).await?;
        serde_json::from_slice(&json).ok()
    }

    /// Commits a shard whose bytes were verified.
    pub async fn commit(&self, shard: Partial) {
        let commit = async {
            let Partial {
                access,
                file,
                sha256,
                ..
            } = shard;
            drop(access);
            self.finish(&file, &sha256).await?;
            self.folder.remove(&version_file(&sha256)).await;
            Ok(())
        };
        let committed: Thrown<()> = commit.await;
        if let Err(e) = committed {
            self.failed(&e);
        }
    }

    /// Renames a complete partial file to its final name, or creates its marker.
    async fn finish(&self, file: &File, to: &str) -> Thrown<()> {
        self.folder.remove(to).await;
        if js_sys::Reflect::has(file, &"move".into())? {
            wait(file.rename(to)).await?;
            let mut names = self.folder.names.borrow_mut();
            names.remove(&partial(to));
            names.insert(to.to_owned());
        } else {
            self.folder.access(&done(to), true).await?;
            let mut names = self.folder.names.borrow_mut();
            names.insert(partial(to));
            names.insert(done(to));
        }
        Ok(())
    }

    /// Deletes the committed and partial files of a damaged shard.
    pub async fn forget(&self, shard: &Shard) {
        let sha256 = &shard.sha256;
        for file in [
            done(sha256),
            version_file(sha256),
            sha256.clone(),
            partial(sha256),
        ] {
            self.folder.remove(&file).await;
        }
    }

    /// Returns the pack's cached JSON files if a load was completed here.
    pub async fn descriptions(&self) -> Option<Descriptions> {
        let file = self.committed_file(DESCRIPTIONS)?;
        // Nine files of at most MAX_JSON bytes, plus the escaping that JSON within JSON needs.
        let json = self.folder.get(&file, 16 * MAX_JSON).await?;
        serde_json::from_slice(&json).ok()
    }

    /// Caches the JSON files of a pack whose shards are all committed, and deletes the files that this version of the
    /// pack does not use.
    pub async fn complete(&self, descriptions: &Descriptions, shards: &[Shard]) {
        if self.committed_file(DESCRIPTIONS).is_none()
            || self.descriptions().await.as_ref() != Some(descriptions)
        {
            let store = async {
                let json = serde_json::to_vec(descriptions).map_err(|e| e.to_string())?;
                self.folder.remove(&done(DESCRIPTIONS)).await;
                let file = self.folder.put(&partial(DESCRIPTIONS), &json).await?;
                self.finish(&file, DESCRIPTIONS).await
            };
            if let Err(e) = store.await {
                self.failed(&e);
            }
        }
        let mut used: HashSet<String> = HashSet::new();
        for name in shards
            .iter()
            .map(|s| s.sha256.as_str())
            .chain([DESCRIPTIONS])
        {
            if self.folder.names.borrow().contains(&done(name)) {
                used.extend([done(name), partial(name)]);
            } else {
                used.insert(name.to_owned());
            }
        }
        let unused: Vec<String> = self
            .folder
            .names
            .borrow()
            .difference(&used)
            .cloned()
            .collect();
        for file in unused {
            self.folder.remove(&file).await;
        }
    }

    /// Deletes a partial shard that storage has no space for, and stops caching.
    pub async fn give_up(&self, shard: Partial) {
        self.full.set(true);
        let Partial { access, sha256, .. } = shard;
        drop(access);
        self.folder.remove(&partial(&sha256)).await;
        self.folder.remove(&version_file(&sha256)).await;
    }

    /// Records that storage is full, unless the error is another tab's lock.
    fn failed(&self, thrown: &JsValue) {
        // Another tab that holds a lock caches the file itself. Every other error means that storage is full
        // (QuotaExceededError, UnknownError, InvalidStateError), now or after part of the file was written.
        if name(thrown) != "NoModificationAllowedError" {
            web_sys::console::warn_2(&"UniReal caches no more of the model:".into(), thrown);
            self.full.set(true);
        }
    }
}

impl Partial {
    /// Writes the bytes of `bytes`, the shard so far, that are not in the file yet, if there are `PIECE` of them or
    /// `flush` is set. Returns false if the write fails; the file is then useless.
    pub fn write_new(&mut self, bytes: &[u8], flush: bool) -> bool {
        let gained = bytes.len().saturating_sub(self.written);
        if gained == 0 || (gained < PIECE && !flush) {
            return true;
        }
        let written = write_at(&self.access, &bytes[self.written..], self.written);
        self.written = bytes.len();
        written.is_ok()
    }

    /// Empties the file because the host has another version. Returns false if that fails.
    pub fn restart(&mut self) -> bool {
        self.written = 0;
        self.access.0.truncate(0.0).is_ok()
    }

    /// Returns the number of bytes in the file.
    pub fn written(&self) -> usize {
        self.written
    }
}

fn partial(sha256: &str) -> String {
    format!("{sha256}.partial")
}

fn done(sha256: &str) -> String {
    format!("{sha256}.done")
}

fn version_file(sha256: &str) -> String {
    format!("{sha256}.json")
}

/// Opens the folder at a path of names separated by slashes.
async fn folder(path: &str, create: bool) -> Thrown<Directory> {
    let mut folder = origin_folder().await?;
    for name in path.split('/') {
        folder = directory(&folder, name, create).await?;
    }
    Ok(folder)
}

fn not_cached(reason: &str) -> String {
    format!("the browser cannot store the model ({reason}), so the next load downloads it again")
}
