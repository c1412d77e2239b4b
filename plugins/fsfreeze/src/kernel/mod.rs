//! What the set asks of the kernel, as a trait, so that its tests freeze nothing.

#[cfg(not(test))]
mod descriptors;
pub mod limited;
#[cfg(not(test))]
mod linux;
#[cfg(not(test))]
mod memory;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::plan::mountinfo::{DeviceId, Mount};

#[cfg(not(test))]
pub use linux::Linux;

/// Why a mount could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// Its path leads elsewhere: something is mounted over it, or it has gone.
    Unreachable,
    /// What is seen of the file system there is a fifo, a socket or a device node, by which it cannot be frozen.
    NoFile,
    /// The kernel refused to follow the path to it.
    RefusedOnTheWay(Errno),
    /// The kernel refused to open it.
    Refused(Errno),
}

/// The kernel, as far as freezing goes. Every method but [`Kernel::sysfs`] may block, `freeze` and `thaw` for ever.
pub trait Kernel: Send + Sync + 'static {
    /// The text of `/proc/self/mountinfo`.
    fn mountinfo(&self) -> io::Result<Vec<u8>>;

    /// Where sysfs is mounted.
    fn sysfs(&self) -> &Path;

    /// The number of the block device that a device node stands for.
    fn block_device(&self, node: &Path) -> Option<DeviceId>;

    /// The number of the file system that holds the file of a loop device, as stat(2) has it (LOOP_GET_STATUS64 of
    /// loop(4)); `name`: the device's in sysfs, as `loop0`. `None`: it cannot be asked.
    fn loop_holder(&self, name: &OsStr) -> Option<DeviceId>;

    /// A path with all links followed. `None`: it leads nowhere.
    fn canonical(&self, path: &Path) -> Option<PathBuf>;

    /// Opens a mount by its mount point and makes sure that it is that very mount. The descriptor is what the file
    /// system is frozen and thawed by, and keeps it from being unmounted.
    fn open(&self, mount: &Mount) -> Result<OwnedFd, OpenError>;

    /// FIFREEZE: writes the file system back and halts all writing to it.
    fn freeze(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno>;

    /// FITHAW, once. EINVAL: it was not frozen.
    fn thaw(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno>;

    /// syncfs(2).
    fn sync(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno>;

    /// How many bytes of the guest's memory wait to be written to its disks. `None`: it is not known.
    fn dirty(&self) -> Option<u64>;

    /// Keeps the process in memory, and the out-of-memory killer away from it, until the value is dropped.
    fn hold_memory(&self) -> Box<dyn Send>;
}
