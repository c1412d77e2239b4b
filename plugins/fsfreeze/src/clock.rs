//! Times: those that a crash and a suspended guest do not change, and those for people.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// The time since the guest was started, with the time that it was suspended (`CLOCK_BOOTTIME`): the clock of leases,
/// which go on when the agent is started anew.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // The clock never shows a time before the start.
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Tells one start of the guest from all others (random(4), `/proc/sys/kernel/random/boot_id`); empty where that
/// cannot be read.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

/// A time as RFC 3339 has it, in whole seconds of UTC.
pub fn text(time: SystemTime) -> String {
    // Before 1970 there is nothing to tell; the formatter would refuse it.
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// A duration in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
