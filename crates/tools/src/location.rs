//! Location of a pack: a local folder, or a folder of an HTTP server.

use std::path::Path;
use std::time::Duration;

use unireal::internals::weights::files::{Folder, ReadFile, read_at_most};
use unireal::{Error, Result};

/// The location of a pack.
#[derive(Clone, Debug)]
pub enum Location {
    /// A local folder.
    Folder(Folder),
    /// The URL of a folder, without a trailing slash; files are fetched each time.
    Http(String, ureq::Agent),
}

impl Location {
    /// Parses a command-line argument: a URL if it begins with http:// or https://, else a folder.
    pub fn new(text: &str) -> Self {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Self::folder(Path::new(text));
        }
        let limits = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build();
        Location::Http(text.trim_end_matches('/').to_owned(), limits.into())
    }

    /// Returns the location of a local folder.
    pub fn folder(path: &Path) -> Self {
        Location::Folder(Folder::new(path))
    }
}

impl ReadFile for Location {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        match self {
            Location::Folder(folder) => folder.read(path, limit),
            Location::Http(folder, agent) => {
                let url = format!("{folder}/{path}");
                let fail = |reason: String| Error::Network {
                    url: url.clone(),
                    reason,
                };
                let response = agent.get(&url).call().map_err(|e| fail(e.to_string()))?;
                if response.body().mime_type() == Some("text/html") {
                    return Err(fail("got an HTML page, expected a file of a pack".into()));
                }
                read_at_most(response.into_body().into_reader(), limit).map_err(fail)
            }
        }
    }
}
