//! The guest's local file systems: those that a block device stands behind.

use std::collections::HashMap;
use std::path::PathBuf;

use guestd_sdk::prelude::*;

use crate::machine::Machine;
use crate::mountinfo::{DeviceId, Mount, mounts};

const TABLE: &str = "/proc/self/mountinfo";

/// A local file system, once, however often it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filesystem {
    /// Its superblock: the block device's number, but of btrfs one of its own.
    pub device: DeviceId,
    /// Its type, as `ext4`.
    pub fstype: String,
    /// What was mounted, usually a device node.
    pub source: PathBuf,
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
pub(crate) fn local(machine: &Machine) -> Result<Vec<Filesystem>, CommandError> {
    let table =
        machine.read(TABLE).map_err(|error| CommandError::os(format_args!("failed to open file '{TABLE}'"), &error))?;
    Ok(parse(&table))
}

fn parse(table: &[u8]) -> Vec<Filesystem> {
    let mut systems: Vec<Filesystem> = Vec::new();
    let mut index = HashMap::new();
    for mount in mounts(table).filter(is_local) {
        let place = Place { mount: mount.id, point: mount.point().into_owned() };
        let at = *index.entry(mount.device).or_insert(systems.len());
        match systems.get_mut(at) {
            Some(system) => system.places.push(place),
            None => systems.push(Filesystem {
                device: mount.device,
                fstype: mount.fstype().into_owned(),
                source: mount.source().into_owned(),
                places: vec![place],
            }),
        }
    }
    systems.reverse();
    systems
}

/// Network and pseudo file systems have the major number 0. So has btrfs, which is local all the same.
fn is_local(mount: &Mount<'_>) -> bool {
    mount.device.major != 0 || mount.fstype() == "btrfs"
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
}
