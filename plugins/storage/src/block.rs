//! Block devices as sysfs shows them (the kernel's `ABI/testing/sysfs-block`).

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::machine::Machine;
use crate::mountinfo::DeviceId;

/// Devices that are made of other devices, or of files or memory.
const VIRTUAL: &str = "/sys/devices/virtual/";

/// A block device: a disk, a partition or a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockDevice {
    /// The kernel's name, as `vda1`.
    pub name: String,
    /// Its directory in sysfs, with no link on the way: `/sys/devices/...`.
    pub path: String,
}

impl BlockDevice {
    /// The device with a number.
    pub fn by_number(machine: &Machine, number: DeviceId) -> Option<Self> {
        Self::behind(machine, "/sys/dev/block", &number.to_string())
    }

    /// The device with a kernel's name.
    pub fn by_name(machine: &Machine, name: &str) -> Option<Self> {
        Self::behind(machine, "/sys/class/block", name)
    }

    fn behind(machine: &Machine, directory: &str, link: &str) -> Option<Self> {
        let path = follow(machine, directory, link)?;
        let name = path.rsplit_once('/')?.1.to_owned();
        Some(Self { name, path })
    }

    /// Its device node.
    pub fn node(&self) -> String {
        node(&self.name)
    }

    /// Whether it is made of other devices, or of files or memory.
    pub fn is_virtual(&self) -> bool {
        self.path.starts_with(VIRTUAL)
    }

    /// The path of one of its attributes.
    pub fn attribute(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The disk that it is a partition of, if it is one.
    pub fn disk(&self, machine: &Machine) -> Option<Self> {
        let (path, _) = self.path.rsplit_once('/')?;
        let (_, name) = path.rsplit_once('/')?;
        // The name alone does not tell: nvme0n1 is no partition of the controller nvme0.
        let is_partition = self.name.starts_with(name) && machine.path(self.attribute("partition")).exists();
        is_partition.then(|| Self { name: name.to_owned(), path: path.to_owned() })
    }

    /// The devices that a volume is made of, by their names, in order.
    pub fn members(&self, machine: &Machine) -> Vec<String> {
        names(machine, &self.attribute("slaves"), |_| true)
    }

    /// The disks and partitions that it is stored on in the end: itself, unless it is a volume.
    pub fn stored_on(&self, machine: &Machine) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        let mut seen = HashSet::new();
        let mut next = vec![self.clone()];
        while let Some(device) = next.pop() {
            if !seen.insert(device.path.clone()) {
                continue;
            }
            if !device.is_virtual() || device.is_multipath_nvme() {
                found.push(device);
                continue;
            }
            let volume = device.disk(machine).unwrap_or(device);
            // The last one is taken first.
            next.extend(volume.members(machine).iter().rev().filter_map(|name| Self::by_name(machine, name)));
        }
        found
    }

    /// Whether it is an NVMe namespace that the kernel reaches through several controllers.
    pub fn is_multipath_nvme(&self) -> bool {
        self.path.contains("/nvme-subsystem/")
    }
}

/// The device node of a block device. What is a `/` in the node's name is a `!` in sysfs.
pub(crate) fn node(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

/// The entries of a directory that are wanted, in the order of people: `sda`, `sda2`, `sda10`.
pub(crate) fn names(machine: &Machine, directory: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(machine.path(directory)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_wanted(name)).collect();
    names.sort_by_cached_key(|name| key(name));
    names
}

/// A name in pieces that compare as people do: what is no digit, and the number behind it.
fn key(name: &str) -> Vec<(String, u64)> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|char: char| char.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(text);
        let digits = tail.find(|char: char| !char.is_ascii_digit()).unwrap_or(tail.len());
        let (digits, tail) = tail.split_at(digits);
        pieces.push((text.to_owned(), digits.parse().unwrap_or(0)));
        rest = tail;
    }
    pieces
}

/// Where a symbolic link of sysfs leads, as a path without links; `None` if that is no device.
pub(crate) fn follow(machine: &Machine, directory: &str, link: &str) -> Option<String> {
    let target = fs::read_link(machine.path(Path::new(directory).join(link))).ok()?;
    let mut path: Vec<&str> = directory.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.to_str()?.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            step => path.push(step),
        }
    }
    match path.as_slice() {
        ["sys", ..] => Some(format!("/{}", path.join("/"))),
        _ => None,
    }
}

/// The last step of where a link leads: a device's name.
pub(crate) fn link_name(machine: &Machine, link: &str) -> Option<String> {
    Some(fs::read_link(machine.path(link)).ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_do() {
        let mut names = ["sdb", "sda10", "sda", "sda2", "nvme10n1", "nvme2n1", "sdaa", "dm-10", "dm-9", ""];
        names.sort_by_key(|name| key(name));
        assert_eq!(names, ["", "dm-9", "dm-10", "nvme2n1", "nvme10n1", "sda", "sda2", "sda10", "sdaa", "sdb"]);
    }
}
