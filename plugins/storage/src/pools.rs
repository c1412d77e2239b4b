//! File systems that can have several devices: which of these belong together, as sysfs tells.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use crate::block::{self, BlockDevice};
use crate::filesystems::Filesystem;
use crate::machine::Machine;

/// Types of file systems that can have several devices.
pub(crate) const POOLED: [&str; 2] = ["btrfs", "bcachefs"];

/// The devices of the pooled file systems, read once for a request.
#[derive(Default)]
pub(crate) struct Pools {
    /// The names of all devices of a file system, by that of each.
    members: HashMap<String, Rc<[String]>>,
}

impl Pools {
    /// Those of the types that are mounted.
    pub fn of(machine: &Machine, systems: &[Filesystem]) -> Self {
        let mounted: HashSet<&str> = systems.iter().map(|system| system.fstype.as_str()).collect();
        let mut pools = Self::default();
        for family in POOLED.into_iter().filter(|family| mounted.contains(family)) {
            let directory = format!("/sys/fs/{family}");
            for uuid in block::names(machine, &directory, |_| true) {
                pools.add(names_of(machine, family, &format!("{directory}/{uuid}")));
            }
        }
        pools
    }

    fn add(&mut self, names: Vec<String>) {
        let names: Rc<[String]> = names.into();
        self.members.extend(names.iter().map(|name| (name.clone(), Rc::clone(&names))));
    }

    /// All devices of a file system, of which `device` was mounted.
    pub fn members(&self, machine: &Machine, system: &Filesystem, device: &BlockDevice) -> Vec<BlockDevice> {
        if !POOLED.contains(&system.fstype.as_str()) {
            return vec![device.clone()];
        }
        let by_name = |names: &[String]| names.iter().filter_map(|name| BlockDevice::by_name(machine, name)).collect();
        match self.members.get(&device.name) {
            Some(names) => by_name(names),
            None => {
                let named: Vec<BlockDevice> = by_name(&sources(&system.source).filter_map(name_of).collect::<Vec<_>>());
                if named.contains(device) { named } else { vec![device.clone()] }
            }
        }
    }
}

/// The devices that a source names: bcachefs has all of them there, with colons between.
pub(crate) fn sources(source: &Path) -> impl Iterator<Item = &Path> {
    source.as_os_str().as_bytes().split(|byte| *byte == b':').map(|node| Path::new(OsStr::from_bytes(node)))
}

fn name_of(node: &Path) -> Option<String> {
    node.file_name()?.to_str().map(str::to_owned)
}

/// The devices of one file system by its directory: btrfs links to them in `devices`, bcachefs by the `block` of each
/// `dev-NUMBER`.
fn names_of(machine: &Machine, family: &str, directory: &str) -> Vec<String> {
    if family == "btrfs" {
        return block::names(machine, &format!("{directory}/devices"), |_| true);
    }
    let members = block::names(machine, directory, |name| name.starts_with("dev-"));
    let device = |member: &String| block::link_name(machine, &format!("{directory}/{member}/block"));
    members.iter().filter_map(device).collect()
}
