//! What is done with a file system, by its type and device.

use super::mountinfo::Mount;

/// What a freeze does with a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is frozen, if the kernel can.
    Freeze,
    /// It is written back to its devices, which is all that the kernel offers for it.
    Sync,
    /// It is left alone, for this reason.
    Leave(&'static str),
}

/// Types that have no device number of their own but live on block devices, and implement the freezing of a
/// superblock.
const DEVICE_BACKED: [&str; 2] = ["btrfs", "bcachefs"];

/// Types whose data another machine holds. Some mount a block device, which is shared.
const NETWORK: [&str; 14] = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "virtiofs", "afs", "coda", "ncpfs", "lustre", "gpfs", "pvfs2",
];

/// Whether another machine, or a process, answers what is asked of a file system of this type, if it lives.
pub fn has_server(fstype: &str) -> bool {
    let family = fstype.split_once('.').map_or(fstype, |(family, _)| family);
    NETWORK.contains(&fstype) || matches!(family, "fuse" | "fuseblk" | "autofs")
}

/// The treatment of a mount's file system. The rule for what has no device is qemu-ga's: it is no local file system.
pub fn treatment(mount: &Mount) -> Treatment {
    let fstype = mount.fstype.as_str();
    let (family, _) = fstype.split_once('.').unwrap_or((fstype, ""));
    if NETWORK.contains(&fstype) {
        return Treatment::Leave("network file system: its data is elsewhere");
    }
    match family {
        "fuse" | "fuseblk" => return Treatment::Leave("fuse: the kernel cannot freeze it"),
        "overlay" => return Treatment::Leave("overlay: frozen with the file systems of its layers"),
        "zfs" => return Treatment::Sync,
        _ => {}
    }
    if mount.device.major != 0 || DEVICE_BACKED.contains(&fstype) {
        Treatment::Freeze
    } else {
        Treatment::Leave("no local block device")
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::plan::mountinfo;

    fn of(device: &str, fstype: &str) -> Treatment {
        let line = format!("1 2 {device} / /m rw - {fstype} src rw\n");
        treatment(&mountinfo::parse(line.as_bytes())[0])
    }

    #[test]
    fn only_local_file_systems_on_devices_are_frozen() {
        for (device, fstype) in
            [("8:1", "ext4"), ("259:0", "xfs"), ("0:40", "btrfs"), ("7:0", "squashfs"), ("0:9", "bcachefs")]
        {
            assert_eq!(of(device, fstype), Treatment::Freeze, "{fstype}");
        }
        for (device, fstype) in [
            ("0:41", "nfs4"),
            ("0:41", "tmpfs"),
            ("0:41", "proc"),
            ("0:41", "fuse.sshfs"),
            ("0:41", "fuse"),
            ("8:2", "fuseblk"),
            ("0:41", "overlay"),
            ("0:41", "virtiofs"),
        ] {
            assert!(matches!(of(device, fstype), Treatment::Leave(_)), "{fstype}");
        }
        assert_eq!(of("0:50", "zfs"), Treatment::Sync);
    }
}
