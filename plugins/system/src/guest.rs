//! The guest's files, read so that none of them can stop the agent.

use std::borrow::Cow;
use std::env;
use std::io;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read};

/// What is read at first; most files here are smaller.
const FIRST_READ: usize = 4096;

/// The files of a guest.
pub(crate) struct Guest {
    /// The directory that is taken for `/`; `None`: `/` itself.
    root: Option<PathBuf>,
    /// The agent's own `TZ`.
    tz: Option<String>,
    /// The agent's own `QGA_OS_RELEASE`.
    os_release: Option<PathBuf>,
}

impl Guest {
    /// The guest that the daemon runs in.
    pub(crate) fn real() -> Self {
        Self { root: None, tz: env::var("TZ").ok(), os_release: env::var_os("QGA_OS_RELEASE").map(PathBuf::from) }
    }

    /// A directory that looks like a guest.
    pub(crate) fn rehearsal(root: PathBuf) -> Self {
        Self { root: Some(root), tz: None, os_release: None }
    }

    /// The zone that the agent's environment says it is in, by the rules of tzset(3).
    pub(crate) fn tz(&self) -> Option<&str> {
        self.tz.as_deref()
    }

    /// The file that is to be read in the place of os-release(5), by qemu-ga's `QGA_OS_RELEASE`: for tests of an agent.
    pub(crate) fn os_release(&self) -> Option<&Path> {
        self.os_release.as_deref()
    }

    /// Where the file with this absolute path is.
    pub(crate) fn path<'p>(&self, absolute: &'p str) -> Cow<'p, Path> {
        match &self.root {
            None => Cow::Borrowed(Path::new(absolute)),
            Some(root) => Cow::Owned(root.join(absolute.trim_start_matches('/'))),
        }
    }

    /// The content of the file with this absolute path; see [`read_file`].
    pub(crate) fn read(&self, absolute: &str, limit: usize) -> io::Result<Vec<u8>> {
        read_file(&self.path(absolute), limit)
    }
}

/// The content of a file. Neither a fifo nor a terminal in its place makes this wait, and a file of more than `limit`
/// bytes is an error of kind `FileTooLarge`. A disk or a server that is dead still does make it wait.
pub(crate) fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let mut content = Vec::with_capacity(FIRST_READ);
    loop {
        content.reserve(1);
        match read(&file, spare_capacity(&mut content)) {
            Ok(0) => return Ok(content),
            Ok(_) if content.len() > limit => return Err(io::ErrorKind::FileTooLarge.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let directory = tempfile::tempdir().unwrap();
        let guest = Guest::rehearsal(directory.path().to_owned());
        let text = vec![b'x'; 3 * FIRST_READ];
        std::fs::write(directory.path().join("file"), &text).unwrap();
        assert_eq!(guest.read("/file", text.len()).unwrap(), text);
        assert_eq!(guest.read("/file", text.len() - 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(guest.read("/none", 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(guest.read("/", 1).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn what_never_ends_and_what_never_begins_does_not_hang() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read_file(&fifo, 100).unwrap(), b"");
        assert_eq!(read_file(Path::new("/dev/zero"), 100_000).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
