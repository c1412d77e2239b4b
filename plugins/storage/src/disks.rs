//! `guest-get-disks`: the guest's block devices.

use guestd_sdk::prelude::*;

use crate::address;
use crate::block::{self, BlockDevice};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::smart;
use crate::storage::Storage;
use crate::types::DiskInfo;

/// A link for each block device, partitions included.
const DEVICES: &str = "/sys/class/block";

/// `guest-get-disks`: every block device that has something in it, in the order of their names. Drives and loop devices
/// without a medium are not listed.
pub fn get_disks(ctx: &Ctx<Storage>, _: NoArgs) -> Result<Vec<DiskInfo>, CommandError> {
    let (machine, kernel) = (&ctx.state.machine, &*ctx.state.kernel);
    let names = block::names(machine, DEVICES);
    Ok(names.iter().filter_map(|name| disk(kernel, machine, &BlockDevice::by_name(machine, name)?)).collect())
}

fn disk(kernel: &dyn Kernel, machine: &Machine, device: &BlockDevice) -> Option<DiskInfo> {
    let size: u64 = machine.attribute(device.attribute("size"))?.parse().ok()?;
    if size == 0 || is_hidden(machine, device) {
        return None;
    }
    let whole = device.disk(machine);
    let dependencies = match &whole {
        Some(disk) => vec![disk.node()],
        None if device.is_virtual() => {
            let members = device.members(machine).into_iter();
            members.map(|name| BlockDevice { path: String::new(), name }.node()).collect()
        }
        None => Vec::new(),
    };
    let is_volume = device.name.starts_with("dm-");
    Some(DiskInfo {
        name: device.node(),
        partition: whole.is_some(),
        dependencies,
        address: if whole.is_some() { None } else { address::of(machine, device, None).into_iter().next() },
        alias: if is_volume { machine.attribute(device.attribute("dm/name")) } else { None },
        smart: if whole.is_some() { None } else { smart::of(kernel, machine, device) },
    })
}

/// A single way to an NVMe namespace that is reached by several, `nvme0c1n1`, is a device without a node.
fn is_hidden(machine: &Machine, device: &BlockDevice) -> bool {
    let may_be = device.name.strip_prefix("nvme").is_some_and(|rest| rest.contains('c'));
    may_be && machine.attribute(device.attribute("hidden")).as_deref() == Some("1")
}
