//! What can go wrong in the harness itself.

use std::io;

/// A failure of the harness or of the virtual machine, not of a single agent command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that this machine lacks; tests that meet it are skipped.
    #[error("{0}")]
    Unavailable(String),
    /// An operation of the operating system failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something did not happen in the time it is given.
    #[error("timed out: {0}")]
    Timeout(String),
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// For `map_err`: an I/O failure with what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
