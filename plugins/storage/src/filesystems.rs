//! The guest's local file systems: those that a block device stands behind.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use guestd_sdk::CommandError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};

use crate::kernel;
use crate::machine::Machine;
use crate::mountinfo::{self, DeviceId, Mount, TABLE, mounts};
use crate::pools::POOLED;

/// The types whose statfs(2) tells numbers that the kernel has in memory, without a lock that is held over I/O.
const PROMPT: [&str; 7] = ["ext4", "ext3", "ext2", "vfat", "iso9660", "squashfs", "erofs"];
/// The types on which a path is looked up without asking anybody, as long as its directories are in memory.
const PROMPT_ON_THE_WAY: [&str; 14] = [
    "ext4", "ext3", "ext2", "vfat", "iso9660", "squashfs", "erofs", "xfs", "btrfs", "tmpfs", "devtmpfs", "ramfs",
    "rootfs", "sysfs",
];

/// A local file system, once, however often it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filesystem {
    /// Its superblock: the block device's number, but of btrfs one of its own.
    pub device: DeviceId,
    /// Its type, as `ext4`.
    pub fstype: String,
    /// What was mounted, usually a device node.
    pub source: PathBuf,
    /// Whether it says at once how full it is, whatever has become of disks and servers.
    pub prompt: bool,
    /// Where it is mounted, in the order of the table, but `/` first. Never empty.
    pub places: Vec<Place>,
}

/// A place where a file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Tells the mount from all others that exist now.
    pub mount: u32,
    /// The mount point, seen from this process's root. Something else may be mounted over it.
    pub point: PathBuf,
}

impl Filesystem {
    /// The mount point that it is known by: `/` if it is one, else the first.
    pub fn point(&self) -> PathBuf {
        self.places.first().map(|place| place.point.clone()).unwrap_or_default()
    }
}

/// The local file systems, looked up in the mount table.
///
/// The table's file stays open. Reading it takes most of the time of `guest-get-fsinfo`, and the kernel tells a file
/// that is open when something was mounted or unmounted since (proc_pid_mounts(5)), so what was read is kept until
/// then. It does not tell when a directory above a mount point gets another name: who uses what was kept has to notice
/// that a path does not lead to its mount any more.
#[derive(Default)]
pub(crate) struct Filesystems(Mutex<Option<Kept>>);

struct Kept {
    file: File,
    systems: Option<Arc<Vec<Filesystem>>>,
}

impl Filesystems {
    /// All local file systems, those that were mounted last first, which is qemu-ga's order; and whether that was
    /// known from before.
    pub fn local(&self, machine: &Machine) -> Result<(Arc<Vec<Filesystem>>, bool), CommandError> {
        self.look_up(machine, false).map_err(|error| failure(&error))
    }

    /// The same, read anew in any case.
    pub fn local_anew(&self, machine: &Machine) -> Result<Arc<Vec<Filesystem>>, CommandError> {
        self.look_up(machine, true).map(|(systems, _)| systems).map_err(|error| failure(&error))
    }

    fn look_up(&self, machine: &Machine, anew: bool) -> io::Result<(Arc<Vec<Filesystem>>, bool)> {
        let open = || File::open(machine.path(TABLE));
        // Two readers at once would disturb each other, and reading can wait for whoever is mounting.
        let Ok(mut kept) = self.0.try_lock() else {
            return Ok((Arc::new(parse(&mountinfo::read(&open()?)?)), false));
        };
        let kept = match &mut *kept {
            Some(kept) => kept,
            empty => empty.insert(Kept { file: open()?, systems: None }),
        };
        // In this order: what changes after the question is told at the next.
        let unchanged = is_unchanged(&kept.file);
        if let Some(systems) = kept.systems.as_ref().filter(|_| unchanged && !anew) {
            return Ok((Arc::clone(systems), true));
        }
        // The kernel tells once: what was kept must not outlive a failed reading.
        kept.systems = None;
        let systems = Arc::new(parse(&mountinfo::read(&kept.file)?));
        kept.systems = Some(Arc::clone(&systems));
        Ok((systems, false))
    }
}

/// Whether the kernel has nothing to tell. It tells nothing of files that are not its own; and where it cannot say
/// which mount a path leads to, nobody would notice another name of a directory.
fn is_unchanged(table: &File) -> bool {
    let is_kernels = fstatfs(table).is_ok_and(|stat| stat.f_type == PROC_SUPER_MAGIC);
    let mut fds = [PollFd::new(table, PollFlags::PRI)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let is_quiet = poll(&mut fds, Some(&now)).is_ok() && fds.iter().all(|fd| fd.revents().is_empty());
    is_quiet && is_kernels && kernel::can_tell_mounts()
}

fn failure(error: &io::Error) -> CommandError {
    CommandError::os(format_args!("failed to open file '{TABLE}'"), error)
}

fn parse(table: &[u8]) -> Vec<Filesystem> {
    let mut systems: Vec<Filesystem> = Vec::new();
    let mut index = HashMap::new();
    let mut doubtful = HashSet::new();
    for mount in mounts(table) {
        if !PROMPT_ON_THE_WAY.contains(&mount.fstype().as_ref()) {
            doubtful.insert(mount.point());
        }
        if !is_local(&mount) {
            continue;
        }
        let place = Place { mount: mount.id, point: mount.point().into_owned() };
        let at = *index.entry(mount.device).or_insert(systems.len());
        match systems.get_mut(at) {
            // Whatever came first: on ostree's systems that is /sysroot, and nobody looks for the root there.
            Some(system) if place.point == Path::new("/") => system.places.insert(0, place),
            Some(system) => system.places.push(place),
            None => systems.push(Filesystem {
                device: mount.device,
                fstype: mount.fstype().into_owned(),
                source: mount.source().into_owned(),
                places: vec![place],
                prompt: PROMPT.contains(&mount.fstype().as_ref()),
            }),
        }
    }
    // What is mounted over a place, or over a directory on the way to it, is what a look-up of its path comes to.
    for system in systems.iter_mut().filter(|system| system.prompt) {
        let is_doubtful = |place: &Place| place.point.ancestors().any(|step| doubtful.contains(step));
        system.prompt = !system.places.iter().any(is_doubtful);
    }
    systems.reverse();
    systems
}

/// Network and pseudo file systems have the major number 0. So have those that can have several devices, which are local
/// all the same.
fn is_local(mount: &Mount<'_>) -> bool {
    mount.device.major != 0 || POOLED.contains(&mount.fstype().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_ones_are_listed_once_and_the_last_first() {
        let table = b"\
22 1 0:21 / /proc rw - proc proc rw
27 1 254:1 / / rw - ext4 /dev/vda1 rw
28 27 0:44 / /a rw - btrfs /dev/vdb rw
29 27 0:45 / /net rw - nfs4 server:/x rw
30 27 254:1 /home /b rw - ext4 /dev/vda1 rw
31 27 0:44 /sub /c rw - btrfs /dev/vdb rw
32 27 0:46 / /d rw - fuse.sshfs x: rw
33 27 8:1 / /e rw - fuseblk /dev/sda1 rw
";
        let systems = parse(table);
        let found: Vec<_> = systems
            .iter()
            .map(|system| (system.point().display().to_string(), system.fstype.as_str(), system.places.len()))
            .collect();
        assert_eq!(found, [("/e".into(), "fuseblk", 1), ("/a".into(), "btrfs", 2), ("/".into(), "ext4", 2)]);
        assert_eq!(systems[1].places[1], Place { mount: 31, point: "/c".into() });
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn the_root_is_known_as_the_root_wherever_it_comes() {
        let table = b"\
40 1 253:0 / /sysroot rw - xfs /dev/vda4 rw
41 1 253:0 /ostree/deploy/x / rw - xfs /dev/vda4 rw
42 41 253:0 /ostree/deploy/x/var /var rw - xfs /dev/vda4 rw
";
        let systems = parse(table);
        assert_eq!((systems.len(), systems[0].point()), (1, "/".into()));
        assert_eq!(systems[0].places[1].point, Path::new("/sysroot"));
    }

    #[test]
    fn a_dead_mount_on_the_way_is_seen() {
        let prompt = |table: &str| -> Vec<bool> {
            let systems = parse(table.as_bytes());
            systems.iter().rev().map(|system| system.prompt).collect()
        };
        let root = "27 1 254:1 / / rw - ext4 /dev/vda1 rw\n22 27 0:21 / /proc rw - proc proc rw\n";
        assert_eq!(prompt(root), [true]);
        assert_eq!(prompt(&format!("{root}28 27 8:1 / /a rw - xfs /dev/sda1 rw\n")), [true, false]);
        assert_eq!(prompt(&format!("{root}28 27 8:1 / /a rw - fuseblk /dev/sda1 rw\n")), [true, false]);
        let ext4 = "30 27 8:2 / /a/b rw - ext4 /dev/sda2 rw\n";
        assert_eq!(prompt(&format!("{root}28 27 0:50 / /run rw - tmpfs none rw\n{ext4}")), [true, true]);
        assert_eq!(prompt(&format!("{root}28 27 0:50 / /a/bb rw - nfs4 s:/ rw\n{ext4}")), [true, true]);
        for over in ["/a", "/a/b"] {
            let net = format!("31 30 0:50 / {over} rw - nfs4 s:/ rw\n");
            assert_eq!(prompt(&format!("{root}{net}{ext4}")), [true, false], "{over}");
            assert_eq!(prompt(&format!("{root}{ext4}{net}")), [true, false], "{over}");
            let bind = "32 27 254:1 /x /a/b/c rw - ext4 /dev/vda1 rw\n";
            assert_eq!(prompt(&format!("{root}{net}{bind}")), [false], "{over}");
        }
        assert_eq!(prompt(&format!("{root}31 27 0:50 / / rw - nfs4 s:/ rw\n")), [false]);
    }
}
