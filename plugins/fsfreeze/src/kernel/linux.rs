//! The kernel itself.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{self, Getter, NoArg, Opcode};

use super::{Kernel, OpenError, descriptors, memory};
use crate::plan::mountinfo::{DeviceId, Mount};

/// `FIFREEZE` and `FITHAW` of linux/fs.h: `_IOWR('X', 119, int)` and `_IOWR('X', 120, int)`. Neither looks at its
/// argument.
const FIFREEZE: Opcode = ioctl::opcode::read_write::<i32>(b'X', 119);
const FITHAW: Opcode = ioctl::opcode::read_write::<i32>(b'X', 120);

/// `LOOP_GET_STATUS64` of linux/loop.h.
const LOOP_GET_STATUS64: Opcode = 0x4C05;

/// `struct loop_info64` of linux/loop.h, of whose 232 bytes only the first member is looked at.
#[repr(C)]
struct LoopInfo {
    device: u64,
    rest: [u64; 28],
}

/// The kernel that the process runs on.
pub struct Linux;

impl Kernel for Linux {
    fn mountinfo(&self) -> io::Result<Vec<u8>> {
        fs::read("/proc/self/mountinfo")
    }

    fn sysfs(&self) -> &Path {
        Path::new("/sys")
    }

    fn block_device(&self, node: &Path) -> Option<DeviceId> {
        let metadata = fs::metadata(node).ok().filter(|metadata| metadata.file_type().is_block_device())?;
        Some(device_id(metadata.rdev()))
    }

    fn loop_holder(&self, name: &OsStr) -> Option<DeviceId> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let device = rustix::fs::open(Path::new("/dev").join(name), flags, Mode::empty()).ok()?;
        // SAFETY: the ioctl fills a `struct loop_info64`, which `LoopInfo` is as large as.
        let info = unsafe { ioctl::ioctl(&device, Getter::<LOOP_GET_STATUS64, LoopInfo>::new()) }.ok()?;
        Some(device_id(info.device))
    }

    fn canonical(&self, path: &Path) -> Option<PathBuf> {
        fs::canonicalize(path).ok()
    }

    /// The path is looked up without opening what it leads to, for that may by now be a device or a fifo. Only when
    /// it has turned out to be the mount, by the `mnt_id` of proc_pid_fdinfo(5), is it opened for good.
    fn open(&self, mount: &Mount) -> Result<OwnedFd, OpenError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = rustix::fs::open(&mount.point, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => OpenError::Unreachable,
            errno => OpenError::RefusedOnTheWay(errno),
        })?;
        if mount_id(&found).map_err(OpenError::Refused)? != mount.id {
            return Err(OpenError::Unreachable);
        }
        open_found(&found).map(descriptors::out_of_the_way)
    }

    fn freeze(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: FIFREEZE reads and writes no memory of the caller.
        unsafe { ioctl::ioctl(mounted, NoArg::<FIFREEZE>::new()) }
    }

    fn thaw(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: FITHAW reads and writes no memory of the caller.
        unsafe { ioctl::ioctl(mounted, NoArg::<FITHAW>::new()) }
    }

    fn sync(&self, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::syncfs(mounted)
    }

    /// `Dirty` and `Writeback` of proc_meminfo(5), which counts in KiB.
    fn dirty(&self) -> Option<u64> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix(" kB"));
        let bytes = |key| value(key)?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10);
        Some(bytes("Dirty:")? + bytes("Writeback:")?)
    }

    fn hold_memory(&self) -> Box<dyn Send> {
        Box::new(memory::Held::take())
    }
}

fn device_id(number: u64) -> DeviceId {
    DeviceId { major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
}

/// Opens what an O_PATH descriptor stands for. A mount point is a directory, or in a container a regular file.
fn open_found(found: &OwnedFd) -> Result<OwnedFd, OpenError> {
    let stat = rustix::fs::statat(found, "", AtFlags::EMPTY_PATH).map_err(OpenError::Refused)?;
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY,
        FileType::RegularFile => OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        _ => return Err(OpenError::NoFile),
    };
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    // Reading nothing, the set changes no access time either way; the flag is refused to all but the owner.
    let opened = match rustix::fs::open(&path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(&path, flags, Mode::empty()),
        result => result,
    };
    opened.map_err(OpenError::Refused)
}

fn mount_id(fd: &OwnedFd) -> Result<u32, Errno> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    let text = text.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or(Errno::IO)
}
