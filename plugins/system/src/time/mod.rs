//! `guest-get-time` and `guest-set-time`.
//!
//! * `clock` is the guest's clocks, as far as they can be turned,
//! * `set` turns them,
//! * `rtc` is the hardware clock's device, `adjtime` says in which zone it runs,
//! * [`rehearsal`] stands in for all of it in tests.

mod adjtime;
pub(crate) mod clock;
pub(crate) mod rehearsal;
mod rtc;
mod set;
#[cfg(test)]
mod tests;

use std::sync::TryLockError;

use guestd_sdk::prelude::*;

use crate::System;
use crate::types::SetTimeArgs;

/// `guest-get-time`: the system time in nanoseconds since 1970-01-01 00:00:00 UTC.
pub fn get(ctx: &Ctx<System>, _: NoArgs) -> Result<i64, CommandError> {
    let now = ctx.state.clock.now();
    Ok(now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec))
}

/// `guest-set-time`: sets the system time to `time` and then the hardware clock to the system time; without `time`
/// sets the system time to that of the hardware clock.
///
/// A time before 1970 or from 2070 on is `Invalid time`, as in qemu-ga. A guest without a hardware clock, or with one
/// that cannot be set, is fine where a time is given. Takes up to a second, since a hardware clock counts whole seconds.
pub fn set(ctx: &Ctx<System>, args: SetTimeArgs) -> Result<(), CommandError> {
    // One that waited here would set a time that is no longer true.
    let _alone = match ctx.state.setting_time.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(CommandError::new("guest-set-time is already running")),
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
    };
    let System { guest, zone, clock, .. } = &ctx.state;
    let log = &|message: std::fmt::Arguments<'_>| ctx.info(message);
    match args.time {
        Some(nanoseconds) => set::to_given_time(guest, zone, &**clock, nanoseconds, log),
        None => set::to_hardware_clock(guest, zone, &**clock, log),
    }
}
