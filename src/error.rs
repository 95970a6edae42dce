//! The error type. JavaScript has the same [codes](Error::code), but for `io`, which is native, and `abort`, a DOM `AbortError`.

/// An error of this library; each variant says what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This device or build cannot do this: choose another device or pack.
    #[error("not supported here: {0}")]
    Unsupported(String),
    /// Bytes could not be fetched: check the URL and the connection, then try again; verified shards stay cached.
    #[error("{url}: {reason}")]
    Network {
        /// The URL of the bytes.
        url: String,
        /// What the server or the connection did.
        reason: String,
    },
    /// The bytes of a shard do not have the length or hash of the index: the server has a damaged or another file.
    #[error("{file}: {reason}")]
    Integrity {
        /// The shard's path in the pack.
        file: String,
        /// Expected and found length or hash.
        reason: String,
    },
    /// A file could not be read or written: check the path, its permissions and the disk.
    #[error("{path}: {source}")]
    Io {
        /// The file's path.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file of the pack, or an input file, does not have the expected format.
    #[error("{file}: {reason}")]
    Format {
        /// The file's path.
        file: String,
        /// The field, what it holds and what it should hold.
        reason: String,
    },
    /// Out of memory: use a smaller size, a smaller pack or another device.
    #[error("out of memory: {0}")]
    Memory(String),
    /// The GPU device was lost: load the model again.
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    /// Another request runs: wait for it, or cancel it.
    #[error("the model is busy with another request; wait for it or cancel it")]
    Busy,
    /// The request is invalid: the message says what would be right.
    #[error("{0}")]
    Request(String),
    /// The caller cancelled.
    #[error("cancelled")]
    Aborted,
    /// A defect of this library: please report it.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A result with this library's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns the stable code for programs, equal in Rust and JavaScript.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Unsupported(_) => "unsupported",
            Error::Network { .. } => "network",
            Error::Integrity { .. } => "integrity",
            Error::Io { .. } => "io",
            Error::Format { .. } => "format",
            Error::Memory(_) => "memory",
            Error::DeviceLost(_) => "device-lost",
            Error::Busy => "busy",
            Error::Request(_) => "request",
            Error::Aborted => "abort",
            Error::Internal(_) => "internal",
        }
    }

    /// Makes an [`Error::Io`] about `path`.
    pub fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Error::Io {
            path: path.as_ref().display().to_string(),
            source,
        }
    }

    /// Makes an [`Error::Format`] about `file`.
    pub fn format(file: impl Into<String>, reason: impl ToString) -> Self {
        Error::Format {
            file: file.into(),
            reason: reason.to_string(),
        }
    }
}
