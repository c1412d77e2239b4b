//! `guest-get-load`: the load averages.

use std::ffi::c_ulong;

use guestd_sdk::prelude::*;
use rustix::system::sysinfo;

use crate::System;
use crate::types::{LoadAverage, Number};

/// `guest-get-load`: the three numbers of getloadavg(3), from sysinfo(2).
pub fn load(_: &Ctx<System>, _: NoArgs) -> Result<LoadAverage, CommandError> {
    let [one, five, fifteen] = sysinfo().loads.map(two_decimals);
    Ok(LoadAverage { load1m: one, load5m: five, load15m: fifteen })
}

/// A load of sysinfo(2), which has 16 binary places, with the two decimals that `/proc/loadavg` shows of it.
fn two_decimals(load: c_ulong) -> Number {
    // The kernel counts with 11 places (`FSHIFT` of its `sched/loadavg.h`) and adds a 200th before it cuts.
    const PLACES: u32 = 11;
    let rounded = (load >> (16 - PLACES)) + (1 << PLACES) / 200;
    let (whole, part) = (rounded >> PLACES, rounded & ((1 << PLACES) - 1));
    Number((whole * 100 + ((part * 100) >> PLACES)) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_rounded_as_the_kernel_does() {
        for (load, expected) in
            [(0, 0.0), (65_536, 1.0), (65_535, 1.0), (65_000, 0.99), (3_277, 0.05), (327_680_000, 5000.0)]
        {
            assert_eq!(two_decimals(load), Number(expected), "{load}");
        }
    }
}
