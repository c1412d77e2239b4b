//! The guest as this set sees it: its programs, its kernel's files, and the system call that ends it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use guestd_program::system;
use rustix::fs::{major, minor, statfs};
use rustix::system::RebootCommand;

use crate::rehearsal::Recorder;

/// The inode of the PID namespace that the kernel starts with (`PROC_PID_INIT_INO`, 0xEFFFFFFC, in the kernel's
/// `proc_ns.h`), as `/proc/self/ns/pid` shows it.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How long sync(2) may take before the guest goes down without it: it never ends where a network file system's
/// server is dead.
const SYNC_LIMIT: Duration = Duration::from_secs(10);

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of the kernel's `linux/magic.h`.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// A device number: major and minor.
pub(crate) type Number = (u32, u32);

/// What a swap area lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The number of a device node, or of the file system that a file is in. Major number 0: that is no device's.
    pub device: Number,
    /// Whether it is a file of a file system in memory.
    pub in_memory: bool,
}

/// What makes the difference between a guest and a test: the call after which there is no guest, and the files of
/// which a test has only pictures.
pub(crate) trait Kernel: Send + Sync {
    /// Writes what is in memory to the disks. Returns whether that was finished in time.
    fn sync(&self) -> bool;

    /// reboot(2). Returns only if it failed, or in a rehearsal.
    fn reboot(&self, command: RebootCommand) -> io::Result<()>;

    /// What a device node or a file lies on.
    fn holder(&self, path: &Path) -> io::Result<Holder>;
}

/// A guest: files below `root`, and a kernel.
pub(crate) struct Machine {
    root: PathBuf,
    kernel: Box<dyn Kernel>,
}

impl Machine {
    /// The guest that the daemon runs in.
    pub(crate) fn real() -> Self {
        Self { root: PathBuf::from("/"), kernel: Box::new(Linux) }
    }

    /// A directory that looks like a guest.
    pub(crate) fn rehearsal(root: &Path) -> Self {
        Self { root: root.to_owned(), kernel: Box::new(Recorder::new(root)) }
    }

    /// Where the file with this absolute path is.
    pub(crate) fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// The program of this name in [`system::DIRECTORIES`].
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        system::find(system::DIRECTORIES.iter().map(|directory| self.path(directory)), name)
    }

    /// Whether systemd is the init, by the test of sd_booted(3).
    pub(crate) fn runs_systemd(&self) -> bool {
        fs::symlink_metadata(self.path("/run/systemd/system")).is_ok_and(|file| file.is_dir())
    }

    /// The name that process 1 goes by: the last component of its first argument.
    pub(crate) fn init(&self) -> String {
        let arguments = fs::read(self.path("/proc/1/cmdline")).unwrap_or_default();
        let first = arguments.split(|&byte| byte == 0).next().unwrap_or_default();
        let name = first.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// Whether `/sbin/init` or `/init` leads to a file whose name begins with `busybox`.
    pub(crate) fn init_is_busybox(&self) -> bool {
        let file = ["/sbin/init", "/init"].iter().find_map(|path| fs::canonicalize(self.path(path)).ok());
        file.as_ref().and_then(|path| path.file_name()?.to_str()).is_some_and(|name| name.starts_with("busybox"))
    }

    /// Whether the daemon is in the PID namespace that the kernel started with. In any other, as a container's,
    /// reboot(2) ends that namespace only.
    pub(crate) fn in_first_pid_namespace(&self) -> bool {
        fs::read_link(self.path("/proc/self/ns/pid")).is_ok_and(|name| name == Path::new(FIRST_PID_NAMESPACE))
    }

    /// The call itself.
    pub(crate) fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }
}

/// The kernel itself.
struct Linux;

impl Kernel for Linux {
    fn sync(&self) -> bool {
        let (done, finished) = mpsc::channel();
        let started = thread::Builder::new().name("sync".to_owned()).spawn(move || {
            rustix::fs::sync();
            // Nobody listens any more where it took too long.
            let _ = done.send(());
        });
        started.is_ok() && finished.recv_timeout(SYNC_LIMIT).is_ok()
    }

    fn reboot(&self, command: RebootCommand) -> io::Result<()> {
        Ok(rustix::system::reboot(command)?)
    }

    fn holder(&self, path: &Path) -> io::Result<Holder> {
        let found = fs::metadata(path)?;
        if found.file_type().is_block_device() {
            return Ok(Holder { device: (major(found.rdev()), minor(found.rdev())), in_memory: false });
        }
        let in_memory = IN_MEMORY.contains(&(statfs(path)?.f_type as u32));
        Ok(Holder { device: (major(found.dev()), minor(found.dev())), in_memory })
    }
}
