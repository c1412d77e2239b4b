//! A directory whose entries are believed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc::{S_IFMT, S_IFREG};
use nix::sys::stat::{Mode, fstat};

use super::Trust;
use super::error::{Untrusted, Why};

/// A directory that only those can write to who are trusted; see [`Trust::directory`].
#[derive(Debug)]
pub struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) trust: Trust,
}

impl Directory {
    /// The names of its entries, sorted by their bytes.
    pub fn names(&self) -> Result<Vec<OsString>, Untrusted> {
        let failed = |error| Untrusted::system(&self.path, error);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if ![b".".as_slice(), b".."].contains(&name) {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens the regular file of that name to be read. A link is refused, since it could lead out of the directory.
    pub fn open(&self, name: &OsStr) -> Result<File, Untrusted> {
        let path = self.path.join(name);
        let failed = |error| match error {
            Errno::ELOOP => Untrusted::new(&path, Why::Link),
            error => Untrusted::system(&path, error),
        };
        let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let looked_at = openat(&self.fd, name, look, Mode::empty()).and_then(fstat).map_err(failed)?;
        match looked_at.st_mode & S_IFMT {
            S_IFREG => {}
            nix::libc::S_IFLNK => return Err(Untrusted::new(&path, Why::Link)),
            _ => return Err(Untrusted::new(&path, Why::NotRegular)),
        }
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, read, Mode::empty()).map_err(failed)?;
        let stat = fstat(&fd).map_err(failed)?;
        if (stat.st_dev, stat.st_ino) != (looked_at.st_dev, looked_at.st_ino) {
            return Err(Untrusted::new(&path, Why::Changed));
        }
        self.trust.check_owner(&path, &stat)?;
        self.trust.check_mode(&path, &stat)?;
        Ok(File::from(fd))
    }

    /// A path to the entry of that name through the open directory: whatever becomes of the directory's own path, it leads to
    /// this one, as long as `self` lives (proc(5), `/proc/self/fd`).
    pub fn path_through(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }
}

impl IntoRawFd for Directory {
    fn into_raw_fd(self) -> RawFd {
        self.fd.into_raw_fd()
    }
}
