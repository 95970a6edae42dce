//! The one error type. Its [`code`](Error::code) is the same in Rust, in JavaScript and in the docs.

/// What went wrong, with the numbers, and (in each variant's docs) what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This device or build cannot do what was asked: choose another device or pack.
    #[error("not supported here: {0}")]
    Unsupported(String),
    /// Bytes could not be fetched: check the address and the connection, then try again; what was verified is kept.
    #[error("{url}: {reason}")]
    Network {
        /// Where the bytes were to come from.
        url: String,
        /// What the other side or the connection did.
        reason: String,
    },
    /// Bytes arrived, but they are not the ones that the index promises: the host serves a damaged or a changed file.
    #[error("{file}: {reason}")]
    Integrity {
        /// The shard's path in the pack.
        file: String,
        /// Expected and found length or hash.
        reason: String,
    },
    /// A file of the pack, or an input file, is not what its format says.
    #[error("{file}: {reason}")]
    Format {
        /// The file's path.
        file: String,
        /// The field, what it holds and what it should hold.
        reason: String,
    },
    /// The device or the process has not enough memory: use a smaller size, a smaller pack or another device.
    #[error("out of memory: {0}")]
    Memory(String),
    /// The GPU went away: load the model again.
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    /// One request runs at a time: wait for it, or cancel it.
    #[error("the model is busy with another request; wait for it or cancel it")]
    Busy,
    /// The request contradicts itself or the model: the message says what would be right.
    #[error("{0}")]
    Request(String),
    /// The caller cancelled.
    #[error("cancelled")]
    Aborted,
    /// A defect of this library: please report it.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The stable code that programs compare, equal in Rust and JavaScript.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Unsupported(_) => "unsupported",
            Error::Network { .. } => "network",
            Error::Integrity { .. } => "integrity",
            Error::Format { .. } => "format",
            Error::Memory(_) => "memory",
            Error::DeviceLost(_) => "device-lost",
            Error::Busy => "busy",
            Error::Request(_) => "request",
            Error::Aborted => "abort",
            Error::Internal(_) => "internal",
        }
    }

    /// A [`Error::Format`] about `file`.
    pub fn format(file: impl Into<String>, reason: impl ToString) -> Self {
        Error::Format {
            file: file.into(),
            reason: reason.to_string(),
        }
    }
}
