//! `/proc/self/mountinfo`, as `proc_pid_mountinfo(5)` describes it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use guestd_guest::octal::unescape;

/// The table of this process's mount namespace.
pub(crate) const TABLE: &str = "/proc/self/mountinfo";
/// The kernel hands out a page at a time.
const CHUNK: usize = 8192;

/// A device number; of a mount it is the one of its superblock, which no two superblocks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId {
    /// The major number; 0: no device stands behind it.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceId {
    type Err = ();

    /// Reads `major:minor`, the form of mountinfo and of sysfs's `dev` files.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.trim_end().split_once(':').ok_or(())?;
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

/// One line: a mount. What it names is still escaped as the kernel wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount<'t> {
    /// Tells this mount from all others that exist now.
    pub id: u32,
    /// The superblock.
    pub device: DeviceId,
    point: &'t [u8],
    fstype: &'t [u8],
    source: &'t [u8],
}

impl<'t> Mount<'t> {
    /// Where it is mounted, seen from this process's root.
    pub fn point(&self) -> Cow<'t, Path> {
        as_path(unescape(self.point))
    }

    /// The type with its subtype, as `ext4` or `fuse.sshfs`.
    pub fn fstype(&self) -> Cow<'t, str> {
        match unescape(self.fstype) {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// What was mounted: a device, or anything else.
    pub fn source(&self) -> Cow<'t, Path> {
        as_path(unescape(self.source))
    }
}

/// The text of the table that an open file of it has now.
pub(crate) fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(CHUNK);
    loop {
        let len = text.len();
        text.resize(len + CHUNK, 0);
        let more = file.read_at(text.get_mut(len..).unwrap_or_default(), len as u64)?;
        text.truncate(len + more);
        if more == 0 {
            return Ok(text);
        }
    }
}

/// The mounts of the table, in its order. Lines that are no mounts are left out; the kernel writes none.
pub fn mounts(table: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    table.split(|byte| *byte == b'\n').filter_map(mount)
}

fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _parent = fields.next()?;
    let device = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _root = fields.next()?;
    let point = fields.next()?;
    let _options = fields.next()?;
    // Any number of optional fields, up to a lone hyphen.
    while fields.next()? != b"-" {}
    Some(Mount { id, device, point, fstype: fields.next()?, source: fields.next()? })
}

fn as_path(bytes: Cow<'_, [u8]>) -> Cow<'_, Path> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(Path::new(OsStr::from_bytes(bytes))),
        Cow::Owned(bytes) => Cow::Owned(OsStr::from_bytes(&bytes).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
23 28 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
40 28 7:3 / /mnt/a\\040b\\011c\\012d\\134e rw - xfs /dev/loop3 rw,attr2
41 28 0:40 /@home /home rw shared:9 master:3 propagate_from:2 unbindable - btrfs /dev/vdb rw
42 28 0:41 / /empty rw - tmpfs  rw
43 28 0:42 / /odd rw - fuse.x\\134y a\\040b rw
44 28 7:9 / /\xc3\xa9\xff rw - ext4 /dev/loop9 rw
garbage
45 28 7:x / /bad rw - ext4 /dev/loop9 rw
46 28 7:1 / /short rw shared:1
47 28 4294967296:1 / /big rw - ext4 /dev/x rw
";

    #[test]
    fn lines_are_taken_apart_whatever_the_names_hold() {
        let mounts: Vec<_> = mounts(TABLE).collect();
        let points: Vec<_> = mounts.iter().map(|mount| mount.point().as_os_str().as_bytes().to_vec()).collect();
        let expected: [&[u8]; 6] = [b"/sys", b"/mnt/a b\tc\nd\\e", b"/home", b"/empty", b"/odd", b"/\xc3\xa9\xff"];
        assert_eq!(points, expected);
        assert_eq!((mounts[1].id, mounts[1].device), (40, DeviceId { major: 7, minor: 3 }));
        assert_eq!((mounts[2].fstype().as_ref(), mounts[2].source().as_ref()), ("btrfs", Path::new("/dev/vdb")));
        assert_eq!((mounts[4].fstype().as_ref(), mounts[4].source().as_ref()), ("fuse.x\\y", Path::new("a b")));
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(unescape(b"\\04").as_ref(), b"\\04");
        assert_eq!(unescape(b"\\400\\088\\").as_ref(), b"\\400\\088\\");
    }
}
