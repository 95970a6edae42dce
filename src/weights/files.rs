//! Packs as native programs reach them: a local folder, or a host on the network.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::manifest::Shard;
use super::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};
use crate::error::{Error, Result};

/// A pack in a local folder.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// The pack in `folder`.
    pub fn new(folder: &Path) -> Self {
        Files {
            folder: folder.to_owned(),
        }
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let path = self.folder.join(path);
        let name = path.display().to_string();
        let file = std::fs::File::open(&path).map_err(|e| Error::format(&name, e))?;
        bounded(file, limit).map_err(|reason| Error::format(&name, reason))
    }
}

impl ShardSource for Files {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(path, limit)
    }

    async fn shard(
        &self,
        shard: &Shard,
        _: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        whole(self.read(&shard.path, shard.length)?, arrived)
    }

    async fn keep(&self, _: &VerifiedShard) {}
}

/// A pack on a host, fetched without a cache.
#[derive(Clone, Debug)]
pub struct Http {
    folder: String,
    agent: ureq::Agent,
}

impl Http {
    /// The pack in the folder at `url`.
    pub fn new(url: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(std::time::Duration::from_secs(30)))
            .timeout_recv_response(Some(std::time::Duration::from_secs(60)))
            .build();
        Http {
            folder: url.trim_end_matches('/').to_owned(),
            agent: agent.into(),
        }
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let url = format!("{}/{path}", self.folder);
        let fail = |reason: String| Error::Network {
            url: url.clone(),
            reason,
        };
        let response = self.agent.get(&url).call();
        let response = response.map_err(|e| fail(e.to_string()))?;
        let kind = response.body().mime_type().unwrap_or("").to_owned();
        if kind == "text/html" {
            return Err(fail("answered a page of HTML, not a file of a pack".into()));
        }
        bounded(response.into_body().into_reader(), limit).map_err(fail)
    }
}

impl ShardSource for Http {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(path, limit)
    }

    async fn shard(
        &self,
        shard: &Shard,
        _: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        whole(self.read(&shard.path, shard.length)?, arrived)
    }

    async fn keep(&self, _: &VerifiedShard) {}
}

/// Either of the two, as a command line names them.
#[derive(Clone, Debug)]
pub enum Location {
    /// A folder.
    Files(Files),
    /// An address.
    Http(Http),
}

impl Location {
    /// What `text` names: an address if it begins like one, else a folder.
    pub fn new(text: &str) -> Self {
        if text.starts_with("http://") || text.starts_with("https://") {
            Location::Http(Http::new(text))
        } else {
            Location::Files(Files::new(Path::new(text)))
        }
    }
}

impl ShardSource for Location {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        match self {
            Location::Files(files) => files.file(path, limit).await,
            Location::Http(http) => http.file(path, limit).await,
        }
    }

    async fn shard(
        &self,
        shard: &Shard,
        origin: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        match self {
            Location::Files(files) => files.shard(shard, origin, arrived).await,
            Location::Http(http) => http.shard(shard, origin, arrived).await,
        }
    }

    async fn keep(&self, _: &VerifiedShard) {}
}

fn bounded(reader: impl Read, limit: u64) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    match bytes.len() as u64 > limit {
        true => Err(format!("is longer than {limit} bytes")),
        false => Ok(bytes),
    }
}

fn whole(bytes: Vec<u8>, arrived: &mut dyn FnMut(Arrived)) -> Result<Fetched> {
    arrived(Arrived {
        bytes: bytes.len() as u64,
        cached: false,
    });
    Ok(Fetched {
        bytes,
        cached: false,
    })
}
