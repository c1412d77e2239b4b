//! `__org.guestd_get-memory`: how much memory the guest has, can still give, and waits for.

use guestd_sdk::prelude::*;

use crate::System;
use crate::types::{Memory, Number, Pressure, Stall};

/// More than the kernel ever writes into the files below, in bytes.
const LIMIT: usize = 256 * 1024;

/// `__org.guestd_get-memory`: `/proc/meminfo` and `/proc/pressure/memory`. Fails where `/proc` is not mounted.
pub fn memory(ctx: &Ctx<System>, _: NoArgs) -> Result<Memory, CommandError> {
    const MEMINFO: &str = "/proc/meminfo";
    let guest = &ctx.state.guest;
    let text =
        guest.read(MEMINFO, LIMIT).map_err(|error| CommandError::os(format_args!("open(\"{MEMINFO}\")"), &error))?;
    let mut memory = meminfo(&text);
    // A kernel that does not measure it has no such file, or one that cannot be read (EOPNOTSUPP).
    memory.pressure = guest.read("/proc/pressure/memory", LIMIT).ok().and_then(|text| pressure(&text));
    Ok(memory)
}

/// What `/proc/meminfo` says; a value that it leaves out is 0.
fn meminfo(text: &[u8]) -> Memory {
    let mut memory = Memory::default();
    for line in String::from_utf8_lossy(text).lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let mut words = value.split_ascii_whitespace();
        let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
        // "kB" are 1024 bytes here (proc_meminfo(5)).
        let bytes = if words.next() == Some("kB") { number.saturating_mul(1024) } else { number };
        let member = match key {
            "MemTotal" => &mut memory.total,
            "MemAvailable" => memory.available.insert(0),
            "MemFree" => &mut memory.free,
            "Buffers" => &mut memory.buffers,
            "Cached" => &mut memory.cached,
            "SwapTotal" => &mut memory.swap_total,
            "SwapFree" => &mut memory.swap_free,
            _ => continue,
        };
        *member = bytes;
    }
    memory
}

/// What `/proc/pressure/memory` says; `None` where one of its two lines is missing or is not as expected.
fn pressure(text: &[u8]) -> Option<Pressure> {
    let text = std::str::from_utf8(text).ok()?;
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).and_then(stall);
    Some(Pressure { some: line("some")?, full: line("full")? })
}

/// `avg10=0.12 avg60=0.05 avg300=0.01 total=91731`
fn stall(line: &str) -> Option<Stall> {
    let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let share = |name: &str| Some(Number(word(name)?.parse().ok()?));
    Some(Stall {
        avg10: share("avg10")?,
        avg60: share("avg60")?,
        avg300: share("avg300")?,
        total: word("total")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24640512 kB\nMemFree:        16929436 kB\nMemAvailable:   23206940 kB\n\
        Buffers:           93652 kB\nCached:          6205904 kB\nSwapCached:            0 kB\nSwapTotal:       1024 kB\n\
        SwapFree:            512 kB\nHugePages_Total:       0\n";
    const PRESSURE: &str = "some avg10=1.50 avg60=0.05 avg300=0.01 total=91731\n\
        full avg10=100.00 avg60=0.00 avg300=0.00 total=18446744073709551615\n";

    #[test]
    fn meminfo_is_told_in_bytes() {
        let expected = Memory {
            total: 24_640_512 * 1024,
            available: Some(23_206_940 * 1024),
            free: 16_929_436 * 1024,
            buffers: 93_652 * 1024,
            cached: 6_205_904 * 1024,
            swap_total: 1024 * 1024,
            swap_free: 512 * 1024,
            pressure: None,
        };
        assert_eq!(meminfo(MEMINFO.as_bytes()), expected);
    }

    #[test]
    fn nonsense_in_meminfo_is_passed_over() {
        let text =
            b"MemTotal: 1 kB\nMemFree: x kB\nCached:\nBuffers\n\xff\xff: 3 kB\nSwapFree: 99999999999999999999 kB\n\
            SwapTotal: 18446744073709551615 kB\n";
        assert_eq!(meminfo(text), Memory { total: 1024, swap_total: u64::MAX, ..Memory::default() });
        assert_eq!(meminfo(b""), Memory::default());
    }

    #[test]
    fn pressure_has_both_its_lines_or_is_left_out() {
        let found = pressure(PRESSURE.as_bytes()).unwrap();
        assert_eq!(found.some, Stall { avg10: Number(1.5), avg60: Number(0.05), avg300: Number(0.01), total: 91_731 });
        assert_eq!((found.full.avg10, found.full.total), (Number(100.0), u64::MAX));
        for end in 0..PRESSURE.len() - 21 {
            assert_eq!(pressure(&PRESSURE.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(pressure(b"\xff"), None);
    }
}
