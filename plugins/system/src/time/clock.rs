//! The guest's clocks: the acts that no test may do to the machine it runs on.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::rtc::{Device, RtcTime};

/// The clocks of a guest.
pub(crate) trait Clock: Send + Sync {
    /// The system time.
    fn now(&self) -> Timespec;

    /// Sets the system time: clock_settime(2).
    fn set(&self, time: Timespec) -> io::Result<()>;

    /// Opens the hardware clock; an error of kind `NotFound` where the guest has none.
    fn open_rtc(&self) -> io::Result<Box<dyn Rtc>>;

    /// Waits.
    fn sleep(&self, time: Duration);
}

/// A hardware clock; see rtc(4).
pub(crate) trait Rtc {
    /// The time it shows: `RTC_RD_TIME`.
    fn read(&self) -> io::Result<RtcTime>;

    /// Sets it: `RTC_SET_TIME`. An error `EINVAL` where its driver cannot.
    fn set(&self, time: RtcTime) -> io::Result<()>;

    /// How far into a second it is right after it was set. A PC's CMOS clock begins its next second half a second
    /// later, others a whole one (hwclock(8), `--delay`).
    fn phase_when_set(&self) -> Duration;
}

/// The clocks of the guest that the daemon runs in.
pub(crate) struct Linux;

impl Clock for Linux {
    fn now(&self) -> Timespec {
        clock_gettime(ClockId::Realtime)
    }

    fn set(&self, time: Timespec) -> io::Result<()> {
        Ok(clock_settime(ClockId::Realtime, time)?)
    }

    fn open_rtc(&self) -> io::Result<Box<dyn Rtc>> {
        Ok(Box::new(Device::open()?))
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}
