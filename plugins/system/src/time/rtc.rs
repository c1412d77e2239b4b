//! The hardware clock behind `/dev/rtc`: rtc(4) and the kernel's `linux/rtc.h`.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use rustix::fs::{Mode, OFlags, fstat, major, minor, open};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use super::clock::Rtc;
use crate::guest::read_file;

/// Where the device is, as hwclock(8) looks for it.
const DEVICES: [&str; 3] = ["/dev/rtc", "/dev/rtc0", "/dev/misc/rtc"];

const RTC_RD_TIME: Opcode = opcode::read::<RtcTime>(b'p', 0x09);
const RTC_SET_TIME: Opcode = opcode::write::<RtcTime>(b'p', 0x0a);

/// The kernel's `struct rtc_time`, a `struct tm`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtcTime {
    second: i32,
    minute: i32,
    hour: i32,
    day_of_month: i32,
    /// 0 to 11.
    month: i32,
    /// Since 1900.
    year: i32,
    // The kernel looks at none of the following.
    day_of_week: i32,
    day_of_year: i32,
    is_dst: i32,
}

impl RtcTime {
    /// The clock's face at a moment in seconds since 1970, both in the same zone. `None` far away from now.
    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        let date = Offset::UTC.to_datetime(Timestamp::from_second(seconds).ok()?);
        Some(Self {
            second: date.second().into(),
            minute: date.minute().into(),
            hour: date.hour().into(),
            day_of_month: date.day().into(),
            month: i32::from(date.month()) - 1,
            year: i32::from(date.year()) - 1900,
            day_of_week: date.weekday().to_sunday_zero_offset().into(),
            day_of_year: i32::from(date.day_of_year()) - 1,
            is_dst: 0,
        })
    }

    /// The moment in seconds since 1970. `None` where the clock shows what is no date.
    pub(crate) fn seconds(self) -> Option<i64> {
        let part = |part: i32| i8::try_from(part).ok();
        let year = i16::try_from(self.year.checked_add(1900)?).ok()?;
        let (month, day) = (part(self.month.checked_add(1)?)?, part(self.day_of_month)?);
        let (hour, minute, second) = (part(self.hour)?, part(self.minute)?, part(self.second)?);
        let date = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some(Offset::UTC.to_timestamp(date).ok()?.as_second())
    }
}

impl fmt::Display for RtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { second, minute, hour, day_of_month, month, year, .. } = self;
        let (year, month) = (i64::from(*year) + 1900, i64::from(*month) + 1);
        write!(f, "{year:04}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// The device.
pub(crate) struct Device(OwnedFd);

impl Device {
    /// Opens the first that there is. The kernel lets one program at a time have it (`EBUSY`).
    pub(crate) fn open() -> io::Result<Self> {
        for path in DEVICES {
            match open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()) {
                // A node without a driver behind it is no clock either.
                Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {}
                Ok(device) => return Ok(Self(device)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::NOENT.into())
    }

    fn driver_name(&self) -> io::Result<String> {
        let device = fstat(&self.0)?.st_rdev;
        let path = format!("/sys/dev/char/{}:{}/name", major(device), minor(device));
        Ok(String::from_utf8_lossy(&read_file(Path::new(&path), 4096)?).into_owned())
    }
}

impl Rtc for Device {
    fn read(&self) -> io::Result<RtcTime> {
        // SAFETY: the opcode is that of `RTC_RD_TIME`, for which the kernel fills in a `struct rtc_time`; `RtcTime` has
        // its layout, and any value is a valid one. What is no clock does not know the opcode (ENOTTY).
        Ok(unsafe { ioctl(&self.0, Getter::<RTC_RD_TIME, RtcTime>::new()) }?)
    }

    fn set(&self, time: RtcTime) -> io::Result<()> {
        // SAFETY: the opcode is that of `RTC_SET_TIME`, for which the kernel reads a `struct rtc_time`.
        Ok(unsafe { ioctl(&self.0, Setter::<RTC_SET_TIME, RtcTime>::new(time)) }?)
    }

    fn phase_when_set(&self) -> Duration {
        let is_cmos = self.driver_name().is_ok_and(|name| name.starts_with("rtc_cmos"));
        if is_cmos { Duration::from_millis(500) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_kernel() {
        // linux/rtc.h: _IOR('p', 0x09, struct rtc_time) and _IOW('p', 0x0a, struct rtc_time).
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        assert_eq!((RTC_RD_TIME, RTC_SET_TIME), (0x8024_7009, 0x4024_700a));
        assert_eq!(size_of::<RtcTime>(), 36);
    }

    #[test]
    fn a_clock_face_is_a_moment() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (3_155_759_999, "2069-12-31 23:59:59"),
        ] {
            let face = RtcTime::from_seconds(seconds).unwrap();
            assert_eq!((face.to_string().as_str(), face.seconds()), (text, Some(seconds)));
        }
        assert_eq!(RtcTime::from_seconds(i64::MAX), None);
    }

    #[test]
    fn what_is_no_date_is_no_moment() {
        let good = RtcTime::from_seconds(1_700_000_000).unwrap();
        for bad in [
            RtcTime { second: -1, ..good },
            RtcTime { minute: 60, ..good },
            RtcTime { hour: 24, ..good },
            RtcTime { day_of_month: 31, month: 1, ..good },
            RtcTime { day_of_month: 0, ..good },
            RtcTime { month: 12, ..good },
            RtcTime { month: i32::MAX, ..good },
            RtcTime { year: i32::MAX, ..good },
            RtcTime { hour: 256, ..good },
        ] {
            assert_eq!(bad.seconds(), None, "{bad}");
        }
    }
}
