//! Why a path is not trusted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Why a path is not trusted, or could not be looked at. Its text is a sentence without its end that names the place: `'/opt/x' is
/// owned by user 1000, who could change it`.
#[derive(Debug)]
pub struct Untrusted {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    Owner(u32),
    Writable(u32),
    Link,
    TooManyLinks,
    OtherNames,
    NotRegular,
    NotDirectory,
    Directory,
    Changed,
    TooLarge(u64),
    NotText,
    System(Errno),
}

impl Untrusted {
    pub(super) fn new(path: &Path, why: Why) -> Self {
        Self { path: path.to_owned(), why }
    }

    pub(super) fn system(path: &Path, error: Errno) -> Self {
        Self::new(path, Why::System(error))
    }

    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::system(path, Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
    }

    /// The error of the system, where that is what it is: nothing was found that is not to be trusted.
    pub fn errno(&self) -> Option<Errno> {
        match self.why {
            Why::System(error) => Some(error),
            _ => None,
        }
    }

    /// Whether somebody could change what is there, or what leads to it.
    pub fn is_about_trust(&self) -> bool {
        matches!(self.why, Why::Owner(_) | Why::Writable(_) | Why::Link | Why::OtherNames | Why::Changed)
    }

    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::ENOENT)
    }

    /// Whether the file itself is trusted, but what it holds cannot be used: it is no text, or too much of it.
    pub fn is_about_content(&self) -> bool {
        matches!(self.why, Why::NotText | Why::TooLarge(_))
    }

    /// Whether the fault lies with this path itself, and not on the way to it.
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }

    /// The same as a clause about `path`: `is owned by user 1000, who could change it`. Where the fault lies elsewhere on the
    /// way to it, that is named.
    pub fn about(&self, path: &Path) -> String {
        match self.why {
            _ if self.is_at(path) => self.clause(),
            Why::System(error) => format!("cannot be reached: '{}': {}", self.path.display(), error.desc()),
            _ => format!("cannot be trusted: {self}"),
        }
    }

    fn clause(&self) -> String {
        match &self.why {
            Why::Owner(uid) => format!("is owned by user {uid}, who could change it"),
            Why::Writable(mode) => format!("can be written by others (mode {:04o})", mode & 0o7777),
            Why::Link => "is a symbolic link".to_owned(),
            Why::TooManyLinks => "has too many symbolic links".to_owned(),
            Why::OtherNames => "has another name elsewhere (a hard link)".to_owned(),
            Why::NotRegular => "is no regular file".to_owned(),
            Why::NotDirectory => "is no directory".to_owned(),
            Why::Directory => "is a directory".to_owned(),
            Why::Changed => "was exchanged while it was looked at".to_owned(),
            Why::TooLarge(limit) => format!("is larger than {limit} bytes"),
            Why::NotText => "is not UTF-8".to_owned(),
            Why::System(error) => format!("cannot be looked at: {}", error.desc()),
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' {}", self.path.display(), self.clause())
    }
}

impl std::error::Error for Untrusted {}
