//! `guest-get-fsinfo`: the guest's local file systems and the disks that they are on.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use guestd_sdk::prelude::*;

use crate::address::Addresses;
use crate::block::BlockDevice;
use crate::filesystems::{Filesystem, Place};
use crate::machine::Machine;
use crate::mountinfo::DeviceId;
use crate::pools::{self, Pools};
use crate::space::Question;
use crate::storage::Storage;
use crate::types::{DiskAddress, FilesystemInfo};

/// `guest-get-fsinfo`: each local file system once, the one mounted last first. Network and pseudo file systems are
/// neither listed nor touched.
pub fn get_fsinfo(ctx: &Ctx<Storage>, _: NoArgs) -> Result<Vec<FilesystemInfo>, CommandError> {
    let (storage, machine) = (&ctx.state, &ctx.state.machine);
    let (systems, known_before) = storage.filesystems.local(machine)?;
    let infos = describe(storage, &systems);
    if known_before && infos.iter().any(|info| info.used_bytes.is_none()) {
        // A directory above a mount point may have got another name.
        let anew = storage.filesystems.local_anew(machine)?;
        if anew != systems {
            return Ok(describe(storage, &anew));
        }
    }
    Ok(infos)
}

fn describe(storage: &Storage, systems: &[Filesystem]) -> Vec<FilesystemInfo> {
    let machine = &storage.machine;
    let pending = storage.gauge.ask(systems.iter().map(|system| question(machine, system)).collect());
    let (addresses, pools) = (Addresses::new(machine, &storage.serials), Pools::of(machine, systems));
    let disks: Vec<_> = systems.iter().map(|system| disks_of(machine, &addresses, &pools, system)).collect();
    let spaces = pending.answers(storage.statfs_wait());
    let mut infos = Vec::with_capacity(systems.len());
    for ((system, (name, disk)), space) in systems.iter().zip(disks).zip(spaces) {
        infos.push(FilesystemInfo {
            name,
            mountpoint: system.point().to_string_lossy().into_owned(),
            kind: system.fstype.clone(),
            used_bytes: space.map(|space| space.used),
            total_bytes: space.map(|space| space.total),
            total_bytes_privileged: space.map(|space| space.total_privileged),
            disk,
        });
    }
    infos
}

fn question(machine: &Machine, system: &Filesystem) -> Question {
    let place = |place: &Place| Place { mount: place.mount, point: machine.path(&place.point) };
    Question { places: system.places.iter().map(place).collect(), prompt: system.prompt }
}

/// The name of a file system's device, and the disks behind it.
fn disks_of(
    machine: &Machine,
    addresses: &Addresses<'_>,
    pools: &Pools,
    system: &Filesystem,
) -> (String, Vec<DiskAddress>) {
    let source_name = || system.source.file_name().unwrap_or(system.source.as_os_str()).to_string_lossy().into_owned();
    let Some(device) = device_of(machine, system) else { return (source_name(), Vec::new()) };
    let mut disks = Vec::new();
    for member in pools.members(machine, system, &device) {
        for disk in member.stored_on(machine) {
            // The mount has told the number of its own device.
            let number = (system.device.major != 0 && disk == device).then_some(system.device);
            disks.extend(addresses.of(&disk, number));
        }
    }
    (device.name, disks)
}

/// The block device that was mounted.
fn device_of(machine: &Machine, system: &Filesystem) -> Option<BlockDevice> {
    if system.device.major != 0 {
        return BlockDevice::by_number(machine, system.device);
    }
    let source = pools::sources(&system.source).next()?;
    let node = std::fs::metadata(machine.path(source)).ok();
    if let Some(node) = node.filter(|node| node.file_type().is_block_device()) {
        let (major, minor) = (rustix::fs::major(node.rdev()), rustix::fs::minor(node.rdev()));
        return BlockDevice::by_number(machine, DeviceId { major, minor });
    }
    BlockDevice::by_name(machine, source.file_name()?.to_str()?)
}
