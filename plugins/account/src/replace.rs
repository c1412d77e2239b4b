//! Replacing a user's key file as a whole: whoever reads it sees the old one or the new one, also where the daemon is
//! killed or the disk is full, and nobody but the user gains anything by exchanging files meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use guestd_sdk::{CommandError, errno_text};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, fchmod, fchown, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::Uid;

use crate::identity::as_user;
use crate::key_file::{Content, DIRECTORY, Directory, FILE, KeyFile, path_of};
use crate::users::User;

/// The name under which the new file is written. Always the same, so that the one that a killed daemon left is
/// replaced and not joined by others.
const NEW_FILE: &str = ".authorized_keys.guestd";

/// The access that a new directory and a new file give, those that sshd(8) recommends.
const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// What is kept of the mode of a file that is replaced: all but the right of others to write to it.
const KEPT_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// What came of a replacement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The file has the new text.
    Done,
    /// Somebody else has changed the file since it was read; nothing was done.
    Changed,
}

/// Who a file or directory is handled as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// With the user's rights.
    Users,
    /// With the daemon's own, where nothing belongs to the user.
    Daemons,
}

/// Makes `text` the content of a user's key file, which was `found`. It and its directory are made where they do not
/// exist; owner and mode of a file that is replaced are kept, save that nobody but the owner may write to it, with
/// which sshd would not read it (`StrictModes` in sshd_config(5)).
///
/// `in_time` is asked right before the new file takes its place: where the client has been told that the command
/// failed, nothing may happen any more.
pub(crate) fn replace(
    user: &User,
    found: KeyFile,
    text: &[u8],
    in_time: impl Fn() -> bool + Sync,
) -> Result<Outcome, CommandError> {
    let path = path_of(user);
    let failed = |error: io::Error| {
        CommandError::new(format!("failed to write to '{}': {}", path.display(), errno_text(&error)))
    };
    let directory = match found.directory {
        Some(directory) => directory,
        None => make_directory(user, found.home.as_ref()).map_err(|error| {
            let path = user.home.join(DIRECTORY);
            CommandError::new(format!("failed to create directory '{}': {}", path.display(), errno_text(&error)))
        })?,
    };
    let rights = rights(user, &directory, found.content.as_ref()).map_err(failed)?;
    let replacement = Replacement { user, directory: &directory, old: found.content.as_ref(), text };
    with(rights, user, || replacement.carry_out(&in_time)).map_err(failed)
}

/// With whose rights a file is replaced. Those of the user suffice where directory and file are the user's. What belongs to
/// root is root's to write, and stays root's. Nobody else's is touched; sshd would not read it.
fn rights(user: &User, directory: &Directory, content: Option<&Content>) -> io::Result<Rights> {
    let file_owner = content.map_or(user.uid, |content| Uid::from_raw(content.stat.st_uid));
    let mut rights = Rights::Users;
    for (name, owner) in [(DIRECTORY, directory.owner()), (FILE, file_owner)] {
        if owner != user.uid {
            check_owner(name, owner)?;
            rights = Rights::Daemons;
        }
    }
    Ok(rights)
}

fn check_owner(name: &str, owner: Uid) -> io::Result<()> {
    if owner.is_root() {
        return Ok(());
    }
    Err(io::Error::other(format!("'{name}' belongs to another user ({owner})")))
}

fn with<T: Send>(rights: Rights, user: &User, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    match rights {
        Rights::Users => as_user(user, act).and_then(|done| done),
        Rights::Daemons => act(),
    }
}

fn make_directory(user: &User, home: Option<&Directory>) -> io::Result<Directory> {
    let home = home.ok_or(Errno::NOENT)?;
    let mut rights = Rights::Users;
    if home.owner() != user.uid {
        check_owner("the home directory", home.owner())?;
        if Mode::from_raw_mode(home.stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return Err(io::Error::other("the home directory is root's, and others may write to it"));
        }
        rights = Rights::Daemons;
    }
    with(rights, user, || {
        match mkdirat(&home.fd, DIRECTORY, DIRECTORY_MODE) {
            // Another's may have come first, which is as good.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = Directory::new(openat(&home.fd, DIRECTORY, flags, Mode::empty())?)?;
        if rights == Rights::Daemons && directory.owner() != user.uid {
            fchown(&directory.fd, Some(user.uid), Some(user.gid))?;
        }
        // The daemon's umask must not take anything from it.
        fchmod(&directory.fd, DIRECTORY_MODE)?;
        Directory::new(directory.fd)
    })
}

/// A replacement, about to be carried out.
struct Replacement<'a> {
    user: &'a User,
    directory: &'a Directory,
    old: Option<&'a Content>,
    text: &'a [u8],
}

impl Replacement<'_> {
    fn carry_out(&self, in_time: &impl Fn() -> bool) -> io::Result<Outcome> {
        let new = self.create()?;
        let outcome = self.write(new).and_then(|()| self.put_in_place(in_time));
        if !matches!(outcome, Ok(Outcome::Done)) {
            // It is replaced next time if this fails.
            let _ = unlinkat(&self.directory.fd, NEW_FILE, AtFlags::empty());
        }
        outcome
    }

    /// Makes the new file, which nobody else has ever seen, whatever is at its place.
    fn create(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(&self.directory.fd, NEW_FILE, flags, FILE_MODE).map(File::from);
        match create() {
            Err(Errno::EXIST) => {
                unlinkat(&self.directory.fd, NEW_FILE, AtFlags::empty())?;
                Ok(create()?)
            }
            created => Ok(created?),
        }
    }

    fn write(&self, mut new: File) -> io::Result<()> {
        new.write_all(self.text)?;
        let (owner, group, mode) = match self.old {
            Some(old) => {
                let mode = Mode::from_raw_mode(old.stat.st_mode).intersection(KEPT_MODE);
                (Uid::from_raw(old.stat.st_uid), Gid::from_raw(old.stat.st_gid), mode)
            }
            None => (self.user.uid, self.user.gid, FILE_MODE),
        };
        let made = rustix::fs::fstat(&new)?;
        if made.st_uid != owner.as_raw() {
            fchown(&new, Some(owner), None)?;
        }
        if made.st_gid != group.as_raw() {
            match fchown(&new, None, Some(group)) {
                // A user may give a file only to groups of the user's own; then it stays with the first of them.
                Err(Errno::PERM) => {}
                done => done?,
            }
        }
        fchmod(&new, mode)?;
        new.sync_all()
    }

    fn put_in_place(&self, in_time: &impl Fn() -> bool) -> io::Result<Outcome> {
        if !self.is_as_before()? {
            return Ok(Outcome::Changed);
        }
        if !in_time() {
            return Err(Errno::TIMEDOUT.into());
        }
        renameat(&self.directory.fd, NEW_FILE, &self.directory.fd, FILE)?;
        // The file itself is on the disk. Where its name is not, a power cut brings the old one back.
        if let Ok(directory) = self.reopened() {
            let _ = fsync(directory);
        }
        Ok(Outcome::Done)
    }

    /// The directory as one that can be synchronized.
    fn reopened(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.directory.fd, ".", flags, Mode::empty())?)
    }

    fn is_as_before(&self) -> io::Result<bool> {
        let now = self.directory.file_stat()?;
        Ok(match (&now, self.old) {
            (None, None) => true,
            (Some(now), Some(old)) => version(now) == version(&old.stat),
            _ => false,
        })
    }
}

/// What changes whenever a file is written to or replaced.
fn version(stat: &Stat) -> impl PartialEq {
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}
