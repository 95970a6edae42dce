//! Packs as native programs reach them: a local folder, or a host on the network.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::manifest::Shard;
use super::source::{Arrived, Fetched, Origin, ShardSource, VerifiedShard};
use crate::error::{Error, Result};

/// Where a pack lies.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a local folder.
    Folder(PathBuf),
    /// In a folder of a host; fetched each time, nothing is kept.
    Host(String, ureq::Agent),
}

impl Location {
    /// What a command line names: an address if it begins like one, else a folder.
    pub fn new(text: &str) -> Self {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Self::folder(Path::new(text));
        }
        let limits = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build();
        Location::Host(text.trim_end_matches('/').to_owned(), limits.into())
    }

    /// A local folder.
    pub fn folder(path: &Path) -> Self {
        Location::Folder(path.to_owned())
    }

    /// A file of at most `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        match self {
            Location::Folder(folder) => {
                let path = folder.join(path);
                let name = path.display().to_string();
                let file = std::fs::File::open(&path).map_err(|e| Error::format(&name, e))?;
                bounded(file, limit).map_err(|reason| Error::format(&name, reason))
            }
            Location::Host(folder, agent) => {
                let url = format!("{folder}/{path}");
                let fail = |reason: String| Error::Network {
                    url: url.clone(),
                    reason,
                };
                let response = agent.get(&url).call().map_err(|e| fail(e.to_string()))?;
                if response.body().mime_type() == Some("text/html") {
                    let reason = "answered a page of HTML, not a file of a pack";
                    return Err(fail(reason.to_owned()));
                }
                bounded(response.into_body().into_reader(), limit).map_err(fail)
            }
        }
    }
}

impl ShardSource for Location {
    async fn file(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        self.read(path, limit)
    }

    async fn shard(
        &self,
        shard: &Shard,
        _: Origin,
        arrived: &mut dyn FnMut(Arrived),
    ) -> Result<Fetched> {
        let bytes = self.read(&shard.path, shard.length)?;
        arrived(Arrived {
            bytes: bytes.len() as u64,
            cached: false,
        });
        Ok(Fetched {
            bytes,
            cached: false,
        })
    }

    async fn keep(&self, _: &VerifiedShard) {}
}

fn bounded(reader: impl Read, limit: u64) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit {
        Err(format!("is longer than {limit} bytes"))
    } else {
        Ok(bytes)
    }
}
