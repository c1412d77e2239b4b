//! What the steps of a path in sysfs say: `/sys/devices/pci0000:00/0000:00:06.0/virtio3/host0/target0:0:3/0:0:3:1/...`.

use crate::types::{CcwAddress, PciAddress};

/// The steps of a device's path.
pub(super) struct Steps<'p>(Vec<&'p str>);

/// The SCSI address that Linux gives a device, without the number of the host adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scsi {
    pub channel: i64,
    pub target: i64,
    pub lun: i64,
}

impl<'p> Steps<'p> {
    pub fn of(path: &'p str) -> Self {
        Self(path.split('/').collect())
    }

    /// The last PCI function on the way and the path that leads to it.
    pub fn pci(&self) -> Option<(PciAddress, String)> {
        let at = self.0.iter().rposition(|step| pci(step).is_some())?;
        Some((pci(self.0.get(at)?)?, self.path_to(at)?))
    }

    /// The channel device on the way.
    pub fn ccw(&self) -> Option<CcwAddress> {
        let at = self.0.iter().position(|step| is_numbered(step, "css"))?;
        let (cssid, ssid, subchno) = ccw(self.0.get(at + 1)?)?;
        let (_, _, devno) = ccw(self.0.get(at + 2)?)?;
        Some(CcwAddress { cssid, ssid, subchno, devno })
    }

    /// The path of the card of a card reader, SD or MMC, on the way: the step behind its controller and its slot.
    pub fn card(&self) -> Option<String> {
        let at = self.0.iter().position(|step| *step == "mmc_host")?;
        self.path_to(at + 2)
    }

    /// The SCSI device on the way.
    pub fn scsi(&self) -> Option<Scsi> {
        self.0.iter().rev().find_map(|step| scsi(step))
    }

    /// Whether a step has this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Whether a step has this name and a number, as `usb2`.
    pub fn has_numbered(&self, name: &str) -> bool {
        self.0.iter().any(|step| is_numbered(step, name))
    }

    /// Whether a step begins so.
    pub fn has_beginning(&self, name: &str) -> bool {
        self.0.iter().any(|step| step.starts_with(name))
    }

    /// The path to the step with this name and a number, and the step.
    pub fn numbered(&self, name: &str) -> Option<(String, &'p str)> {
        let at = self.0.iter().position(|step| is_numbered(step, name))?;
        Some((self.path_to(at)?, self.0.get(at)?))
    }

    fn path_to(&self, at: usize) -> Option<String> {
        Some(self.0.get(..=at)?.join("/"))
    }
}

/// Whether a step is a name and a number.
pub(super) fn is_numbered(step: &str, name: &str) -> bool {
    step.strip_prefix(name).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `0000:00:06.0`: domain, bus, slot and function, in hexadecimal.
fn pci(step: &str) -> Option<PciAddress> {
    let (domain, rest) = step.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (slot, function) = rest.split_once('.')?;
    let shape = domain.len() >= 4 && bus.len() == 2 && slot.len() == 2 && function.len() == 1;
    let address = PciAddress { domain: hex(domain)?, bus: hex(bus)?, slot: hex(slot)?, function: hex(function)? };
    shape.then_some(address)
}

/// `0.0.0001`: channel subsystem, subchannel set, and subchannel or device, in hexadecimal.
fn ccw(step: &str) -> Option<(i64, i64, i64)> {
    let mut numbers = step.split('.');
    let address = (hex(numbers.next()?)?, hex(numbers.next()?)?, hex(numbers.next()?)?);
    numbers.next().is_none().then_some(address)
}

/// `0:0:3:1`: host adapter, channel, target and logical unit, in decimal.
fn scsi(step: &str) -> Option<Scsi> {
    let mut numbers = step.split(':').map(|number| number.parse::<u64>().ok());
    let _host = numbers.next()??;
    let (channel, target, lun) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let number = |number: u64| i64::try_from(number).ok();
    let scsi = Scsi { channel: number(channel)?, target: number(target)?, lun: number(flat(lun))? };
    numbers.next().is_none().then_some(scsi)
}

/// A logical unit number as its user knows it: from 256 on its two highest bits say how it is coded (SCSI
/// Architecture Model, flat space addressing).
fn flat(lun: u64) -> u64 {
    if (0x4000..0x8000).contains(&lun) { lun & 0x3FFF } else { lun }
}

fn hex(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    i64::from_str_radix(text, 16).ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_function_counts() {
        let steps = Steps::of("/sys/devices/pci0000:00/0000:00:05.0/0000:01:1f.7/virtio4/block/vdc");
        let (address, path) = steps.pci().unwrap();
        assert_eq!(address, PciAddress { domain: 0, bus: 1, slot: 0x1f, function: 7 });
        assert_eq!(path, "/sys/devices/pci0000:00/0000:00:05.0/0000:01:1f.7");
        let steps = Steps::of("/sys/devices/pci10000:e0/10000:e1:00.0/nvme/nvme0/nvme0n1");
        assert_eq!(steps.pci().unwrap().0.domain, 0x10000);
    }

    #[test]
    fn what_only_looks_like_an_address_is_none() {
        for step in ["pci0000:00", "0000:00:06", "0000:0:06.0", "000:00:06.0", "0000:00:6.0", "0000:00:06.10", "", ":"]
        {
            assert_eq!(pci(step), None, "{step}");
        }
        for step in ["0:0:3", "0:0:3:1:2", "a:0:3:1", "0:0:3:", "0:0:-3:1", "0:0:3:18446744073709551615"] {
            assert_eq!(scsi(step), None, "{step}");
        }
        for step in ["0.0", "0.0.1.2", "0.0.", "0.0.x", "0.0.+1"] {
            assert_eq!(ccw(step), None, "{step}");
        }
    }

    #[test]
    fn logical_units_are_decoded() {
        assert_eq!(scsi("0:0:7:16784"), Some(Scsi { channel: 0, target: 7, lun: 400 }));
        assert_eq!(scsi("2:1:0:255").map(|scsi| scsi.lun), Some(255));
        assert_eq!(scsi("2:1:0:49409").map(|scsi| scsi.lun), Some(49409));
    }
}
