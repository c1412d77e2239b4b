//! `guest-get-diskstats`: `/proc/diskstats` (the kernel's `admin-guide/iostats.rst`).

use guestd_sdk::prelude::*;

use crate::storage::Storage;
use crate::types::{DiskStats, DiskStatsInfo};

const DISKSTATS: &str = "/proc/diskstats";

/// `guest-get-diskstats`: the counters of every block device, in the kernel's order.
pub fn get_diskstats(ctx: &Ctx<Storage>, _: NoArgs) -> Result<Vec<DiskStatsInfo>, CommandError> {
    let text = ctx
        .state
        .machine
        .read(DISKSTATS)
        .map_err(|error| CommandError::os(format_args!("could not open file: \"{DISKSTATS}\""), &error))?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(device).collect())
}

/// One line: two numbers, a name, and the counters. Kernels before 4.18 have 11 of them, before 5.5 there are 15, then
/// 17; partitions had 4 until 2.6.25.
fn device(line: &str) -> Option<DiskStatsInfo> {
    let mut words = line.split_ascii_whitespace();
    let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let name = words.next()?.to_owned();
    let counters: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let stats = match *counters.as_slice() {
        [read_ios, read_sectors, write_ios, write_sectors] => DiskStats {
            read_ios: Some(read_ios),
            read_sectors: Some(read_sectors),
            write_ios: Some(write_ios),
            write_sectors: Some(write_sectors),
            ..DiskStats::default()
        },
        [_, _, _, _, ..] => of_whole_line(&counters),
        _ => return None,
    };
    Some(DiskStatsInfo { name, major, minor, stats })
}

fn of_whole_line(counters: &[u64]) -> DiskStats {
    let mut counters = counters.iter().copied();
    let mut next = || counters.next();
    DiskStats {
        read_ios: next(),
        read_merges: next(),
        read_sectors: next(),
        read_ticks: next(),
        write_ios: next(),
        write_merges: next(),
        write_sectors: next(),
        write_ticks: next(),
        ios_pgr: next(),
        total_ticks: next(),
        weight_ticks: next(),
        discard_ios: next(),
        discard_merges: next(),
        discard_sectors: next(),
        discard_ticks: next(),
        flush_ios: next(),
        flush_ticks: next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernels_lines_give_what_they_hold() {
        let stats = device(" 8  0 sda 1 2 3 4 5 6 7 8 9 10 11").unwrap();
        assert_eq!((stats.name.as_str(), stats.major, stats.minor), ("sda", 8, 0));
        let stats = stats.stats;
        assert_eq!((stats.read_ios, stats.read_merges, stats.read_sectors, stats.read_ticks).3, Some(4));
        assert_eq!((stats.write_ios, stats.write_merges, stats.write_sectors), (Some(5), Some(6), Some(7)));
        assert_eq!((stats.ios_pgr, stats.total_ticks, stats.weight_ticks), (Some(9), Some(10), Some(11)));
        assert_eq!((stats.discard_ios, stats.flush_ios), (None, None));
        let stats = device("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18").unwrap().stats;
        assert_eq!((stats.discard_ios, stats.discard_merges, stats.discard_sectors), (Some(12), Some(13), Some(14)));
        assert_eq!((stats.discard_ticks, stats.flush_ios, stats.flush_ticks), (Some(15), Some(16), Some(17)));
        let stats = device("8 1 sda1 1 2 3 4").unwrap().stats;
        let expected = DiskStats {
            read_ios: Some(1),
            read_sectors: Some(2),
            write_ios: Some(3),
            write_sectors: Some(4),
            ..DiskStats::default()
        };
        assert_eq!(stats, expected);
    }

    #[test]
    fn hostile_lines_are_left_out() {
        for line in
            ["", "8", "8 0", "8 0 sda", "8 0 sda 1 2 3", "a 0 sda 1 2 3 4", "8 -1 sda 1 2 3 4", "8 0 sda x 2 3 4"]
        {
            assert_eq!(device(line), None, "{line}");
        }
        let stats = device("8 0 sda 1 2 3 4 5 99999999999999999999 7").unwrap().stats;
        assert_eq!((stats.write_ios, stats.write_merges), (Some(5), None));
    }
}
