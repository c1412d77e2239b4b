//! The way to a file, one component after the other.

use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc::{S_IFDIR, S_IFLNK, S_IFMT};
use nix::sys::stat::{FileStat, Mode, fstat};

use super::error::{Untrusted, Why};
use super::{Trust, WRITABLE_BY_GROUP, WRITABLE_BY_OTHERS};

/// How many symbolic links a path may have, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// The mode bit of inode(7) with which the entries of a directory belong to their owners alone.
const STICKY: u32 = 0o1000;

/// Where a path leads.
pub(super) struct Place {
    /// The directory that the file lies in, all links resolved.
    pub directory: OwnedFd,
    /// Whether others may make files in that directory.
    pub is_shared: bool,
    /// Its name there.
    pub name: OsString,
    /// The way to it without links, for messages.
    pub path: PathBuf,
    /// The file (`O_PATH`) and what it is; `None`: there is none of that name.
    pub found: Option<(OwnedFd, FileStat)>,
}

/// A directory that has been checked.
struct Here {
    fd: OwnedFd,
    path: PathBuf,
    mode: u32,
}

/// Follows a path from the root, a relative one from the directory that the process is in. Everything on it is opened without
/// following links, checked, and only then used. With `group_may_add` the members of a group may write to the directory that the
/// file lies in, as Ubuntu has it for `/var/log`; what is in there must be no link.
pub(super) fn walk(trust: Trust, path: &Path, group_may_add: bool) -> Result<Place, Untrusted> {
    let mut todo = components(&absolute(path)?);
    let mut here = Here::root(trust)?;
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            here = here.parent(trust)?;
            continue;
        }
        let next = here.path.join(&name);
        let fd = match openat(&here.fd, name.as_os_str(), O_LOOK, Mode::empty()) {
            Err(Errno::ENOENT) if todo.is_empty() => return Ok(here.with(name, next, None)),
            opened => opened.map_err(|error| Untrusted::system(&next, error))?,
        };
        let stat = fstat(&fd).map_err(|error| Untrusted::system(&next, error))?;
        let is_directory = stat.st_mode & S_IFMT == S_IFDIR;
        if is_directory && group_may_add && todo.len() == 1 && stat.st_mode & WRITABLE_BY_OTHERS == WRITABLE_BY_GROUP {
            trust.check_owner(&next, &stat)?;
        } else {
            check(trust, &next, &stat)?;
        }
        if stat.st_mode & S_IFMT == S_IFLNK {
            links += 1;
            if links > MAX_LINKS {
                return Err(Untrusted::new(path, Why::TooManyLinks));
            }
            if here.is_shared() && here.mode & STICKY == 0 {
                return Err(Untrusted::new(&next, Why::Link));
            }
            let target = readlinkat(&fd, "").map_err(|error| Untrusted::system(&next, error))?;
            if Path::new(&target).is_absolute() {
                here = Here::root(trust)?;
            }
            for component in components(Path::new(&target)).into_iter().rev() {
                todo.push_front(component);
            }
        } else if todo.is_empty() {
            return Ok(here.with(name, next, Some((fd, stat))));
        } else if is_directory {
            here = Here { fd, path: next, mode: stat.st_mode };
        } else {
            return Err(Untrusted::new(&next, Why::NotDirectory));
        }
    }
    // The path ended in the root, in ".." or in a link to such.
    let fd = openat(&here.fd, ".", O_LOOK, Mode::empty()).map_err(|error| Untrusted::system(&here.path, error))?;
    let stat = fstat(&fd).map_err(|error| Untrusted::system(&here.path, error))?;
    let path = here.path.clone();
    Ok(here.with(".".into(), path, Some((fd, stat))))
}

/// To look at what something is, without opening it: a fifo does not block, a device notices nothing.
const O_LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

impl Here {
    fn root(trust: Trust) -> Result<Self, Untrusted> {
        let path = PathBuf::from("/");
        let fd = nix::fcntl::open("/", O_LOOK, Mode::empty()).map_err(|error| Untrusted::system(&path, error))?;
        Self::checked(trust, fd, path)
    }

    fn parent(mut self, trust: Trust) -> Result<Self, Untrusted> {
        self.path.pop();
        let fd = openat(&self.fd, "..", O_LOOK, Mode::empty());
        let fd = fd.map_err(|error| Untrusted::system(&self.path, error))?;
        Self::checked(trust, fd, self.path)
    }

    fn checked(trust: Trust, fd: OwnedFd, path: PathBuf) -> Result<Self, Untrusted> {
        let stat = fstat(&fd).map_err(|error| Untrusted::system(&path, error))?;
        check(trust, &path, &stat)?;
        Ok(Self { fd, path, mode: stat.st_mode })
    }

    fn is_shared(&self) -> bool {
        self.mode & WRITABLE_BY_OTHERS != 0
    }

    fn with(self, name: OsString, path: PathBuf, found: Option<(OwnedFd, FileStat)>) -> Place {
        Place { is_shared: self.is_shared(), directory: self.fd, name, path, found }
    }
}

/// The rule for whatever is on the way.
fn check(trust: Trust, path: &Path, stat: &FileStat) -> Result<(), Untrusted> {
    trust.check_owner(path, stat)?;
    let is_safe = match stat.st_mode & S_IFMT {
        // A link cannot be changed, only exchanged, which its directory's mode decides (symlink(7)).
        S_IFLNK => true,
        // Others may add to it, and cannot exchange what is not theirs.
        S_IFDIR => stat.st_mode & STICKY != 0,
        // A device is not changed by what is written to it.
        nix::libc::S_IFCHR => true,
        _ => false,
    };
    if is_safe { Ok(()) } else { trust.check_mode(path, stat) }
}

fn absolute(path: &Path) -> Result<PathBuf, Untrusted> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    Ok(env::current_dir().map_err(|error| Untrusted::io(path, &error))?.join(path))
}

fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        _ => None,
    });
    names.map(OsStr::to_owned).collect()
}
