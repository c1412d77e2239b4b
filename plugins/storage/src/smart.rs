//! An NVMe drive's health: its SMART log (NVM Express Base Specification, log page 02h).

use crate::block::BlockDevice;
use crate::kernel::{Kernel, SMART_LOG};
use crate::machine::Machine;
use crate::types::{DiskSmart, NvmeSmart};

/// The drive's own report, where there is a drive that gives one to this process.
pub(crate) fn of(kernel: &dyn Kernel, machine: &Machine, disk: &BlockDevice) -> Option<DiskSmart> {
    if !disk.name.starts_with("nvme") {
        return None;
    }
    let log = kernel.smart_log(&machine.path(disk.node())).ok()?;
    parse(&log).map(DiskSmart::Nvme)
}

/// Numbers are little-endian; those of 128 bits are given in halves.
fn parse(log: &[u8; SMART_LOG]) -> Option<NvmeSmart> {
    let number = |at: usize| Some(u64::from_le_bytes(*log.get(at..)?.first_chunk()?));
    let byte = |at: usize| log.get(at).copied();
    Some(NvmeSmart {
        critical_warning: byte(0)?,
        temperature: u16::from_le_bytes(*log.get(1..)?.first_chunk()?),
        available_spare: byte(3)?,
        available_spare_threshold: byte(4)?,
        percentage_used: byte(5)?,
        data_units_read_lo: number(32)?,
        data_units_read_hi: number(40)?,
        data_units_written_lo: number(48)?,
        data_units_written_hi: number(56)?,
        host_read_commands_lo: number(64)?,
        host_read_commands_hi: number(72)?,
        host_write_commands_lo: number(80)?,
        host_write_commands_hi: number(88)?,
        controller_busy_time_lo: number(96)?,
        controller_busy_time_hi: number(104)?,
        power_cycles_lo: number(112)?,
        power_cycles_hi: number(120)?,
        power_on_hours_lo: number(128)?,
        power_on_hours_hi: number(136)?,
        unsafe_shutdowns_lo: number(144)?,
        unsafe_shutdowns_hi: number(152)?,
        media_errors_lo: number(160)?,
        media_errors_hi: number(168)?,
        number_of_error_log_entries_lo: number(176)?,
        number_of_error_log_entries_hi: number(184)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_from_its_place() {
        let mut log = [0; SMART_LOG];
        for (at, byte) in log.iter_mut().enumerate() {
            *byte = at as u8;
        }
        let smart = parse(&log).unwrap();
        assert_eq!((smart.critical_warning, smart.temperature), (0, 0x0201));
        assert_eq!((smart.available_spare, smart.available_spare_threshold, smart.percentage_used), (3, 4, 5));
        let from = |at: u64| (0..8).map(|byte| (at + byte) << (8 * byte)).sum::<u64>();
        assert_eq!((smart.data_units_read_lo, smart.data_units_read_hi), (from(32), from(40)));
        assert_eq!((smart.host_write_commands_lo, smart.host_write_commands_hi), (from(80), from(88)));
        assert_eq!((smart.power_on_hours_lo, smart.unsafe_shutdowns_hi), (from(128), from(152)));
        assert_eq!(smart.number_of_error_log_entries_hi, from(184));
    }
}
