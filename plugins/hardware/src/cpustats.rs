//! `guest-get-cpustats`: `/proc/stat`, as `proc_stat(5)` describes it.

use std::fs;

use guestd_sdk::prelude::*;
use rustix::param::clock_ticks_per_second;

use crate::hardware::Hardware;
use crate::types::{CpuStats, CpuStatsType};
use crate::vcpus::number_of;

const STAT: &str = "/proc/stat";

/// `guest-get-cpustats`: what each online processor has spent its time with.
pub fn get_cpustats(ctx: &Ctx<Hardware>, _: NoArgs) -> Result<Vec<CpuStats>, CommandError> {
    let text = fs::read(ctx.state.machine.path(STAT))
        .map_err(|error| CommandError::os(format_args!("open(\"{STAT}\")"), &error))?;
    Ok(parse(&String::from_utf8_lossy(&text), clock_ticks_per_second().max(1)))
}

/// The processors' lines, which stand at the beginning of the file.
fn parse(text: &str, ticks_per_second: u64) -> Vec<CpuStats> {
    let lines = text.lines().take_while(|line| line.starts_with("cpu"));
    lines.filter_map(|line| processor(line, ticks_per_second)).collect()
}

/// One line; `None` for the sum of all, and for one with less than the oldest kernel's four numbers.
fn processor(line: &str, ticks_per_second: u64) -> Option<CpuStats> {
    let mut words = line.split_ascii_whitespace();
    let cpu = number_of(words.next()?, "cpu")?.try_into().ok()?;
    let mut milliseconds = || {
        let ticks: u64 = words.next()?.parse().ok()?;
        u64::try_from(u128::from(ticks) * 1000 / u128::from(ticks_per_second)).ok()
    };
    Some(CpuStats {
        kind: CpuStatsType::Linux,
        cpu,
        user: milliseconds()?,
        nice: milliseconds()?,
        system: milliseconds()?,
        idle: milliseconds()?,
        iowait: milliseconds(),
        irq: milliseconds(),
        softirq: milliseconds(),
        steal: milliseconds(),
        guest: milliseconds(),
        guestnice: milliseconds(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn each_kernels_lines_give_what_they_hold() {
        let text = "cpu  9 9 9 9\ncpu0 1 2 3 4\ncpu1 1 2 3 4 5\ncpu2 1 2 3 4 5 6 7 8 9 10 11\nintr 5\ncpu7 1 2 3 4\n";
        let stats = parse(text, 100);
        assert_eq!(stats.iter().map(|stats| stats.cpu).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((stats[0].user, stats[0].nice, stats[0].system, stats[0].idle), (10, 20, 30, 40));
        assert_eq!((stats[0].iowait, stats[1].iowait, stats[1].irq), (None, Some(50), None));
        let more = (stats[2].irq, stats[2].softirq, stats[2].steal, stats[2].guest, stats[2].guestnice);
        assert_eq!(more, (Some(60), Some(70), Some(80), Some(90), Some(100)));
    }

    #[test]
    fn hostile_lines_are_left_out() {
        let text =
            "cpu0 1 2 3\ncpu01 1 2 3 4\ncpu-1 1 2 3 4\ncpux\ncpu\ncpu3 18446744073709551615 2 3 4\ncpu4 a b c d\n";
        assert_eq!(parse(text, 1), []);
        assert_eq!(parse(text, 1000).first().map(|stats| (stats.cpu, stats.user)), Some((3, u64::MAX)));
        assert_eq!(parse("", 100), []);
    }
}
