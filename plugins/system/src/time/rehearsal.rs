//! The clocks' stand-in, so that no test can turn the clocks of the machine it runs on.
//!
//! With `rehearsal = "/some/directory"` in `[plugins.system]` every file that the set reads is looked for below that
//! directory, and the clocks are not turned but the calls written down, a line each, in its file `system-calls`. The
//! guest has a hardware clock there if `dev/rtc` is a file, which holds what the clock shows in seconds since 1970; it
//! goes on by a second with every second look at it. Under the sdk's test kit, without a directory, no clock can be set.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use guestd_sdk::Daemon;
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::clock::{Clock, Rtc};
use super::rtc::RtcTime;

/// The version of the daemon that the sdk's test kit plays, which no real one has.
const TEST_KIT_VERSION: &str = "0.0.0";

/// Where the calls are written down, below the rehearsal's directory.
const RECORD: &str = "system-calls";

/// Whether this daemon is a test, or does not say what it is.
pub(crate) fn is_test(daemon: &Daemon) -> bool {
    let version = daemon.facts().version;
    version.is_empty() || version == TEST_KIT_VERSION
}

/// Clocks that nobody can turn.
pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timespec {
        clock_gettime(ClockId::Realtime)
    }

    fn set(&self, _: Timespec) -> io::Result<()> {
        Err(Errno::PERM.into())
    }

    fn open_rtc(&self) -> io::Result<Box<dyn Rtc>> {
        Err(Errno::NOENT.into())
    }

    fn sleep(&self, _: Duration) {}
}

/// Writes down what it is asked for.
pub(crate) struct Recorder {
    root: PathBuf,
    looks: Arc<AtomicI64>,
}

impl Recorder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, looks: Arc::default() }
    }
}

impl Clock for Recorder {
    fn now(&self) -> Timespec {
        clock_gettime(ClockId::Realtime)
    }

    fn set(&self, time: Timespec) -> io::Result<()> {
        write_down(&self.root, &format!("clock_settime {}.{:09}", time.tv_sec, time.tv_nsec))
    }

    fn open_rtc(&self) -> io::Result<Box<dyn Rtc>> {
        let shown = fs::read_to_string(self.root.join("dev/rtc"))?;
        let shown = shown.trim().parse().map_err(|_| Errno::INVAL)?;
        Ok(Box::new(RecorderRtc { root: self.root.clone(), shown, looks: Arc::clone(&self.looks) }))
    }

    fn sleep(&self, _: Duration) {}
}

struct RecorderRtc {
    root: PathBuf,
    shown: i64,
    looks: Arc<AtomicI64>,
}

impl Rtc for RecorderRtc {
    fn read(&self) -> io::Result<RtcTime> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        Ok(RtcTime::from_seconds(self.shown.saturating_add(looks / 2)).ok_or(Errno::INVAL)?)
    }

    fn set(&self, time: RtcTime) -> io::Result<()> {
        write_down(&self.root, &format!("RTC_SET_TIME {time}"))
    }

    fn phase_when_set(&self) -> Duration {
        Duration::ZERO
    }
}

fn write_down(root: &Path, call: &str) -> io::Result<()> {
    let mut record = OpenOptions::new().append(true).create(true).open(root.join(RECORD))?;
    writeln!(record, "{call}")
}
