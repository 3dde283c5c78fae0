//! What can go wrong in the lab, told in one line with the values compared.

use std::io;

/// A failed step of the lab.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{what}: not within {limit_ms} ms; last seen: {last}")]
    Timeout { what: String, limit_ms: u128, last: String },
    #[error("`{command}` ended with {code}: {said}")]
    Program { command: String, code: String, said: String },
    /// Something that the machine lacks, with the cure.
    #[error("{0}")]
    Missing(String),
    /// The cluster did not do what the story tells, or an answer made no sense.
    #[error("{0}")]
    Unexpected(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when an operating-system call failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { what: what(), source: source.into() })
    }
}

/// An [`Error::Unexpected`] as a result, for the end of a chain.
pub(crate) fn unexpected<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Unexpected(what.into()))
}
