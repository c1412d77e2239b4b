//! `guest-get-disks`: the guest's block devices.

use std::collections::HashSet;

use guestd_sdk::prelude::*;

use crate::address::Addresses;
use crate::block::{self, BlockDevice};
use crate::machine::Machine;
use crate::smart;
use crate::storage::Storage;
use crate::types::DiskInfo;

/// A link for each block device, partitions included.
const DEVICES: &str = "/sys/class/block";
/// The block devices that hold something, but for some that are removable (proc_partitions(5)).
const PARTITIONS: &str = "/proc/partitions";

/// `guest-get-disks`: every block device that has a size, in the order of their names. Loop devices without a file and
/// card readers without a card have none; a CD drive without a CD has, by the kernel's guess.
pub fn get_disks(ctx: &Ctx<Storage>, _: NoArgs) -> Result<Vec<DiskInfo>, CommandError> {
    let machine = &ctx.state.machine;
    let table = machine.read(PARTITIONS).unwrap_or_default();
    let full = names_in(&table);
    let names = block::names(machine, DEVICES, |name| may_hold_something(name, &full));
    let addresses = Addresses::new(machine, &ctx.state.serials);
    Ok(names.iter().filter_map(|name| disk(&ctx.state, &addresses, name, full.contains(name.as_bytes()))).collect())
}

/// The names of the table, which come last in their lines; its heading does no harm.
fn names_in(table: &[u8]) -> HashSet<Vec<u8>> {
    let name = |line: &[u8]| Some(line.rsplit(|byte| *byte == b' ').next()?.to_vec());
    let names = table.split(|byte| *byte == b'\n').filter_map(name).filter(|name| !name.is_empty());
    // As in the name of its node.
    names.map(|name| name.iter().map(|byte| if *byte == b'/' { b'!' } else { *byte }).collect()).collect()
}

/// A guest can have hundreds of loop devices without a file. Those with one are in the table, if there is a table.
fn may_hold_something(name: &str, full: &HashSet<Vec<u8>>) -> bool {
    !name.starts_with("loop") || full.is_empty() || full.contains(name.as_bytes())
}

fn disk(state: &Storage, addresses: &Addresses<'_>, name: &str, is_full: bool) -> Option<DiskInfo> {
    let machine = &state.machine;
    let device = BlockDevice::by_name(machine, name)?;
    if !is_full {
        let size: u64 = machine.attribute(device.attribute("size"))?.parse().ok()?;
        if size == 0 || is_hidden(machine, &device) {
            return None;
        }
    }
    let whole = device.disk(machine);
    let dependencies = match &whole {
        Some(disk) => vec![disk.node()],
        None if device.is_virtual() => device.members(machine).iter().map(|name| block::node(name)).collect(),
        None => Vec::new(),
    };
    let is_volume = device.name.starts_with("dm-");
    let address = || addresses.of(&device, None).into_iter().next();
    Some(DiskInfo {
        name: device.node(),
        partition: whole.is_some(),
        dependencies,
        address: if whole.is_some() { None } else { address() },
        alias: if is_volume { machine.attribute(device.attribute("dm/name")) } else { None },
        smart: if whole.is_some() { None } else { smart::of(&*state.kernel, machine, &device) },
    })
}

/// A single way to an NVMe namespace that is reached by several, `nvme0c1n1`, is a device without a node.
fn is_hidden(machine: &Machine, device: &BlockDevice) -> bool {
    let may_be = device.name.strip_prefix("nvme").is_some_and(|rest| rest.contains('c'));
    may_be && machine.attribute(device.attribute("hidden")).as_deref() == Some("1")
}
