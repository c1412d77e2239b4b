//! Where a disk is attached, found out from its path in sysfs.
//!
//! The numbers are those by which the host names the disk too: of virtio-blk and NVMe the PCI function alone, of SCSI
//! the controller's function with channel, target and logical unit, of ATA the controller's function with the port.

mod place;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::block::{self, BlockDevice};
use crate::machine::Machine;
use crate::mountinfo::DeviceId;
use crate::serial::Serials;
use crate::types::{DiskAddress, DiskBusType, PciAddress};
use place::Steps;

/// The PCI function of a disk that has none.
const NO_PCI: PciAddress = PciAddress { domain: -1, bus: -1, slot: -1, function: -1 };

/// The addresses of one request's disks.
pub(crate) struct Addresses<'s> {
    machine: &'s Machine,
    serials: &'s Serials,
    /// The controllers of each NVMe subsystem, whose directory has an entry for each of its namespaces, too.
    controllers: RefCell<HashMap<String, Rc<[String]>>>,
}

impl<'s> Addresses<'s> {
    pub fn new(machine: &'s Machine, serials: &'s Serials) -> Self {
        Self { machine, serials, controllers: RefCell::default() }
    }

    /// Where a disk, or a partition's disk, is attached. Empty for what is not hardware; several where several ways
    /// lead to it. `number` is the device's, where the caller knows it.
    pub fn of(&self, device: &BlockDevice, number: Option<DeviceId>) -> Vec<DiskAddress> {
        if device.is_virtual() && !device.is_multipath_nvme() {
            return Vec::new();
        }
        let machine = self.machine;
        let parent = device.disk(machine);
        let disk = parent.as_ref().unwrap_or(device);
        let serial = self.serials.of(machine, device, disk, number);
        let address = |way: &str| {
            let route = Route::of(machine, way);
            DiskAddress {
                pci_controller: route.pci.unwrap_or(NO_PCI),
                bus_type: route.bus_type,
                bus: route.bus,
                target: route.target,
                unit: route.unit,
                serial: serial.clone(),
                dev: Some(device.node()),
                ccw_address: Steps::of(way).ccw(),
            }
        };
        if device.is_multipath_nvme() {
            self.nvme_controllers(disk).iter().map(|way| address(way)).collect()
        } else {
            vec![address(&disk.path)]
        }
    }

    /// The controllers through which an NVMe namespace is reached; their subsystem's directory has a link to each.
    fn nvme_controllers(&self, disk: &BlockDevice) -> Rc<[String]> {
        let Some((subsystem, _)) = disk.path.rsplit_once('/') else { return Rc::default() };
        let find = || {
            let names = block::names(self.machine, subsystem, |name| place::is_numbered(name, "nvme"));
            names.iter().filter_map(|name| block::follow(self.machine, subsystem, name)).collect()
        };
        Rc::clone(self.controllers.borrow_mut().entry(subsystem.to_owned()).or_insert_with(find))
    }
}

/// The path of the SD card or MMC that a disk is on, boot partitions of an MMC included: they are disks whose device is
/// the card's main disk.
pub(crate) fn card(disk: &BlockDevice) -> Option<String> {
    Steps::of(&disk.path).card()
}

/// The way to a disk, as far as QEMU's types have a place for it.
#[derive(Debug)]
struct Route {
    bus_type: DiskBusType,
    pci: Option<PciAddress>,
    bus: i64,
    target: i64,
    unit: i64,
}

impl Route {
    fn of(machine: &Machine, path: &str) -> Self {
        let steps = Steps::of(path);
        let pci = steps.pci();
        let address = pci.as_ref().map(|(address, _)| *address);
        let plain = |bus_type, pci| Self { bus_type, pci, bus: 0, target: 0, unit: 0 };

        // Of these the controller's function is left out, as by qemu-ga: a host that looks for a controller at this
        // address and a disk 0:0:0 on it would find another disk.
        if steps.has_numbered("usb") {
            return plain(DiskBusType::Usb, None);
        }
        if let Some(card) = steps.card() {
            let kind = machine.attribute(format!("{card}/type"));
            return plain(if kind.as_deref() == Some("MMC") { DiskBusType::Mmc } else { DiskBusType::Sd }, None);
        }
        if steps.has_beginning("floppy.") {
            return plain(DiskBusType::Fdc, None);
        }
        if steps.has_beginning("vbd-") {
            return plain(DiskBusType::Xen, None);
        }

        if steps.has("nvme") || steps.has_numbered("nvme") {
            return plain(DiskBusType::Nvme, address);
        }
        let Some(scsi) = steps.scsi() else {
            let bus_type = if steps.has_numbered("virtio") { DiskBusType::Virtio } else { DiskBusType::Unknown };
            return plain(bus_type, address.filter(|_| bus_type == DiskBusType::Virtio));
        };
        let driver = pci.and_then(|(_, function)| driver(machine, &function)).unwrap_or_default();
        if let Some((port, step)) = steps.numbered("ata") {
            let port =
                machine.attribute(format!("{port}/ata_port/{step}/port_no")).and_then(|number| number.parse().ok());
            let port = port.map_or(0, |number: i64| number.saturating_sub(1));
            return if driver == "ahci" || driver.starts_with("sata_") {
                Self { bus_type: DiskBusType::Sata, pci: address, bus: 0, target: 0, unit: port }
            } else {
                Self { bus_type: DiskBusType::Ide, pci: address, bus: port, target: 0, unit: scsi.target }
            };
        }
        let bus_type = if steps.has_beginning("end_device-") {
            DiskBusType::Sas
        } else if steps.has_beginning("rport-") {
            DiskBusType::Fibre
        } else if steps.has_numbered("session") {
            DiskBusType::Iscsi
        } else {
            DiskBusType::Scsi
        };
        // On the parallel bus of QEMU's lsi53c895a a disk is told by its target alone, which the host calls unit.
        let (target, unit) = if driver == "sym53c8xx" { (0, scsi.target) } else { (scsi.target, scsi.lun) };
        Self { bus_type, pci: address, bus: scsi.channel, target, unit }
    }
}

/// The name of the driver of the device at `path`.
fn driver(machine: &Machine, path: &str) -> Option<String> {
    block::link_name(machine, &format!("{path}/driver"))
}
