//! The tree of mounts: what the look-up of a path comes to, by the table alone, without asking any file system.

use std::collections::HashMap;
use std::path::Path;

use super::mountinfo::Mount;
use super::treatment;

/// All mounts, by where they are mounted.
pub struct Tree<'t> {
    root: Option<&'t Mount>,
    by_id: HashMap<u32, &'t Mount>,
    /// By the mount that they are mounted on, and where: the kernel has one mount at a place.
    by_place: HashMap<(u32, &'t Path), &'t Mount>,
}

impl<'t> Tree<'t> {
    /// The tree of a whole table.
    pub fn new(mounts: &'t [Mount]) -> Self {
        let by_id: HashMap<_, _> = mounts.iter().map(|mount| (mount.id, mount)).collect();
        let is_top = |mount: &&Mount| mount.parent == mount.id || !by_id.contains_key(&mount.parent);
        let mut tops = mounts.iter().filter(is_top).filter(|mount| mount.point == Path::new("/"));
        let root = tops.next().filter(|_| tops.next().is_none());
        let below = mounts.iter().filter(|mount| mount.parent != mount.id);
        let by_place = below.map(|mount| ((mount.parent, mount.point.as_path()), mount)).collect();
        Self { root, by_id, by_place }
    }

    /// Whether the look-up of a mount's mount point comes to that mount, and to none that covers it. Where the table does
    /// not say, as it is not of one piece, true: only the kernel knows.
    pub fn leads_to(&self, mount: &Mount) -> bool {
        let Some(root) = self.root else { return true };
        if !self.is_below(mount, root) {
            return true;
        }
        self.way(&mount.point).last().is_some_and(|found| found.id == mount.id)
    }

    /// Whether a mount lies on another, on any number of mounts between. A table that was read while it changed may have
    /// circles.
    fn is_below(&self, mount: &Mount, other: &Mount) -> bool {
        let mut id = mount.id;
        for _ in 0..=self.by_id.len() {
            if id == other.id {
                return true;
            }
            let Some(above) = self.by_id.get(&id) else { return false };
            id = above.parent;
        }
        false
    }

    /// The mount of a file system of another machine, or of a process, that a look-up of this path goes through: it answers
    /// when that other answers, if it does.
    pub fn server_on_the_way(&self, path: &Path) -> Option<&'t Mount> {
        self.way(path).into_iter().find(|mount| treatment::has_server(&mount.fstype))
    }

    /// The mounts that a look-up of this path goes through, from the root on.
    fn way(&self, path: &Path) -> Vec<&'t Mount> {
        let Some(root) = self.root else { return Vec::new() };
        let mut way = vec![root];
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        for prefix in prefixes {
            while let Some(next) = way.last().and_then(|last| self.by_place.get(&(last.id, prefix)))
                && way.len() <= self.by_id.len()
            {
                way.push(next);
            }
        }
        way
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::plan::mountinfo;

    fn reachable(table: &str) -> Vec<u32> {
        let mounts = mountinfo::parse(table.as_bytes());
        let tree = Tree::new(&mounts);
        mounts.iter().filter(|mount| tree.leads_to(mount)).map(|mount| mount.id).collect()
    }

    const ROOT: &str = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n";

    #[test]
    fn what_covers_a_mount_or_a_directory_above_it_is_seen() {
        let under = "21 20 8:2 / /w/top/mid rw - ext4 /dev/sda2 rw\n22 20 0:50 / /w/top rw - fuse f rw\n";
        assert_eq!(reachable(&format!("{ROOT}{under}")), [20, 22]);
        let on = "21 22 8:2 / /w/top/mid rw - ext4 /dev/sda2 rw\n22 20 0:50 / /w/top rw - fuse f rw\n";
        assert_eq!(reachable(&format!("{ROOT}{on}")), [20, 21, 22]);
        let over = "21 20 8:2 / /a rw - ext4 /dev/sda2 rw\n22 21 8:3 / /a rw - ext4 /dev/sda3 rw\n";
        assert_eq!(reachable(&format!("{ROOT}{over}")), [20, 22]);
        let root_over = "21 20 8:2 / / rw - ext4 /dev/sda2 rw\n";
        assert_eq!(reachable(&format!("{ROOT}{root_over}")), [21]);
    }

    #[test]
    fn a_table_that_is_not_of_one_piece_says_nothing() {
        for table in [
            "21 9 8:2 / /a rw - ext4 x rw\n22 9 8:3 / /a rw - ext4 x rw\n",
            "20 1 8:1 / / rw - ext4 x rw\n21 2 8:2 / / rw - ext4 x rw\n22 20 8:3 / /a rw - ext4 x rw\n",
            "20 1 8:1 / / rw - ext4 x rw\n21 22 8:2 / /a rw - ext4 x rw\n22 21 8:3 / /a/b rw - ext4 x rw\n",
        ] {
            assert_eq!(reachable(table).len(), table.lines().count(), "{table}");
        }
        let own_parent = "1 1 0:2 / / rw - rootfs rootfs rw\n2 1 8:1 / / rw - ext4 x rw\n3 2 8:2 / /a rw - ext4 x rw\n";
        assert_eq!(reachable(own_parent), [2, 3]);
    }

    #[test]
    fn a_server_on_the_way_is_named() {
        let table = format!("{ROOT}21 20 0:50 / /n rw - nfs4 s:/ rw\n22 21 8:2 / /n/d rw - ext4 x rw\n");
        let mounts = mountinfo::parse(table.as_bytes());
        let tree = Tree::new(&mounts);
        assert_eq!(tree.server_on_the_way(Path::new("/n/d")).unwrap().id, 21);
        assert!(tree.server_on_the_way(Path::new("/nn/d")).is_none());
    }
}
