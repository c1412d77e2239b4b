//! The mount points that a request names.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::mountinfo::Mount;

/// The names of a request. A doubled slash and one at the end mean nothing, as everywhere; all else must be spelt as in the
/// table of mounts.
pub struct Names<'n> {
    given: &'n [String],
    points: BTreeSet<Vec<u8>>,
}

impl<'n> Names<'n> {
    /// The names as they were sent.
    pub fn new(given: &'n [String]) -> Self {
        Self { given, points: given.iter().map(|name| plain(name.as_bytes())).collect() }
    }

    /// Whether this mount point is named.
    pub fn contain(&self, point: &Path) -> bool {
        self.points.contains(&plain(point.as_os_str().as_bytes()))
    }

    /// The names, as they were sent, that are mount points of nothing.
    pub fn unknown(&self, mounts: &[Mount]) -> Vec<String> {
        let known: BTreeSet<Vec<u8>> = mounts.iter().map(|mount| plain(mount.point.as_os_str().as_bytes())).collect();
        self.given.iter().filter(|name| !known.contains(&plain(name.as_bytes()))).cloned().collect()
    }
}

/// A path without slashes that mean nothing.
fn plain(path: &[u8]) -> Vec<u8> {
    let mut plain = path.to_vec();
    plain.dedup_by(|next, before| *next == b'/' && *before == b'/');
    if plain.len() > 1 && plain.ends_with(b"/") {
        plain.pop();
    }
    plain
}
