//! The one rule of trust: what the agent believes, runs or writes to must be beyond the reach of whoever could not do
//! without the agent what it would then do for them.
//!
//! A file, every directory on its way and every link in them belongs to root, to the user that the agent runs as or to one
//! that is named for it ([`Trust::also`]), and nobody else may write to it. An access list of acl(5) that lets others write shows in
//! the group's bits. In a directory with the sticky bit others may add files, since they cannot exchange
//! what is not theirs (inode(7)). Links are followed, and their way is checked as well.
//!
//! Nothing is opened to be looked at, so a fifo does not block and a device notices nothing; what is opened is what was looked at.
//! Who could still exchange it is trusted.

mod directory;
mod error;
mod walk;

use std::fs::{File, Permissions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc::{S_IFCHR, S_IFDIR, S_IFMT, S_IFREG};
use nix::sys::stat::{FileStat, Mode, fstat};
use nix::unistd::geteuid;

pub use directory::Directory;
pub use error::Untrusted;
use error::Why;
use walk::{Place, walk};

/// Mode bits of inode(7): all that lets others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const WRITABLE_BY_GROUP: u32 = 0o020;
/// The largest file that is read as text, in bytes: a hundred times what a long configuration has.
const MAX_TEXT: u64 = 1 << 20;

/// Whom a file may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// Besides root.
    owners: [u32; 2],
}

impl Trust {
    /// Root and the user that the agent runs as.
    pub fn of_agent() -> Self {
        Self { owners: [geteuid().as_raw(); 2] }
    }

    /// One user more, for what is done as that user.
    #[must_use]
    pub fn also(self, uid: u32) -> Self {
        let [own, _] = self.owners;
        Self { owners: [own, uid] }
    }

    /// Whether a path leads to a regular file that may be run.
    pub fn program(self, path: &Path) -> Result<(), Untrusted> {
        regular(&walk(self, path, false)?).map(drop)
    }

    /// Reads a text of at most 1 MiB.
    pub fn text(self, path: &Path) -> Result<String, Untrusted> {
        let file = self.open(path)?;
        let mut bytes = Vec::new();
        file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(|error| Untrusted::io(path, &error))?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(Untrusted::new(path, Why::TooLarge(MAX_TEXT)));
        }
        String::from_utf8(bytes).map_err(|_| Untrusted::new(path, Why::NotText))
    }

    /// Opens a regular file to be read.
    pub fn open(self, path: &Path) -> Result<File, Untrusted> {
        let place = walk(self, path, false)?;
        let stat = regular(&place)?;
        reopen(&place, OFlag::O_RDONLY, &stat).map(File::from)
    }

    /// Opens a directory whose entries are to be believed: nobody else may add to it, sticky bit or not.
    pub fn directory(self, path: &Path) -> Result<Directory, Untrusted> {
        let place = walk(self, path, false)?;
        let stat = exists(&place)?;
        if stat.st_mode & S_IFMT != S_IFDIR {
            return Err(Untrusted::new(&place.path, Why::NotDirectory));
        }
        self.check_mode(&place.path, &stat)?;
        let fd = reopen(&place, OFlag::O_RDONLY | OFlag::O_DIRECTORY, &stat)?;
        Ok(Directory { fd, path: path.to_owned(), trust: self })
    }

    /// Opens a regular file to be written, or makes it with `mode` whatever the umask. What others could have put in its place is
    /// refused.
    pub fn writable(self, path: &Path, mode: u32) -> Result<File, Untrusted> {
        create(&walk(self, path, false)?, OFlag::O_WRONLY, mode)
    }

    /// Opens a log to be appended to, or makes it with `mode` whatever the umask: a regular file or a character device.
    /// The directory that it lies in may be writable for a group.
    pub fn log(self, path: &Path, mode: u32) -> Result<File, Untrusted> {
        let place = walk(self, path, true)?;
        if is_device(&place) {
            return reopen(&place, OFlag::O_WRONLY | OFlag::O_APPEND, &exists(&place)?).map(File::from);
        }
        create(&place, OFlag::O_WRONLY | OFlag::O_APPEND, mode)
    }

    /// Whether [`Trust::writable`] would refuse a path. Nothing is made.
    pub fn check_writable(self, path: &Path) -> Result<(), Untrusted> {
        to_be_written(&walk(self, path, false)?).map(drop)
    }

    /// Whether [`Trust::log`] would refuse a path. Nothing is made.
    pub fn check_log(self, path: &Path) -> Result<(), Untrusted> {
        let place = walk(self, path, true)?;
        if is_device(&place) { Ok(()) } else { to_be_written(&place).map(drop) }
    }

    fn check_owner(self, path: &Path, stat: &FileStat) -> Result<(), Untrusted> {
        if stat.st_uid == 0 || self.owners.contains(&stat.st_uid) {
            return Ok(());
        }
        Err(Untrusted::new(path, Why::Owner(stat.st_uid)))
    }

    fn check_mode(self, path: &Path, stat: &FileStat) -> Result<(), Untrusted> {
        if stat.st_mode & WRITABLE_BY_OTHERS == 0 {
            return Ok(());
        }
        Err(Untrusted::new(path, Why::Writable(stat.st_mode)))
    }
}

/// What is there.
fn exists(place: &Place) -> Result<FileStat, Untrusted> {
    match &place.found {
        Some((_, stat)) => Ok(*stat),
        None => Err(Untrusted::system(&place.path, Errno::ENOENT)),
    }
}

/// What is there, if it is a regular file.
fn regular(place: &Place) -> Result<FileStat, Untrusted> {
    let stat = exists(place)?;
    match stat.st_mode & S_IFMT {
        S_IFREG => Ok(stat),
        S_IFDIR => Err(Untrusted::new(&place.path, Why::Directory)),
        _ => Err(Untrusted::new(&place.path, Why::NotRegular)),
    }
}

/// Opens what was looked at.
fn reopen(place: &Place, flags: OFlag, looked_at: &FileStat) -> Result<OwnedFd, Untrusted> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let failed = |error| Untrusted::system(&place.path, error);
    let fd = openat(&place.directory, place.name.as_os_str(), flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&fd).map_err(failed)?;
    if (stat.st_dev, stat.st_ino) == (looked_at.st_dev, looked_at.st_ino) {
        return Ok(fd);
    }
    Err(Untrusted::new(&place.path, Why::Changed))
}

fn is_device(place: &Place) -> bool {
    place.found.as_ref().is_some_and(|(_, stat)| stat.st_mode & S_IFMT == S_IFCHR)
}

/// What is there to be written to, if it may be; `None`: it is to be made.
fn to_be_written(place: &Place) -> Result<Option<FileStat>, Untrusted> {
    if place.found.is_none() {
        return Ok(None);
    }
    let stat = regular(place)?;
    // Where others can make files they can give a second name to one that is not theirs (link(2)).
    if place.is_shared && stat.st_nlink != 1 {
        return Err(Untrusted::new(&place.path, Why::OtherNames));
    }
    Ok(Some(stat))
}

/// Opens a regular file to be written, or makes it.
fn create(place: &Place, flags: OFlag, mode: u32) -> Result<File, Untrusted> {
    if let Some(stat) = to_be_written(place)? {
        return reopen(place, flags, &stat).map(File::from);
    }
    let flags = flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let made = openat(&place.directory, place.name.as_os_str(), flags, Mode::from_bits_truncate(mode));
    let file = File::from(made.map_err(|error| Untrusted::system(&place.path, error))?);
    let permissions = Permissions::from_mode(mode);
    file.set_permissions(permissions).map_err(|error| Untrusted::io(&place.path, &error))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
