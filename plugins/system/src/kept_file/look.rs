//! Looks at a file that wait for nothing, or as long as it takes.
//!
//! A look that waits for nothing takes what the kernel has in its caches: openat2(2) with `RESOLVE_CACHED`, statx(2)
//! with `AT_STATX_DONT_SYNC`, preadv2(2) with `RWF_NOWAIT`. It fails where something is not there, where the kernel
//! (before 5.12) or the file system cannot look that way, and says nothing about the file then.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, fstatfs, makedev, open, openat2, statx,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{RAMFS_MAGIC, TMPFS_MAGIC};

/// How a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// As long as it takes.
    Waiting,
    /// Without waiting for anything.
    CachedOnly,
}

/// Which file it is and when it was changed, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    pub changed: i128,
}

impl Look {
    /// The stamp of the file at `path`, if it is a regular file.
    pub fn at(self, path: &Path) -> Result<Option<Stamp>, Errno> {
        match self.open(path, OFlags::PATH) {
            Ok(file) => self.stamp(&file),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first `limit` bytes of the file at `path`, and its stamp from before it was read, so that a change in between
    /// shows.
    pub fn read(self, path: &Path, limit: u64) -> io::Result<(Stamp, Vec<u8>)> {
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stamp = self.stamp(&file)?.ok_or(Errno::AGAIN)?;
        let content = match self {
            Self::Waiting => {
                let mut content = Vec::new();
                File::from(file).take(limit).read_to_end(&mut content)?;
                content
            }
            Self::CachedOnly => read_cached(&file, limit)?,
        };
        Ok((stamp, content))
    }

    fn open(self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        match self {
            Self::Waiting => open(path, flags, Mode::empty()),
            Self::CachedOnly => openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED),
        }
    }

    fn stamp(self, file: &OwnedFd) -> Result<Option<Stamp>, Errno> {
        let (mode, stamp) = match self {
            Self::Waiting => stamp_of(file)?,
            Self::CachedOnly => cached_stamp_of(file)?,
        };
        let is_file = FileType::from_raw_mode(mode) == FileType::RegularFile;
        Ok(is_file.then_some(stamp))
    }
}

fn stamp_of(file: &OwnedFd) -> Result<(u32, Stamp), Errno> {
    let stat = fstat(file)?;
    let stamp = Stamp {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size.try_into().unwrap_or(u64::MAX),
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    };
    Ok((stat.st_mode, stamp))
}

fn cached_stamp_of(file: &OwnedFd) -> Result<(u32, Stamp), Errno> {
    let stat = statx(file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS)?;
    let stamp = Stamp {
        device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        size: stat.stx_size,
        modified: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        changed: nanoseconds(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    };
    Ok((stat.stx_mode.into(), stamp))
}

/// A time in nanoseconds.
pub(super) fn nanoseconds(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> i128 {
    seconds.into() * 1_000_000_000 + nanoseconds.into()
}

/// Whether a file is on a file system without a disk, which may know no `RWF_NOWAIT` (tmpfs before Linux 6.6).
fn is_in_memory(file: &OwnedFd) -> bool {
    fstatfs(file).is_ok_and(|found| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&(found.f_type as u32)))
}

fn read_cached(file: &OwnedFd, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let at = content.len() as u64;
        let wanted = limit.saturating_sub(at).min(piece.len() as u64) as usize;
        if wanted == 0 {
            return Ok(content);
        }
        let mut into = [IoSliceMut::new(piece.get_mut(..wanted).unwrap_or_default())];
        let read = match preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP) if is_in_memory(file) => preadv2(file, &mut into, at, ReadWriteFlags::empty())?,
            other => other?,
        };
        if read == 0 {
            return Ok(content);
        }
        content.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
}
