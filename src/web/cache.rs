//! Where the browser keeps a pack: a folder for each pack's address in the origin's private file system (OPFS), which
//! gives a dedicated worker synchronous access to files.
//!
//! A shard is committed in two phases. Its bytes go to `<sha256>.partial` as they arrive; when they are verified, the file is
//! renamed to `<sha256>`, or, in a browser that cannot rename, declared whole by an empty `<sha256>.done`. It is not flushed to the
//! disc, which would hold the load up: what a loss of power takes from it is found out when it is read. Whatever ends the page in
//! between leaves a partial file, which a later load resumes where the host still has the version that `<sha256>.json` names. The
//! pack's JSON files are kept as one file, [`DESCRIPTIONS`], which is written last, when every shard is committed.
//!
//! Nothing here fails a load. A browser without room, or another tab that has a file open, means that bytes are not
//! kept; [`Cache::note`] says so. Nothing here is trusted either: what is read is verified like what a host sends.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};

use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;

use super::folder::{Folder, Open, Thrown, directory, origin_folder, read_into, wait, write_at};
use super::host::Version;
use super::js::{self, Directory, File, name, object};
use crate::error::{Error, Result};
use crate::weights::manifest::{MAX_JSON, Shard};
use crate::weights::source::hex;

/// The file that holds the pack's JSON files.
pub const DESCRIPTIONS: &str = "pack.json";

/// The folder of all packs in the origin's file system.
const ROOT: &str = "unireal";

/// Bytes that arrive before they are written out: what a closed page loses at most.
const PIECE: usize = 1 << 20;

/// The pack's JSON files by their path, in the form in which they are kept.
pub type Descriptions = BTreeMap<String, String>;

/// The kept files of one pack.
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
    /// Opens the folder of the pack at `url`, making it if need be.
    ///
    /// # Errors
    /// What a person should know about why this browser has no place to keep files.
    pub async fn open(url: &str) -> std::result::Result<Self, String> {
        let folder = async { directory(&root(true).await?, &folder_name(url), true).await };
        match folder.await {
            Ok(folder) => Self::list(folder).await.map_err(|e| refusal(&e)),
            Err(e) => Err(refusal(&e)),
        }
    }

    /// The folder of the pack at `url`, if there is one.
    pub async fn find(url: &str) -> Option<Self> {
        let root = root(false).await.ok()?;
        let folder = directory(&root, &folder_name(url), false).await.ok()?;
        Self::list(folder).await.ok()
    }

    /// Deletes what is kept of the pack at `url`.
    ///
    /// # Errors
    /// [`Error::Busy`] when a load in another tab has one of its files open.
    pub async fn clear(url: &str) -> Result<()> {
        let Ok(root) = root(false).await else {
            return Ok(());
        };
        let recursive = object(&[("recursive", true.into())]);
        match wait(root.remove(&folder_name(url), &recursive)).await {
            Ok(_) => Ok(()),
            Err(e) if name(&e) == "NotFoundError" => Ok(()),
            Err(e) if name(&e) == "NoModificationAllowedError" => Err(Error::Busy),
            Err(e) => Err(Error::Internal(format!(
                "the kept files cannot be deleted: {}",
                js::message(&e)
            ))),
        }
    }

    async fn list(folder: Directory) -> Thrown<Self> {
        Ok(Cache {
            folder: Folder::list(folder).await?,
            full: Cell::new(false),
        })
    }

    /// What a person should know about how keeping went.
    pub fn note(&self) -> Option<&'static str> {
        self.full.get().then_some(
            "the browser gave no room to keep the model, so the next load fetches some of it again",
        )
    }

    /// Whether the shard is committed.
    pub fn holds(&self, shard: &Shard) -> bool {
        self.place(&shard.sha256).is_some()
    }

    /// The file of a committed shard.
    fn place(&self, sha256: &str) -> Option<String> {
        let names = self.folder.names.borrow();
        if names.contains(sha256) {
            return Some(sha256.to_owned());
        }
        names
            .contains(&done(sha256))
            .then(|| partial(sha256))
            .filter(|file| names.contains(file))
    }

    /// A committed shard's bytes into `bytes`, which is empty and has room for them; false when they cannot be had.
    pub async fn read(&self, shard: &Shard, bytes: &mut Vec<u8>) -> bool {
        let Some(file) = self.place(&shard.sha256) else {
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
            // Another tab has it open: it stays, and this load does without.
            Err::<bool, JsValue>(_) => {}
        }
        false
    }

    /// Begins or resumes a shard. What a partial file holds of it goes into `bytes`, which is empty and has room, with the
    /// version that it belongs to. `None` when it cannot be written: there is no room, or another tab is writing it.
    pub async fn begin(
        &self,
        shard: &Shard,
        bytes: &mut Vec<u8>,
    ) -> Option<(Partial, Option<Version>)> {
        if self.full.get() {
            return None;
        }
        let begin = async {
            // A marker without a place, or a damaged file, is what is being replaced.
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

    /// Remembers which version of the file the bytes of a partial shard belong to; `None` forgets what is there. False when
    /// there is no room.
    pub async fn set_version(&self, shard: &Shard, version: Option<&Version>) -> bool {
        let file = described(&shard.sha256);
        let Some(json) = version.and_then(|version| serde_json::to_vec(version).ok()) else {
            self.folder.remove(&file).await;
            return true;
        };
        let put = self.folder.put(&file, &json).await;
        put.map_err(|e| self.failed(&e)).is_ok()
    }

    async fn version(&self, sha256: &str) -> Option<Version> {
        let json = self.folder.get(&described(sha256), 4096).await?;
        serde_json::from_slice(&json).ok()
    }

    /// Declares a shard whole, once its bytes were verified.
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
            self.folder.remove(&described(&sha256)).await;
            Ok(())
        };
        let committed: Thrown<()> = commit.await;
        if let Err(e) = committed {
            self.failed(&e);
        }
    }

    /// Gives a whole partial file its final name, or marks it.
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

    /// Deletes a shard that turned out to be damaged, with what is partial of it.
    pub async fn forget(&self, shard: &Shard) {
        let sha256 = &shard.sha256;
        for file in [
            done(sha256),
            described(sha256),
            sha256.clone(),
            partial(sha256),
        ] {
            self.folder.remove(&file).await;
        }
    }

    /// The pack's kept JSON files, if a load was completed here.
    pub async fn descriptions(&self) -> Option<Descriptions> {
        let file = self.place(DESCRIPTIONS)?;
        // Nine files of at most MAX_JSON, and room for the quotes that JSON within JSON needs.
        let json = self.folder.get(&file, 16 * MAX_JSON).await?;
        serde_json::from_slice(&json).ok()
    }

    /// Keeps the JSON files of a pack whose shards are all committed, and deletes what is of no use to this version of
    /// it.
    pub async fn complete(&self, descriptions: &Descriptions, shards: &[Shard]) {
        if self.place(DESCRIPTIONS).is_none()
            || self.descriptions().await.as_ref() != Some(descriptions)
        {
            let keep = async {
                let json = serde_json::to_vec(descriptions).map_err(|e| e.to_string())?;
                self.folder.remove(&done(DESCRIPTIONS)).await;
                let file = self.folder.put(&partial(DESCRIPTIONS), &json).await?;
                self.finish(&file, DESCRIPTIONS).await
            };
            if let Err(e) = keep.await {
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

    /// Deletes a partial shard for which there is no room, and keeps nothing from here on.
    pub async fn give_up(&self, shard: Partial) {
        self.full.set(true);
        let Partial { access, sha256, .. } = shard;
        drop(access);
        self.folder.remove(&partial(&sha256)).await;
        self.folder.remove(&described(&sha256)).await;
    }

    /// Takes note of why something could not be kept.
    fn failed(&self, thrown: &JsValue) {
        // A lock is another tab's, which keeps the file itself. Everything else a browser says of a disc without room
        // (QuotaExceededError, UnknownError, InvalidStateError), now or after a part was written.
        if name(thrown) != "NoModificationAllowedError" {
            web_sys::console::warn_2(&"UniReal keeps no more of the model:".into(), thrown);
            self.full.set(true);
        }
    }
}

impl Partial {
    /// Writes what `bytes`, the shard so far, has gained, once that is a piece or when it must be now. False when there
    /// is no room: the file is then of no more use.
    pub fn follow(&mut self, bytes: &[u8], now: bool) -> bool {
        let gained = bytes.len().saturating_sub(self.written);
        if gained == 0 || (gained < PIECE && !now) {
            return true;
        }
        let written = write_at(&self.access, &bytes[self.written..], self.written);
        self.written = bytes.len();
        written.is_ok()
    }

    /// Empties the file: the host has another version. False when that fails.
    pub fn restart(&mut self) -> bool {
        self.written = 0;
        self.access.0.truncate(0.0).is_ok()
    }

    /// Bytes in the file.
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

fn described(sha256: &str) -> String {
    format!("{sha256}.json")
}

/// A folder's name for an address, which may hold characters that file systems do not. A query carries keys that change,
/// so it is no part of it. `www/kept.js` names it the same way, to look without starting the engine.
fn folder_name(url: &str) -> String {
    let url = url.split('?').next().unwrap_or(url).trim_end_matches('/');
    hex(&Sha256::digest(url.as_bytes())[..16])
}

/// The folder of all packs.
async fn root(create: bool) -> Thrown<Directory> {
    directory(&origin_folder().await?, ROOT, create).await
}

fn refusal(thrown: &JsValue) -> String {
    let why = match name(thrown) {
        name if name.is_empty() => "it has no private file system for this page".to_owned(),
        name => format!("{name}: {}", js::message(thrown)),
    };
    format!("the browser gave no room to keep the model ({why}), so the next load fetches it again")
}
