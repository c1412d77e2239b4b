//! The way to a user's `.ssh/authorized_keys`, on which nothing is trusted: the user owns the home directory and may
//! put links, fifos and directories where files are expected, and exchange them at any moment.
//!
//! Directories are opened one after the other, each by its descriptor and without following a link, with the user's own
//! rights. Links on the way to the home directory itself are followed: root has put them there.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use guestd_sdk::{CommandError, errno_text};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::Uid;

use crate::identity::as_user;
use crate::users::User;

/// The directory's name.
pub(crate) const DIRECTORY: &str = ".ssh";
/// The file's name.
pub(crate) const FILE: &str = "authorized_keys";

/// How large the file may be, in bytes: some ten thousand keys.
pub(crate) const SIZE_LIMIT: usize = 4 << 20;

/// How directories are opened: only to look names up in them, and never through a link.
const DIRECTORY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How the file is opened: without waiting for the other end of a fifo or the holder of a lease (fcntl(2)).
const FILE_FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// What is there of a user's key file.
pub(crate) struct KeyFile {
    /// The home directory.
    pub home: Option<Directory>,
    /// `.ssh` in it.
    pub directory: Option<Directory>,
    /// The file in that.
    pub content: Option<Content>,
}

/// A directory, opened with the flags `O_PATH`.
pub(crate) struct Directory {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// What it was when it was opened.
    pub stat: Stat,
}

/// The file and what is in it.
pub(crate) struct Content {
    /// What the file was when it was read.
    pub stat: Stat,
    /// Its text.
    pub text: Vec<u8>,
}

/// The path of a user's key file, for messages.
pub(crate) fn path_of(user: &User) -> PathBuf {
    user.home.join(DIRECTORY).join(FILE)
}

/// Looks at a user's key file and reads it. What does not exist is not there; anything else that keeps it from being
/// read is an error.
pub(crate) fn read(user: &User) -> Result<KeyFile, CommandError> {
    as_user(user, || read_with_own_rights(user)).and_then(|found| found).map_err(|error| {
        CommandError::new(format!("failed to read '{}': {}", path_of(user).display(), errno_text(&error)))
    })
}

/// The error for a key file that does not exist, in qemu-ga's words.
pub(crate) fn missing(user: &User) -> CommandError {
    let path = path_of(user);
    let path = path.display();
    CommandError::new(format!("failed to read '{path}': Failed to open file “{path}”: No such file or directory"))
}

fn read_with_own_rights(user: &User) -> io::Result<KeyFile> {
    let mut found = KeyFile { home: None, directory: None, content: None };
    // The dot is for automounters, which do not act on a last component that is only looked at.
    let flags = DIRECTORY_FLAGS.difference(OFlags::NOFOLLOW);
    found.home = existing(openat(CWD, user.home.join("."), flags, Mode::empty()))?.map(Directory::new).transpose()?;
    let Some(home) = &found.home else { return Ok(found) };
    found.directory = match openat(&home.fd, DIRECTORY, DIRECTORY_FLAGS, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let stat = statat(&home.fd, DIRECTORY, AtFlags::SYMLINK_NOFOLLOW)?;
            return Err(not_a("directory", DIRECTORY, &stat));
        }
        opened => existing(opened)?.map(Directory::new).transpose()?,
    };
    if let Some(directory) = &found.directory {
        found.content = directory.read_file()?;
    }
    Ok(found)
}

impl Directory {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        Ok(Self { fd, stat })
    }

    /// Who owns it.
    pub(crate) fn owner(&self) -> Uid {
        Uid::from_raw(self.stat.st_uid)
    }

    /// What is at the file's place now, whatever it is.
    pub(crate) fn file_stat(&self) -> io::Result<Option<Stat>> {
        existing(statat(&self.fd, FILE, AtFlags::SYMLINK_NOFOLLOW))
    }

    fn read_file(&self) -> io::Result<Option<Content>> {
        let file = match openat(&self.fd, FILE, FILE_FLAGS, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO) => {
                let stat = statat(&self.fd, FILE, AtFlags::SYMLINK_NOFOLLOW)?;
                return Err(not_a("regular file", FILE, &stat));
            }
            opened => existing(opened)?,
        };
        let Some(file) = file.map(File::from) else { return Ok(None) };
        let stat = fstat(&file)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(not_a("regular file", FILE, &stat));
        }
        let mut text = Vec::new();
        file.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut text)?;
        if text.len() > SIZE_LIMIT {
            return Err(io::Error::other(format!("it is larger than {} MiB", SIZE_LIMIT >> 20)));
        }
        Ok(Some(Content { stat, text }))
    }
}

fn existing<T>(result: rustix::io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn not_a(expected: &str, name: &str, stat: &Stat) -> io::Error {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => "symbolic link, which is not followed",
        FileType::Directory => "directory",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::RegularFile => "regular file",
        _ => "device",
    };
    io::Error::other(format!("'{name}' is a {what}, and no {expected}"))
}
