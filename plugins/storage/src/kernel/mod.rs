//! What the set asks of the kernel that can hang or changes something, as a trait, so that its tests need no disks.

mod linux;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

pub(crate) use linux::{Linux, can_tell_mounts};

/// The size of an NVMe drive's SMART log, in bytes (NVM Express Base Specification, log page 02h).
pub(crate) const SMART_LOG: usize = 512;

/// How full a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// What is used.
    pub used: u64,
    /// What users without privileges can use, used space included.
    pub total: u64,
    /// What root can use, used space included.
    pub total_privileged: u64,
}

/// What a trim has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// How much was discarded, in bytes.
    pub bytes: u64,
    /// The shortest stretch that was discarded, as the file system rounded it, in bytes.
    pub minimum: u64,
}

/// Why a mount could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Its path leads to another mount: something is mounted over it, or it has gone.
    Covered,
    /// The kernel refused.
    Refused(io::Error),
}

/// The kernel, as far as this set needs it. Every method may block, for ever if a disk or a server is dead.
pub(crate) trait Kernel: Send + Sync + 'static {
    /// statvfs(3) of a mount point, if it leads to the mount with that number, which old kernels cannot tell.
    fn space(&self, point: &Path, mount: u32) -> io::Result<Space>;

    /// Opens a mount by its mount point and makes sure that it is the mount with that number.
    fn open(&self, point: &Path, mount: u32) -> Result<OwnedFd, OpenError>;

    /// FITRIM on the whole of a file system; `minimum` is in bytes.
    fn trim(&self, filesystem: &OwnedFd, minimum: u64) -> io::Result<Trimmed>;

    /// Reads the SMART log of the NVMe drive behind a device node.
    fn smart_log(&self, node: &Path) -> io::Result<[u8; SMART_LOG]>;
}
