//! `/proc/self/mountinfo`, as `proc_pid_mountinfo(5)` describes it.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use guestd_guest::octal::unescape;

/// A device number; of a mount it is the one of its superblock, which no two superblocks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// One line: a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Tells this mount from all others that exist now.
    pub id: u32,
    /// The mount that it is mounted on.
    pub parent: u32,
    /// The superblock.
    pub device: DeviceId,
    /// The directory, or file, of the file system that is seen at the mount point.
    pub root: PathBuf,
    /// Where it is mounted, seen from this process's root.
    pub point: PathBuf,
    /// The type with its subtype, as `ext4` or `fuse.sshfs`.
    pub fstype: String,
    /// What was mounted: a device, or anything else.
    pub source: OsString,
    /// The superblock's options, with the kernel's escapes: a comma in a value is one of them.
    pub options: Vec<u8>,
}

impl Mount {
    /// The values of a superblock option, such as of `upperdir` in `rw,upperdir=/a`, without their escapes. An option may come
    /// more than once, such as an overlay's `lowerdir+`.
    pub fn options<'m>(&'m self, key: &'m str) -> impl Iterator<Item = Vec<u8>> + 'm {
        let value =
            move |text: &[u8]| Some(unescape(text.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?).into_owned());
        self.options.split(|byte| *byte == b',').filter_map(value)
    }

    /// Whether nothing can be written to the file system through any mount of it.
    pub fn is_read_only(&self) -> bool {
        self.options.split(|byte| *byte == b',').any(|option| option == b"ro")
    }
}

/// Reads the whole table, in its order. Lines that are no mounts are left out; the kernel writes none.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut field = || fields.next();
    let id = number(field()?)?;
    let parent = number(field()?)?;
    let device = std::str::from_utf8(field()?).ok()?.parse().ok()?;
    let root = path(field()?);
    let point = path(field()?);
    let _options = field()?;
    // Any number of optional fields, up to a lone hyphen.
    while field()? != b"-" {}
    let fstype = String::from_utf8_lossy(&unescape(field()?)).into_owned();
    let source = OsString::from_vec(unescape(field()?).into_owned());
    let options = field()?.to_vec();
    Some(Mount { id, parent, device, root, point, fstype, source, options })
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field).into_owned()).into()
}

/// The same escapes for any path, so that it fits into one word of ASCII.
pub fn escape(path: &Path) -> String {
    let mut text = String::with_capacity(path.as_os_str().len());
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'!'..=b'~' if byte != b'\\' => text.push(byte.into()),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
23 28 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
40 28 7:3 / /mnt/a\\040b\\011c\\012d\\134e rw - xfs /dev/loop3 rw,attr2
41 28 0:40 /@home /home rw,relatime shared:9 master:3 propagate_from:2 unbindable - btrfs /dev/vdb rw,space_cache=v2
43 28 0:42 / /odd rw - fuse.x\\134y a\\040b rw,upperdir=/u\\040p\\054q,lowerdir+=/l1,lowerdir+=/l2
44 28 7:9 / /\xc3\xa9\xff rw - ext4 /dev/loop9 rw
garbage
45 28 7:x / /bad rw - ext4 /dev/loop9 rw
46 28 7:1 / /short rw shared:1
";

    #[test]
    fn lines_are_taken_apart_whatever_the_names_hold() {
        let mounts = parse(TABLE);
        let points: Vec<_> = mounts.iter().map(|mount| mount.point.as_os_str().as_bytes()).collect();
        let expected: [&[u8]; 6] = [b"/sys", b"/", b"/mnt/a b\tc\nd\\e", b"/home", b"/odd", b"/\xc3\xa9\xff"];
        assert_eq!(points, expected);
        assert_eq!(mounts[3].root, Path::new("/@home"));
        assert_eq!(mounts[3].device, DeviceId { major: 0, minor: 40 });
        assert_eq!((mounts[3].fstype.as_str(), mounts[3].id), ("btrfs", 41));
        assert_eq!(mounts[4].fstype, "fuse.x\\y");
        assert_eq!(mounts[4].source, "a b");
        assert_eq!(mounts[4].options("upperdir").collect::<Vec<_>>(), [b"/u p,q"]);
        assert_eq!(mounts[4].options("lowerdir+").collect::<Vec<_>>(), [b"/l1", b"/l2"]);
        assert_eq!(mounts[4].options("lower").count(), 0);
        assert!(mounts.iter().all(|mount| !mount.is_read_only()));
    }

    #[test]
    fn a_source_may_be_empty() {
        let mounts = parse(b"42 28 0:41 / /empty rw - tmpfs  rw,size=1k\n");
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].source.len(), mounts[0].options.as_slice()), (0, b"rw,size=1k".as_slice()));
    }

    #[test]
    fn escapes_go_both_ways() {
        for bytes in [b"/a b\\040\n\xff\xc3\xa9#".as_slice(), b"/", b"\\", b"/plain"] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let text = escape(&path);
            assert!(text.is_ascii() && !text.contains([' ', '\n']), "{text}");
            assert_eq!(unescape(text.as_bytes()).as_ref(), bytes);
        }
        assert_eq!(unescape(b"\\04").as_ref(), b"\\04");
        assert_eq!(unescape(b"\\400\\088").as_ref(), b"\\400\\088");
    }
}
