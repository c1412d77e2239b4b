//! The kernel itself.

use std::ffi::c_void;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, open, statat, statvfs, statx};
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Updater, opcode};

use super::{Kernel, OpenError, SMART_LOG, Space, Trimmed};

/// `struct fstrim_range` of linux/fs.h, all in bytes.
#[repr(C)]
struct FstrimRange {
    start: u64,
    len: u64,
    minlen: u64,
}

/// `FITRIM` of linux/fs.h: `_IOWR('X', 121, struct fstrim_range)`.
const FITRIM: Opcode = opcode::read_write::<FstrimRange>(b'X', 121);

/// `struct nvme_passthru_cmd` of linux/nvme_ioctl.h.
#[repr(C)]
#[derive(Default)]
struct NvmeAdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

/// `NVME_IOCTL_ADMIN_CMD` of linux/nvme_ioctl.h: `_IOWR('N', 0x41, struct nvme_admin_cmd)`.
const NVME_ADMIN: Opcode = opcode::read_write::<NvmeAdminCommand>(b'N', 0x41);
/// NVM Express Base Specification: the admin command Get Log Page, the page of SMART, and the namespace that means all.
const GET_LOG_PAGE: u8 = 0x02;
const SMART_PAGE: u32 = 0x02;
const ALL_NAMESPACES: u32 = u32::MAX;
/// A drive answers this from memory; one that does not answer is left alone.
const SMART_TIMEOUT_MS: u32 = 2000;

/// The kernel that the process runs on.
pub(crate) struct Linux;

impl Kernel for Linux {
    fn space(&self, point: &Path, mount: u32) -> io::Result<Space> {
        if mount_at(point).is_some_and(|found| found != u64::from(mount)) {
            return Err(io::Error::other("something else is mounted over it"));
        }
        let stat = statvfs(point)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(Space {
            used: bytes(used),
            total: bytes(used.saturating_add(stat.f_bavail)),
            total_privileged: bytes(stat.f_blocks),
        })
    }

    /// The path is looked up without opening what it leads to, for that may by now be a device or a fifo. Only when
    /// it has turned out to be the mount, by the `mnt_id` of proc_pid_fdinfo(5), is it opened for good.
    fn open(&self, point: &Path, mount: u32) -> Result<OwnedFd, OpenError> {
        let refused = |errno: Errno| OpenError::Refused(errno.into());
        let found = open(point, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(refused)?;
        if mount_id(&found).map_err(OpenError::Refused)? != mount {
            return Err(OpenError::Covered);
        }
        open_found(&found).map_err(refused)
    }

    fn trim(&self, filesystem: &OwnedFd, minimum: u64) -> io::Result<Trimmed> {
        let mut range = FstrimRange { start: 0, len: u64::MAX, minlen: minimum };
        // SAFETY: FITRIM reads a `struct fstrim_range` and writes it back; `range` is one.
        unsafe { ioctl::ioctl(filesystem, Updater::<FITRIM, FstrimRange>::new(&mut range)) }?;
        Ok(Trimmed { bytes: range.len, minimum: range.minlen })
    }

    fn smart_log(&self, node: &Path) -> io::Result<[u8; SMART_LOG]> {
        let device = open(node, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&device)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut log = [0; SMART_LOG];
        let mut command = NvmeAdminCommand {
            opcode: GET_LOG_PAGE,
            nsid: ALL_NAMESPACES,
            addr: log.as_mut_ptr() as u64,
            data_len: SMART_LOG as u32,
            // The page, and above it the number of 32-bit words, less one.
            cdw10: (SMART_LOG as u32 / 4 - 1) << 16 | SMART_PAGE,
            timeout_ms: SMART_TIMEOUT_MS,
            ..NvmeAdminCommand::default()
        };
        // SAFETY: the drive writes `data_len` bytes to `addr`, which is `log` and no longer.
        match unsafe { ioctl::ioctl(&device, Admin(&mut command)) }? {
            0 => Ok(log),
            _ => Err(io::Error::other("the drive refused the command")),
        }
    }
}

/// An NVMe admin command; it returns the drive's status, 0 for success.
struct Admin<'c>(&'c mut NvmeAdminCommand);

// SAFETY: the kernel reads a `struct nvme_passthru_cmd` and writes it back, and this is a pointer to one.
unsafe impl Ioctl for Admin<'_> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        NVME_ADMIN
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self.0).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// Whether the kernel says which mount a path leads to, as it does since Linux 5.8.
pub(crate) fn can_tell_mounts() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| mount_at(Path::new("/")).is_some())
}

/// The number of the mount that a path leads to, where the kernel tells.
fn mount_at(path: &Path) -> Option<u64> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let found = statx(CWD, path, flags, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

/// Opens what an O_PATH descriptor stands for. A mount point is a directory, or in a container a regular file.
fn open_found(found: &OwnedFd) -> Result<OwnedFd, Errno> {
    let stat = statat(found, "", AtFlags::EMPTY_PATH)?;
    let flags = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY,
        FileType::RegularFile => OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        _ => return Err(Errno::NOTDIR),
    };
    open(format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty())
}

fn mount_id(fd: &OwnedFd) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_and_numbers_are_those_of_the_kernels_headers() {
        assert_eq!((size_of::<FstrimRange>(), FITRIM), (24, 0xC018_5879));
        assert_eq!((size_of::<NvmeAdminCommand>(), NVME_ADMIN), (72, 0xC048_4E41));
    }

    #[test]
    fn only_block_devices_are_asked_for_their_health() {
        assert_eq!(Linux.smart_log(Path::new("/dev/null")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(Linux.smart_log(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_mount_is_opened_by_its_number_only() {
        let id = mount_id(&open("/proc", OFlags::PATH, Mode::empty()).unwrap()).unwrap();
        assert!(Linux.open(Path::new("/proc"), id).is_ok());
        assert!(matches!(Linux.open(Path::new("/proc"), id + 100_000), Err(OpenError::Covered)));
        assert!(matches!(Linux.open(Path::new("/nonexistent"), id), Err(OpenError::Refused(_))));
    }

    #[test]
    fn what_has_no_blocks_cannot_be_trimmed() {
        let id = mount_id(&open("/proc", OFlags::PATH, Mode::empty()).unwrap()).unwrap();
        let proc = Linux.open(Path::new("/proc"), id).unwrap();
        assert_eq!(Linux.trim(&proc, 0).unwrap_err().raw_os_error(), Some(Errno::NOTTY.raw_os_error()));
        assert_eq!(Linux.space(Path::new("/proc"), id).unwrap(), Space { used: 0, total: 0, total_privileged: 0 });
        assert!(Linux.space(Path::new("/proc"), id + 100_000).is_err());
        assert!(Linux.space(Path::new("/nonexistent"), id).is_err());
    }
}
