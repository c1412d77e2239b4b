//! The mount table, as fsfreeze and storage read it.

use std::os::unix::ffi::OsStrExt;

use guestd_fsfreeze::mountinfo as fsfreeze;
use guestd_storage::mountinfo as storage;

use crate::{Rng, Target};

/// The readers of mount tables.
pub const TARGET: Target = Target { name: "mounts", check, make };

fn make(rng: &mut Rng) -> Vec<u8> {
    let lines = if rng.u8(0..20) == 0 { rng.usize(0..1000) } else { rng.usize(0..6) };
    (0..lines).flat_map(|number| line(rng, number)).collect()
}

fn line(rng: &mut Rng, number: usize) -> Vec<u8> {
    const DEVICES: [&[u8]; 8] =
        [b"8:1", b"0:22", b"254:0", b"4294967295:4294967295", b"4294967296:1", b"8", b"+8:1", b"8:-1"];
    const NAMES: [&[u8]; 10] =
        [b"/", b"/mnt/a\\040b", b"/\xFF", b"", b"/a\\134\\011\\012", b"\\400", b"\\04", b"//deleted", b"/..", b"-"];
    const TAGS: [&[u8]; 6] = [b"", b"shared:1 ", b"master:2 propagate_from:3 ", b"unbindable ", b" ", b"-- "];
    const TYPES: [&[u8]; 8] = [b"ext4", b"xfs", b"btrfs", b"fuse.x\\134y", b"tmpfs", b"overlay", b"bcachefs", b""];
    const SOURCES: [&[u8]; 5] = [b"/dev/vda1", b"", b"none", b"a\\040b", b"/dev/sdc1:/dev/sdc2"];
    const OPTIONS: [&[u8]; 4] =
        [b"rw", b"rw,upperdir=/u\\040p,lowerdir=/l1:/l2,workdir=/w", b"", b"ro,lowerdir+=/a,lowerdir+=/b"];
    let mut text = format!("{} 1 ", number + 20).into_bytes();
    let mut word = |words: &[&[u8]], end: &[u8]| {
        text.extend_from_slice(words[rng.usize(0..words.len())]);
        text.extend_from_slice(end);
    };
    word(&DEVICES, b" ");
    word(&NAMES, b" ");
    word(&NAMES, b" rw,relatime ");
    word(&TAGS, b"- ");
    word(&TYPES, b" ");
    word(&SOURCES, b" ");
    word(&OPTIONS, b"\n");
    text
}

fn check(bytes: &[u8]) {
    let ours = fsfreeze::parse(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(ours.len() <= lines);
    for mount in &ours {
        let escaped = fsfreeze::escape(&mount.point);
        assert!(escaped.is_ascii() && !escaped.contains([' ', '\n', '\t']));
        assert_eq!(fsfreeze::unescape(escaped.as_bytes()).as_ref(), mount.point.as_os_str().as_bytes());
        assert!(mount.point.as_os_str().len() + mount.root.as_os_str().len() + mount.options.len() <= bytes.len());
        for key in ["upperdir", "lowerdir", ""] {
            assert!(mount.options(key).count() <= mount.options.len() + 1);
        }
    }
    // storage needs no options, so that it takes a line that ends before them.
    let theirs: Vec<_> = storage::mounts(bytes).collect();
    assert!(ours.len() <= theirs.len() && theirs.len() <= lines);
    let mut theirs = theirs.iter();
    for mount in &ours {
        let same = theirs.find(|other| {
            other.id == mount.id
                && other.device.to_string() == mount.device.to_string()
                && *other.point() == *mount.point
                && other.fstype() == mount.fstype
                && other.source().as_os_str() == mount.source
        });
        assert!(same.is_some(), "storage does not know {mount:?}");
    }
}
