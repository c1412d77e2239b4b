//! Which file system lies on which, by way of block devices: from sysfs, as the kernel's
//! `Documentation/ABI/{stable,testing}/sysfs-block*` describes it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::mountinfo::{DeviceId, Mount};
use super::order::Stacking;
use crate::kernel::Kernel;

/// Devices on devices, at most this many: far more than any guest has, but finite.
const DEEPEST: usize = 64;

/// Finds out for each superblock which others it lies on. What cannot be read is taken for absent: it is a guest
/// without such devices, or without sysfs.
pub fn stacking(mounts: &[Mount], kernel: &dyn Kernel) -> Stacking {
    let mut points = Points::new();
    for mount in mounts {
        points.entry(&mount.point).or_default().push(mount.device);
    }
    let mut stacking = Stacking::new();
    for mount in mounts {
        if stacking.contains_key(&mount.device) {
            continue;
        }
        let mut below = BTreeSet::new();
        if mount.fstype == "overlay" {
            below.extend(layers(mount).iter().flat_map(|path| holders(&points, path)));
        }
        for device in devices(mount, kernel) {
            for found in loops_below(device, kernel) {
                below.extend(found.holder.iter().flat_map(|number| superblocks_of(mounts, *number)));
                below.extend(holders(&points, &found.file));
            }
        }
        below.remove(&mount.device);
        stacking.insert(mount.device, below);
    }
    stacking
}

/// The block devices that a superblock uses.
fn devices(mount: &Mount, kernel: &dyn Kernel) -> Vec<DeviceId> {
    let mut found = Vec::new();
    if mount.device.major != 0 {
        found.push(mount.device);
    }
    match mount.fstype.as_str() {
        // xfs(5): a log or a real-time section on a device of its own.
        "xfs" => {
            for key in ["logdev", "rtdev"] {
                let node = mount.option(key).map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
                found.extend(node.and_then(|node| kernel.block_device(&node)));
            }
        }
        // Several devices: the source names one (btrfs), or all with colons between (bcachefs).
        family @ ("btrfs" | "bcachefs") => {
            let source = mount.source.to_string_lossy();
            found.extend(source.split(':').filter_map(|node| kernel.block_device(Path::new(node))));
            let all = pools(family, kernel).into_iter().filter(|pool| pool.iter().any(|device| found.contains(device)));
            let all: Vec<DeviceId> = all.flatten().collect();
            found.extend(all);
        }
        _ => {}
    }
    found
}

/// The devices of each file system that can have several, by its directory in sysfs: btrfs links to them in `devices`,
/// bcachefs by the `block` of each `dev-NUMBER`.
fn pools(family: &str, kernel: &dyn Kernel) -> Vec<Vec<DeviceId>> {
    let members = |pool: &PathBuf| match family {
        "btrfs" => list(&pool.join("devices")),
        _ => list(pool).into_iter().map(|member| member.join("block")).collect(),
    };
    let pools = list(&kernel.sysfs().join("fs").join(family));
    pools.iter().map(|pool| members(pool).iter().filter_map(|member| device_number(member)).collect()).collect()
}

/// A loop device's file.
struct Loop {
    /// Its path, as the kernel tells it: of no use where the file was opened in another mount namespace, or by a mount
    /// that is gone.
    file: PathBuf,
    /// The number that stat(2) gives for its file system.
    holder: Option<DeviceId>,
}

/// The loop devices that `device` keeps its data on, through any number of devices between; itself if it is one.
fn loops_below(device: DeviceId, kernel: &dyn Kernel) -> Vec<Loop> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut open = vec![(device, 0)];
    while let Some((device, depth)) = open.pop() {
        if depth >= DEEPEST || !seen.insert(device) {
            continue;
        }
        let Ok(mut directory) = fs::canonicalize(kernel.sysfs().join(format!("dev/block/{device}"))) else { continue };
        // sysfs's entry of a partition is a directory in that of its disk.
        if directory.join("partition").exists() {
            directory.pop();
        }
        if let Ok(mut path) = fs::read(directory.join("loop/backing_file")) {
            // A line break ends the file; a name that has one of its own keeps it.
            path.truncate(path.strip_suffix(b"\n").map_or(path.len(), <[u8]>::len));
            let path = path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec();
            let holder = directory.file_name().and_then(|name| kernel.loop_holder(name));
            found.push(Loop { file: OsString::from_vec(path).into(), holder });
        }
        for slave in list(&directory.join("slaves")) {
            open.extend(device_number(&slave).map(|number| (number, depth + 1)));
        }
    }
    found
}

/// The superblocks that stat(2) may give this number for. It is the superblock's own, save that each subvolume of a
/// btrfs has one that appears nowhere else.
fn superblocks_of(mounts: &[Mount], number: DeviceId) -> Vec<DeviceId> {
    if number.major != 0 || mounts.iter().any(|mount| mount.device == number) {
        return vec![number];
    }
    mounts.iter().filter(|mount| mount.fstype == "btrfs").map(|mount| mount.device).collect()
}

/// The number of a block device by its directory in sysfs.
fn device_number(directory: &Path) -> Option<DeviceId> {
    fs::read_to_string(directory.join("dev")).ok()?.parse().ok()
}

fn list(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The paths that an overlay was mounted over.
fn layers(mount: &Mount) -> Vec<PathBuf> {
    let paths = ["lowerdir", "upperdir", "workdir"].into_iter().filter_map(|key| mount.option(key));
    let split = |value: Vec<u8>| value.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect::<Vec<_>>();
    paths.flat_map(split).filter(|path| !path.is_empty()).map(|path| OsString::from_vec(path).into()).collect()
}

/// The superblocks that are mounted at each mount point.
type Points<'a> = HashMap<&'a Path, Vec<DeviceId>>;

/// The superblocks that may hold a file of this path: of all that are mounted at its nearest mount point, for one
/// may have been mounted over the other after the file was opened.
fn holders(points: &Points<'_>, path: &Path) -> Vec<DeviceId> {
    // A path that is not seen from this root, or a relative one of an overlay, says nothing.
    if path.components().next() != Some(Component::RootDir) {
        return Vec::new();
    }
    path.ancestors().find_map(|ancestor| points.get(ancestor)).cloned().unwrap_or_default()
}
