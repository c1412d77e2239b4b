//! Which file system lies on which, by way of block devices: from sysfs, as the kernel's
//! `Documentation/ABI/{stable,testing}/sysfs-block*` describes it.
//!
//! Paths come from two times. A loop device's file, a device node and a mount point are told as they are now; an overlay's
//! layers and an xfs log as they were at its mounting, seen from the root of whoever mounted it. By those nothing is certain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::mountinfo::{DeviceId, Mount};
use super::order::Stacking;
use crate::kernel::Kernel;
use crate::kernel::limited::{Asked, Limited};

/// Devices on devices, at most this many: far more than any guest has, but finite.
const DEEPEST: usize = 64;

/// Finds out for each superblock which others it lies on. What cannot be read is taken for absent: it is a guest
/// without such devices, or without sysfs.
pub fn stacking(mounts: &[Mount], kernel: &Limited) -> Stacking {
    let mut stacking = Stacking::default();
    let mut superblocks = BTreeMap::new();
    for mount in mounts {
        superblocks.entry(mount.device).or_insert(mount);
    }
    let sysfs = kernel.kernel().sysfs();
    let devices: Vec<_> = superblocks.values().map(|mount| (*mount, devices(mount, kernel))).collect();
    let loops: Vec<_> = devices
        .iter()
        .map(|(mount, devices)| {
            let loops: Vec<Loop> = devices.known.iter().flat_map(|device| loops_below(*device, sysfs)).collect();
            (mount.device, devices.complete, loops)
        })
        .collect();
    if loops.iter().all(|(_, complete, loops)| *complete && loops.is_empty()) {
        return stacking;
    }
    let mut points = Points::new();
    for mount in mounts {
        points.entry(&mount.point).or_default().push(mount.device);
    }
    for (device, complete, loops) in loops {
        let mut below = BTreeSet::new();
        let mut certain = complete;
        for found in loops {
            let holder = found.name.as_ref().and_then(|name| kernel.loop_holder(name));
            certain &= holder.is_some_and(|number| superblocks.contains_key(&number));
            below.extend(holder.iter().flat_map(|number| superblocks_of(&superblocks, *number)));
            below.extend(holders(&points, &found.file));
        }
        if !certain {
            stacking.uncertain.insert(device);
        }
        stacking.below.insert(device, below);
    }
    for mount in superblocks.values().filter(|mount| mount.fstype == "overlay") {
        let layers = layers(mount);
        let paths = layers.clone();
        let follow = move |kernel: &dyn Kernel| paths.iter().filter_map(|path| kernel.canonical(path)).collect();
        let followed: Vec<PathBuf> = kernel.ask(Asked::Mount(mount.id), follow).unwrap_or_default();
        let below = layers.iter().chain(&followed).flat_map(|path| holders(&points, path));
        stacking.below.insert(mount.device, below.collect());
        stacking.uncertain.insert(mount.device);
    }
    for (device, below) in &mut stacking.below {
        below.remove(device);
    }
    stacking
}

/// The block devices that a superblock uses.
struct Devices {
    known: Vec<DeviceId>,
    /// Whether there are no others.
    complete: bool,
}

fn devices(mount: &Mount, kernel: &Limited) -> Devices {
    let mut known = Vec::new();
    let mut complete = true;
    if mount.device.major != 0 {
        known.push(mount.device);
    }
    match mount.fstype.as_str() {
        // xfs(5): a log or a real-time section on a device of its own, whose node may have another name by now.
        "xfs" => {
            for node in ["logdev", "rtdev"].into_iter().flat_map(|key| mount.options(key)) {
                known.extend(kernel.block_device(Path::new(&OsString::from_vec(node))));
                complete = false;
            }
        }
        // Several devices: the source names one (btrfs), or all with colons between (bcachefs).
        family @ ("btrfs" | "bcachefs") => {
            let source = mount.source.to_string_lossy();
            known.extend(source.split(':').filter_map(|node| kernel.block_device(Path::new(node))));
            let pools = pools(family, kernel.kernel().sysfs());
            let own: Vec<_> = pools.iter().filter(|pool| pool.iter().any(|device| known.contains(device))).collect();
            complete = !own.is_empty();
            known.extend(own.into_iter().flatten());
        }
        _ => {}
    }
    Devices { known, complete }
}

/// The devices of each file system that can have several, by its directory in sysfs: btrfs links to them in `devices`,
/// bcachefs by the `block` of each `dev-NUMBER`.
fn pools(family: &str, sysfs: &Path) -> Vec<Vec<DeviceId>> {
    let members = |pool: &PathBuf| match family {
        "btrfs" => list(&pool.join("devices")),
        _ => list(pool).into_iter().map(|member| member.join("block")).collect(),
    };
    let pools = list(&sysfs.join("fs").join(family));
    pools.iter().map(|pool| members(pool).iter().filter_map(|member| device_number(member)).collect()).collect()
}

/// A loop device's file.
struct Loop {
    /// The device's name in sysfs.
    name: Option<OsString>,
    /// The file's path, as the kernel tells it: of no use where the file was opened in another mount namespace, or by a
    /// mount that is gone.
    file: PathBuf,
}

/// The loop devices that `device` keeps its data on, through any number of devices between; itself if it is one.
fn loops_below(device: DeviceId, sysfs: &Path) -> Vec<Loop> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut open = vec![(device, 0)];
    while let Some((device, depth)) = open.pop() {
        if depth >= DEEPEST || !seen.insert(device) {
            continue;
        }
        let Ok(mut directory) = fs::canonicalize(sysfs.join(format!("dev/block/{device}"))) else { continue };
        // sysfs's entry of a partition is a directory in that of its disk.
        if directory.join("partition").exists() {
            directory.pop();
        }
        if let Ok(mut path) = fs::read(directory.join("loop/backing_file")) {
            // A line break ends the file; a name that has one of its own keeps it.
            path.truncate(path.strip_suffix(b"\n").map_or(path.len(), <[u8]>::len));
            let path = path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec();
            found.push(Loop { name: directory.file_name().map(Into::into), file: OsString::from_vec(path).into() });
        }
        for slave in list(&directory.join("slaves")) {
            open.extend(device_number(&slave).map(|number| (number, depth + 1)));
        }
    }
    found
}

/// The superblocks that stat(2) may give this number for. It is the superblock's own, save that each subvolume of a
/// btrfs, and each lower layer of an overlay, has one that appears nowhere else.
fn superblocks_of(superblocks: &BTreeMap<DeviceId, &Mount>, number: DeviceId) -> Vec<DeviceId> {
    if number.major != 0 || superblocks.contains_key(&number) {
        return vec![number];
    }
    let can = |mount: &&&Mount| matches!(mount.fstype.as_str(), "btrfs" | "overlay");
    superblocks.values().filter(can).map(|mount| mount.device).collect()
}

/// The number of a block device by its directory in sysfs.
fn device_number(directory: &Path) -> Option<DeviceId> {
    fs::read_to_string(directory.join("dev")).ok()?.parse().ok()
}

fn list(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The paths that an overlay was mounted over, as `Documentation/filesystems/overlayfs.rst` has its options: layers in one
/// option have colons between, and a colon of a name a backslash before it; `lowerdir+` and `datadir+` have one each.
fn layers(mount: &Mount) -> Vec<PathBuf> {
    let lists = mount.options("lowerdir").flat_map(|value| split_layers(&value));
    let single = ["upperdir", "workdir", "lowerdir+", "datadir+"].into_iter().flat_map(|key| mount.options(key));
    lists.chain(single).filter(|path| !path.is_empty()).map(|path| OsString::from_vec(path).into()).collect()
}

fn split_layers(value: &[u8]) -> Vec<Vec<u8>> {
    let mut layers = vec![Vec::new()];
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, layers.last_mut()) {
            (b'\\', Some(layer)) => layer.extend(bytes.next()),
            (b':', _) => layers.push(Vec::new()),
            (byte, Some(layer)) => layer.push(byte),
            (_, None) => {}
        }
    }
    layers
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
