//! The arguments and results of the set's commands, under QEMU's names.

use serde::{Deserialize, Serialize};

/// `GuestDiskBusType`: how a disk is attached to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DiskBusType {
    /// A parallel ATA controller.
    Ide,
    /// A floppy disk controller.
    Fdc,
    /// A SCSI controller, virtio-scsi included.
    Scsi,
    /// virtio-blk.
    Virtio,
    /// A Xen virtual disk.
    Xen,
    /// USB mass storage.
    Usb,
    /// A SATA controller.
    Sata,
    /// A card reader with an SD card.
    Sd,
    /// None of the others, or not to be told.
    Unknown,
    /// Fibre channel.
    Fibre,
    /// iSCSI.
    Iscsi,
    /// Serial attached SCSI.
    Sas,
    /// A card reader with an MMC.
    Mmc,
    /// NVMe.
    Nvme,
}

/// `GuestPCIAddress`: a PCI function, as the guest sees it. All -1 for a disk that is not on PCI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PciAddress {
    /// The PCI domain.
    pub domain: i64,
    /// The bus.
    pub bus: i64,
    /// The slot, which Linux calls the device.
    pub slot: i64,
    /// The function.
    pub function: i64,
}

/// `GuestCCWAddress`: a channel device of an IBM Z guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CcwAddress {
    /// The channel subsystem image.
    pub cssid: i64,
    /// The subchannel set.
    pub ssid: i64,
    /// The subchannel.
    pub subchno: i64,
    /// The device number.
    pub devno: i64,
}

/// `GuestDiskAddress`: where a disk is attached, so that the host can tell which of its own it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct DiskAddress {
    /// The PCI function of the disk or of its controller.
    pub pci_controller: PciAddress,
    /// How it is attached.
    pub bus_type: DiskBusType,
    /// The controller's bus: the channel of SCSI, the port of IDE; else 0.
    pub bus: i64,
    /// The SCSI target; else 0.
    pub target: i64,
    /// The SCSI logical unit, the port of SATA, the device on IDE's cable; else 0.
    pub unit: i64,
    /// udev's `ID_SERIAL`, or without udev the serial number that the disk states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The device node, of the partition where a partition is meant: `/dev/vda1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// The channel device, on IBM Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ccw_address: Option<CcwAddress>,
}

/// `GuestFilesystemInfo`: a mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct FilesystemInfo {
    /// The kernel's name of the block device: `vda1`, `dm-0`.
    pub name: String,
    /// The first directory where it is mounted.
    pub mountpoint: String,
    /// Its type: `ext4`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How much of it is used, in bytes. Absent where the file system does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// How much of it users without privileges can use, used space included, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// How much of it root can use, used space included, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes_privileged: Option<u64>,
    /// The disks that it is stored on, looked up through device-mapper and md. Empty for disks of files and memory.
    pub disk: Vec<DiskAddress>,
}

/// `GuestNVMeSmart`: the health of an NVMe drive, as in its SMART log (NVM Express Base Specification, log page 02h).
/// Counters of 128 bits come in two halves of 64, `-lo` and `-hi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
#[serde(rename_all = "kebab-case")]
pub struct NvmeSmart {
    /// The bits of the critical warning.
    pub critical_warning: u8,
    /// The temperature, in kelvins.
    pub temperature: u16,
    /// The spare capacity that is left, in percent.
    pub available_spare: u8,
    /// Where that becomes critical, in percent.
    pub available_spare_threshold: u8,
    /// How much of its life the drive has used, in percent; 255: more than 254.
    pub percentage_used: u8,
    /// Read data, in units of 512,000 bytes.
    pub data_units_read_lo: u64,
    /// See `-lo`.
    pub data_units_read_hi: u64,
    /// Written data, in units of 512,000 bytes.
    pub data_units_written_lo: u64,
    /// See `-lo`.
    pub data_units_written_hi: u64,
    /// The number of read commands.
    pub host_read_commands_lo: u64,
    /// See `-lo`.
    pub host_read_commands_hi: u64,
    /// The number of write commands.
    pub host_write_commands_lo: u64,
    /// See `-lo`.
    pub host_write_commands_hi: u64,
    /// The time with commands at work, in minutes.
    pub controller_busy_time_lo: u64,
    /// See `-lo`.
    pub controller_busy_time_hi: u64,
    /// The number of power cycles.
    pub power_cycles_lo: u64,
    /// See `-lo`.
    pub power_cycles_hi: u64,
    /// The time under power, in hours.
    pub power_on_hours_lo: u64,
    /// See `-lo`.
    pub power_on_hours_hi: u64,
    /// The number of times that power was lost without warning.
    pub unsafe_shutdowns_lo: u64,
    /// See `-lo`.
    pub unsafe_shutdowns_hi: u64,
    /// The number of errors of the medium that could not be corrected.
    pub media_errors_lo: u64,
    /// See `-lo`.
    pub media_errors_hi: u64,
    /// The number of entries in the error log since the drive was made.
    pub number_of_error_log_entries_lo: u64,
    /// See `-lo`.
    pub number_of_error_log_entries_hi: u64,
}

/// `GuestDiskSmart`: a disk's own report on its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum DiskSmart {
    /// Of an NVMe drive.
    Nvme(NvmeSmart),
}

/// `GuestDiskInfo`: a block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskInfo {
    /// The device node: `/dev/vda`.
    pub name: String,
    /// Whether it is a partition of another.
    pub partition: bool,
    /// The device nodes of what it is made of: the disk of a partition, the members of a volume.
    pub dependencies: Vec<String>,
    /// Where it is attached. Absent for a partition, and for what is not hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<DiskAddress>,
    /// The name of a device-mapper device: `vg-root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The disk's health, of NVMe drives where it can be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smart: Option<DiskSmart>,
}

/// `GuestDiskStats`: a block device's counters since it was added, as in the kernel's `admin-guide/iostats.rst`. Older kernels have
/// fewer. Sectors are of 512 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct DiskStats {
    /// Sectors read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_sectors: Option<u64>,
    /// Reads completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ios: Option<u64>,
    /// Reads merged into others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_merges: Option<u64>,
    /// Sectors written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_sectors: Option<u64>,
    /// Writes completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_ios: Option<u64>,
    /// Writes merged into others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_merges: Option<u64>,
    /// Sectors discarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard_sectors: Option<u64>,
    /// Discards completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard_ios: Option<u64>,
    /// Discards merged into others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard_merges: Option<u64>,
    /// Flushes completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_ios: Option<u64>,
    /// The time of all reads together, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_ticks: Option<u64>,
    /// The time of all writes together, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_ticks: Option<u64>,
    /// The time of all discards together, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discard_ticks: Option<u64>,
    /// The time of all flushes together, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_ticks: Option<u64>,
    /// Requests at work now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ios_pgr: Option<u64>,
    /// The time with requests at work, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ticks: Option<u64>,
    /// That time, each moment counted with the number of requests at work in it, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_ticks: Option<u64>,
}

/// `GuestDiskStatsInfo`: a block device and its counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskStatsInfo {
    /// The kernel's name of the device: `vda1`.
    pub name: String,
    /// Its major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
    /// The counters.
    pub stats: DiskStats,
}

/// The arguments of `guest-fstrim`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrimArgs {
    /// Free stretches shorter than this many bytes may be left alone. The default, 0, discards every free block.
    pub minimum: Option<i64>,
}

/// `GuestFilesystemTrimResult`: what became of one file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrimResult {
    /// Where it is mounted.
    pub path: String,
    /// How much was discarded, in bytes. Absent on failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trimmed: Option<i64>,
    /// The shortest stretch that was discarded, as the file system rounded it, in bytes. Absent on failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `GuestFilesystemTrimResponse`: what became of all file systems, in the order in which they were trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TrimResponse {
    /// The file systems.
    pub paths: Vec<TrimResult>,
}
