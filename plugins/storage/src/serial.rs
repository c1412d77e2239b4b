//! A disk's serial number.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::address;
use crate::block::BlockDevice;
use crate::machine::Machine;
use crate::mountinfo::DeviceId;

/// udev's records, a file a device: `b8:0` is a block device's (sd-device's database).
const UDEV: &str = "/run/udev/data";

/// The most disks whose serial numbers are kept.
const MOST_KEPT: usize = 64;

/// The serial numbers of virtio disks, which the kernel has no copy of: it asks the host whenever the file is read.
///
/// A serial number is kept for one life of a disk, which the kernel numbers (`diskseq`, since Linux 5.15): what is put
/// in instead, under the same name, has another number. The number's file stays open, since that is most of the time
/// it takes; once the disk has gone it cannot be read any more. Without numbers nothing is kept.
#[derive(Default)]
pub(crate) struct Serials(Mutex<HashMap<String, Kept>>);

struct Kept {
    /// The file with the number.
    file: File,
    number: Vec<u8>,
    serial: Option<String>,
}

impl Serials {
    /// udev's `ID_SERIAL` of a disk or partition, which for many disks begins with their model; without udev the serial
    /// number that the disk itself states.
    pub fn of(
        &self,
        machine: &Machine,
        device: &BlockDevice,
        disk: &BlockDevice,
        number: Option<DeviceId>,
    ) -> Option<String> {
        let number = number.or_else(|| machine.attribute(device.attribute("dev"))?.parse().ok());
        number.and_then(|number| of_udev(machine, number)).or_else(|| self.of_disk(machine, disk))
    }

    /// virtio-blk has it with the disk, NVMe with the device, card readers with the card, SCSI in the vital product data.
    fn of_disk(&self, machine: &Machine, disk: &BlockDevice) -> Option<String> {
        self.of_virtio(machine, disk)
            .or_else(|| machine.attribute(disk.attribute("device/serial")))
            .or_else(|| machine.attribute(format!("{}/serial", address::card(disk)?)))
            .or_else(|| unit_serial_number(&machine.attribute_bytes(disk.attribute("device/vpd_pg80"))?))
    }

    fn of_virtio(&self, machine: &Machine, disk: &BlockDevice) -> Option<String> {
        if let Some(kept) = self.kept().get(&disk.path)
            && number_in(&kept.file).is_some_and(|number| number == kept.number)
        {
            return kept.serial.clone();
        }
        let file = File::open(machine.path(disk.attribute("diskseq"))).ok();
        let number = file.as_ref().and_then(number_in);
        let serial = machine.attribute(disk.attribute("serial"));
        if let (Some(file), Some(number)) = (file, number) {
            let mut kept = self.kept();
            if kept.len() >= MOST_KEPT {
                kept.clear();
            }
            kept.insert(disk.path.clone(), Kept { file, number, serial: serial.clone() });
        }
        serial
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number_in(file: &File) -> Option<Vec<u8>> {
    let mut number = [0; 32];
    let len = file.read_at(&mut number, 0).ok()?;
    number.get(..len).filter(|number| !number.is_empty()).map(<[u8]>::to_vec)
}

fn of_udev(machine: &Machine, number: DeviceId) -> Option<String> {
    let record = machine.read(&format!("{UDEV}/b{number}")).ok()?;
    let serial = record.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"E:ID_SERIAL="))?;
    (!serial.is_empty()).then(|| String::from_utf8_lossy(serial).into_owned())
}

/// The unit serial number page: four bytes, of which the last two are the length of the rest (SCSI Primary Commands,
/// vital product data page 80h).
fn unit_serial_number(page: &[u8]) -> Option<String> {
    let (&[_, 0x80, high, low], rest) = page.split_first_chunk::<4>()? else { return None };
    let len = usize::from(u16::from_be_bytes([high, low]));
    let text = String::from_utf8_lossy(rest.get(..len)?);
    let text = text.trim_matches(|char: char| char == '\0' || char.is_ascii_whitespace());
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::unit_serial_number;

    #[test]
    fn a_product_data_page_is_read_as_far_as_it_says() {
        assert_eq!(unit_serial_number(b"\0\x80\0\x06SC0SERxx").as_deref(), Some("SC0SER"));
        assert_eq!(unit_serial_number(b"\0\x80\0\x14SATASER             ").as_deref(), Some("SATASER"));
        for page in
            [b"".as_slice(), b"\0\x80\0", b"\0\x80\0\x06SC0", b"\0\x83\0\x01x", b"\0\x80\0\0", b"\0\x80\0\x02  "]
        {
            assert_eq!(unit_serial_number(page), None, "{page:?}");
        }
    }
}
