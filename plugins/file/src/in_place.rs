//! Reads and writes that wait for nothing, for calls in the daemon's event loop.
//!
//! What the page cache holds, or has room for, is moved at once (preadv2(2), `RWF_NOWAIT`). For all else, errors among
//! it, the call is made again where it may block.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

/// The most bytes that are moved in place: encoding them takes some 0.1 ms, which nobody else has to wait for longer.
pub const MOST: usize = 256 * 1024;

/// The offset that stands for the file's position (preadv2(2): -1).
const AT_POSITION: u64 = u64::MAX;
/// linux/magic.h; nix has no name for it.
const RAMFS_MAGIC: FsType = FsType(0x8584_58F6);

/// What is possible in place with an open regular file.
pub struct InPlace {
    /// The file system is the memory itself: there is no device to wait for, and it does not take the flag either.
    in_memory: bool,
    reads: bool,
    writes: bool,
}

impl InPlace {
    /// What is possible with a file that was just opened.
    pub fn of(file: &File) -> io::Result<Self> {
        let in_memory = fstatfs(file).is_ok_and(|stat| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&stat.filesystem_type()));
        let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
        // Bytes that were appended cannot be taken back, as they must be if there is no room for the rest.
        Ok(Self { in_memory, reads: true, writes: !flags.contains(OFlag::O_APPEND) })
    }

    /// Nothing is.
    pub fn impossible() -> Self {
        Self { in_memory: false, reads: false, writes: false }
    }

    /// Whether a read is worth trying.
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// Whether a write is worth trying.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Reads at the position. Fails where it would have to wait.
    pub fn read(&mut self, mut file: &File, buf: &mut [u8]) -> io::Result<usize> {
        if self.in_memory {
            return file.read(buf);
        }
        let result = preadv2(file.as_fd(), &mut [IoSliceMut::new(buf)], AT_POSITION, ReadWriteFlags::NOWAIT);
        self.reads = result != Err(Errno::OPNOTSUPP);
        Ok(result?)
    }

    /// Writes at the position. Fails where it would have to wait.
    pub fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        if self.in_memory {
            return file.write(bytes);
        }
        let result = pwritev2(file.as_fd(), &[IoSlice::new(bytes)], AT_POSITION, ReadWriteFlags::NOWAIT);
        self.writes = result != Err(Errno::OPNOTSUPP);
        Ok(result?)
    }
}
