//! Turning the clocks.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use guestd_sdk::CommandError;
use jiff::tz::TimeZone;
use rustix::io::Errno;
use rustix::time::Timespec;

use super::adjtime::rtc_in_local_time;
use super::clock::{Clock, Rtc};
use super::rtc::RtcTime;
use crate::guest::Guest;
use crate::timezone::{Zone, offset_info};

/// 2070-01-01 00:00:00 UTC in seconds, from which on qemu-ga takes no time.
const YEAR_2070: i64 = 3_155_760_000;

const SECOND: i64 = 1_000_000_000;

/// How often a hardware clock is looked at to see its second change, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOOKS: u32 = 1000;

/// Writes to the log what was done.
pub(super) type Log<'l> = &'l dyn Fn(fmt::Arguments<'_>);

/// Sets the system time and then the hardware clock, if there is one.
pub(super) fn to_given_time(
    guest: &Guest,
    zone: &Zone,
    clock: &dyn Clock,
    nanoseconds: i64,
    log: Log<'_>,
) -> Result<(), CommandError> {
    let time = Timespec { tv_sec: nanoseconds.div_euclid(SECOND), tv_nsec: nanoseconds.rem_euclid(SECOND) };
    if !(0..YEAR_2070).contains(&time.tv_sec) {
        return Err(CommandError::new("Invalid time"));
    }
    set_system_time(clock, time, log)?;
    let failed = |error: &io::Error| CommandError::os("failed to set hardware clock to system time", error);
    let rtc = match clock.open_rtc() {
        Ok(rtc) => rtc,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log(format_args!("there is no hardware clock to set"));
            return Ok(());
        }
        Err(error) => return Err(failed(&error)),
    };
    match set_rtc(guest, zone, clock, &*rtc) {
        Ok(face) => log(format_args!("the hardware clock is set to {face}")),
        // The kernel's answer where the driver has no way to set the clock.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            log(format_args!("the hardware clock cannot be set: {error}"));
        }
        Err(error) => return Err(failed(&error)),
    }
    Ok(())
}

/// Sets the system time to that of the hardware clock.
pub(super) fn to_hardware_clock(
    guest: &Guest,
    zone: &Zone,
    clock: &dyn Clock,
    log: Log<'_>,
) -> Result<(), CommandError> {
    let failed = |error: &io::Error| CommandError::os("failed to read the hardware clock", error);
    let rtc = clock.open_rtc().map_err(|error| failed(&error))?;
    let face = next_second(clock, &*rtc).map_err(|error| failed(&error))?;
    let shown = face.seconds().ok_or_else(|| CommandError::new(format!("the hardware clock shows no date: {face}")))?;
    let seconds = if rtc_in_local_time(guest) { from_local(&zone.get(), shown) } else { shown };
    set_system_time(clock, Timespec { tv_sec: seconds, tv_nsec: 0 }, log)
}

fn set_system_time(clock: &dyn Clock, time: Timespec, log: Log<'_>) -> Result<(), CommandError> {
    let before = clock.now();
    clock.set(time).map_err(|error| CommandError::os("Failed to set time to guest", &error))?;
    log(format_args!("the system time is set from {} to {} s since 1970", Seconds(before), Seconds(time)));
    Ok(())
}

/// Sets the hardware clock at the moment at which its own second begins together with the system's.
fn set_rtc(guest: &Guest, zone: &Zone, clock: &dyn Clock, rtc: &dyn Rtc) -> io::Result<RtcTime> {
    let in_local_time = rtc_in_local_time(guest);
    let phase = i64::from(rtc.phase_when_set().subsec_nanos());
    let now = clock.now();
    let wait = (phase - now.tv_nsec).rem_euclid(SECOND);
    let seconds = now.tv_sec.saturating_add((now.tv_nsec + wait) / SECOND);
    let offset = if in_local_time { offset_info(&zone.get(), seconds).offset().seconds() } else { 0 };
    let face = RtcTime::from_seconds(seconds.saturating_add(offset.into())).ok_or(Errno::RANGE)?;
    clock.sleep(Duration::from_nanos(wait.unsigned_abs()));
    rtc.set(face)?;
    Ok(face)
}

/// What a hardware clock shows as soon as it shows something new: it tells no parts of a second.
fn next_second(clock: &dyn Clock, rtc: &dyn Rtc) -> io::Result<RtcTime> {
    let first = rtc.read()?;
    for _ in 0..LOOKS {
        clock.sleep(LOOK_EVERY);
        let face = rtc.read()?;
        if face != first {
            return Ok(face);
        }
    }
    Err(io::Error::other(format!("it stands still at {first}")))
}

/// The moment at which the clocks of a zone show `shown`, both in seconds since 1970. Of a time that they show twice it
/// is either, and one that they never show is read as if they had not been put forward yet.
fn from_local(zone: &TimeZone, shown: i64) -> i64 {
    let guess = shown.saturating_sub(offset_info(zone, shown).offset().seconds().into());
    shown.saturating_sub(offset_info(zone, guess).offset().seconds().into())
}

/// A time as seconds with their fraction.
struct Seconds(Timespec);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.tv_sec, self.0.tv_nsec)
    }
}
