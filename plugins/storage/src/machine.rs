//! Where the kernel's files are: the guest's own, or in tests those below a directory.
//!
//! With `rehearsal = "/some/directory"` in `[plugins.storage]` the set reads `/some/directory/proc`, `/sys`, `/dev` and
//! `/run/udev` below it, and mount points are directories below it. Without it the set does not start under the sdk's
//! test kit, so that no test trims a file system of the machine it runs on.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use guestd_sdk::prelude::*;

/// The version of the daemon that the sdk's test kit plays, which no real one has.
const TEST_KIT_VERSION: &str = "0.0.0";
/// A page, which is all that a file of sysfs holds (the kernel's `filesystems/sysfs.rst`).
const PAGE: usize = 4096;
/// More than any mount table, udev record or list of disks; what is longer is not read to its end.
const MOST: u64 = 64 << 20;

/// The directory that holds `/proc`, `/sys`, `/dev`, `/run` and the mount points.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
    stands_in: bool,
}

impl Machine {
    /// The guest itself, or what stands in for it. Fails in a test that names nothing to stand in for it.
    pub fn of(daemon: &Daemon, rehearsal: Option<&Path>) -> Result<Self, CommandError> {
        let version = daemon.facts().version;
        match rehearsal {
            Some(root) => Ok(Self::below(root)),
            None if version.is_empty() || version == TEST_KIT_VERSION => {
                Err(CommandError::new("a test must set rehearsal to a directory that stands in for the guest"))
            }
            None => Ok(Self { root: PathBuf::from("/"), stands_in: false }),
        }
    }

    /// What stands in for the guest.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), stands_in: true }
    }

    /// Where the guest's file `path`, an absolute path, really is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        if self.stands_in { self.root.join(path.strip_prefix("/").unwrap_or(path)) } else { path.to_owned() }
    }

    /// A file of procfs or another that may be long, as `/proc/self/mountinfo`.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(4 * PAGE);
        File::open(self.path(path))?.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A file of sysfs, as far as it is text, without what is blank around it; `None` where it cannot be read or is
    /// empty.
    pub fn attribute(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = self.attribute_bytes(path)?;
        let text = String::from_utf8_lossy(&text);
        let text = text.trim_matches(|char: char| char.is_ascii_whitespace() || char == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A file of sysfs.
    pub fn attribute_bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let mut buf = [0; PAGE];
        let len = File::open(self.path(path)).ok()?.read(&mut buf).ok()?;
        buf.get(..len).map(<[u8]>::to_vec)
    }
}
