//! The guest's local file systems: those that a block device stands behind.

use std::collections::HashMap;
use std::path::PathBuf;

use guestd_sdk::prelude::*;

use crate::machine::Machine;
use crate::mountinfo::{DeviceId, Mount, TABLE, Table, mounts};

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
    /// Where it is mounted, in the order of the table. Never empty.
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
    /// The mount point that it is known by, the first.
    pub fn point(&self) -> PathBuf {
        self.places.first().map(|place| place.point.clone()).unwrap_or_default()
    }
}

/// All local file systems, those that were mounted last first, which is qemu-ga's order.
pub(crate) fn local(machine: &Machine, table: &Table) -> Result<Vec<Filesystem>, CommandError> {
    let text =
        table.read(machine).map_err(|error| CommandError::os(format_args!("failed to open file '{TABLE}'"), &error))?;
    Ok(parse(&text))
}

fn parse(table: &[u8]) -> Vec<Filesystem> {
    let mut systems: Vec<Filesystem> = Vec::new();
    let mut index = HashMap::new();
    let mut mounted_on = HashMap::new();
    for mount in mounts(table) {
        mounted_on.insert(mount.id, (mount.parent, PROMPT_ON_THE_WAY.contains(&mount.fstype().as_ref())));
        if !is_local(&mount) {
            continue;
        }
        let place = Place { mount: mount.id, point: mount.point().into_owned() };
        let at = *index.entry(mount.device).or_insert(systems.len());
        match systems.get_mut(at) {
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
    for system in systems.iter_mut().filter(|system| system.prompt) {
        system.prompt = system.places.first().is_some_and(|place| is_way_prompt(place.mount, &mounted_on));
    }
    systems.reverse();
    systems
}

/// Network and pseudo file systems have the major number 0. So has btrfs, which is local all the same.
fn is_local(mount: &Mount<'_>) -> bool {
    mount.device.major != 0 || mount.fstype() == "btrfs"
}

/// Whether all mounts on the way to a mount are prompt. The kernel keeps the directories on the way in memory.
fn is_way_prompt(mount: u32, mounted_on: &HashMap<u32, (u32, bool)>) -> bool {
    let mut at = mount;
    // As many steps as there are mounts: the kernel's table is a tree, a hostile one need not be.
    for _ in 0..=mounted_on.len() {
        match mounted_on.get(&at) {
            None => return true,
            Some((_, false)) => return false,
            Some((parent, true)) => at = *parent,
        }
    }
    false
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
    fn a_dead_mount_on_the_way_is_seen() {
        let prompt = |table: &str| -> Vec<bool> {
            let systems = parse(table.as_bytes());
            systems.iter().rev().map(|system| system.prompt).collect()
        };
        let root = "27 1 254:1 / / rw - ext4 /dev/vda1 rw\n";
        assert_eq!(prompt(root), [true]);
        assert_eq!(prompt(&format!("{root}28 27 8:1 / /a rw - xfs /dev/sda1 rw\n")), [true, false]);
        assert_eq!(prompt(&format!("{root}28 27 8:1 / /a rw - fuseblk /dev/sda1 rw\n")), [true, false]);
        let net = "28 27 0:50 / /net rw - nfs4 s:/ rw\n29 28 8:1 / /net/a rw - ext4 /dev/sda1 rw\n";
        assert_eq!(prompt(&format!("{root}{net}30 29 8:2 / /net/a/b rw - ext4 /dev/sda2 rw\n")), [true, false, false]);
        let memory = "28 27 0:50 / /run rw - tmpfs none rw\n29 28 8:1 / /run/a rw - ext4 /dev/sda1 rw\n";
        assert_eq!(prompt(&format!("{root}{memory}")), [true, true]);
        assert_eq!(
            prompt("1 2 8:1 / /a rw - ext4 /dev/sda1 rw\n2 1 8:2 / /b rw - ext4 /dev/sda2 rw\n"),
            [false, false]
        );
    }
}
