//! The clocks are turned in the right order, at the right moment and to the right time: on a fake.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use guestd_sdk::CommandError;
use rustix::io::Errno;
use rustix::time::Timespec;
use tempfile::TempDir;

use super::clock::{Clock, Rtc};
use super::rtc::RtcTime;
use super::set::{to_given_time, to_hardware_clock};
use crate::guest::Guest;
use crate::timezone::Zone;

const SECOND: i64 = 1_000_000_000;
/// 2023-11-14 22:13:20 UTC.
const SOME_TIME: i64 = 1_700_000_000;

/// Two clocks that go on while somebody sleeps, and no faster.
#[derive(Clone)]
struct Fake(Arc<Mutex<Clocks>>);

struct Clocks {
    /// Both in nanoseconds since 1970.
    system: i64,
    rtc: i64,
    /// The RTC stands still.
    stuck: bool,
    phase: Duration,
    set_fails: Option<Errno>,
    open_fails: Option<Errno>,
    rtc_set_fails: Option<Errno>,
    rtc_read_fails: Option<Errno>,
    calls: Vec<String>,
}

impl Fake {
    fn new(change: impl FnOnce(&mut Clocks)) -> Self {
        let mut clocks = Clocks {
            system: 5 * SECOND,
            rtc: SOME_TIME * SECOND + 300_000_000,
            stuck: false,
            phase: Duration::ZERO,
            set_fails: None,
            open_fails: None,
            rtc_set_fails: None,
            rtc_read_fails: None,
            calls: Vec::new(),
        };
        change(&mut clocks);
        Self(Arc::new(Mutex::new(clocks)))
    }

    fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }
}

fn fails(error: Option<Errno>) -> io::Result<()> {
    error.map_or(Ok(()), |error| Err(error.into()))
}

impl Clock for Fake {
    fn now(&self) -> Timespec {
        let system = self.0.lock().unwrap().system;
        Timespec { tv_sec: system / SECOND, tv_nsec: system % SECOND }
    }

    fn set(&self, time: Timespec) -> io::Result<()> {
        let mut clocks = self.0.lock().unwrap();
        fails(clocks.set_fails)?;
        clocks.system = time.tv_sec * SECOND + time.tv_nsec;
        clocks.calls.push(format!("clock {}.{:09}", time.tv_sec, time.tv_nsec));
        Ok(())
    }

    fn open_rtc(&self) -> io::Result<Box<dyn Rtc>> {
        fails(self.0.lock().unwrap().open_fails)?;
        Ok(Box::new(self.clone()))
    }

    fn sleep(&self, time: Duration) {
        let mut clocks = self.0.lock().unwrap();
        let time = i64::try_from(time.as_nanos()).unwrap();
        clocks.system += time;
        clocks.rtc += if clocks.stuck { 0 } else { time };
    }
}

impl Rtc for Fake {
    fn read(&self) -> io::Result<RtcTime> {
        let clocks = self.0.lock().unwrap();
        fails(clocks.rtc_read_fails)?;
        Ok(RtcTime::from_seconds(clocks.rtc / SECOND).unwrap())
    }

    fn set(&self, time: RtcTime) -> io::Result<()> {
        let mut clocks = self.0.lock().unwrap();
        fails(clocks.rtc_set_fails)?;
        let at = format!("rtc {time} at .{:09}", clocks.system % SECOND);
        clocks.calls.push(at);
        Ok(())
    }

    fn phase_when_set(&self) -> Duration {
        self.0.lock().unwrap().phase
    }
}

/// A guest whose hardware clock is in local time, two hours east of Greenwich.
fn local_time_guest() -> (TempDir, Guest, Zone) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("etc")).unwrap();
    fs::write(directory.path().join("etc/adjtime"), "0.0 0 0.0\n0\nLOCAL\n").unwrap();
    fs::write(directory.path().join("etc/localtime"), fixed_zone(7200)).unwrap();
    let guest = Guest::rehearsal(directory.path().to_owned());
    let zone = Zone::of(&guest);
    (directory, guest, zone)
}

/// A file of tzfile(5), version 1, with one local time type.
fn fixed_zone(offset: i32) -> Vec<u8> {
    let counts: [u32; 6] = [0, 0, 0, 0, 1, 4];
    let mut file = [b"TZif\0".as_slice(), &[0; 15]].concat();
    file.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    file.extend(offset.to_be_bytes());
    file.extend([0, 0]);
    file.extend(b"ABC\0");
    file
}

fn nowhere() -> (Guest, Zone) {
    let guest = Guest::rehearsal("/nonexistent".into());
    let zone = Zone::of(&guest);
    (guest, zone)
}

/// Sets the system time to that of the hardware clock of a guest without files.
fn follow(clock: &Fake) -> Result<String, String> {
    let (guest, zone) = nowhere();
    logged(|log| to_hardware_clock(&guest, &zone, clock, log))
}

/// Runs with a log and returns it.
fn logged(run: impl FnOnce(super::set::Log<'_>) -> Result<(), CommandError>) -> Result<String, String> {
    let log = RefCell::new(String::new());
    let result = run(&|line| log.borrow_mut().push_str(&format!("{line}\n")));
    result.map(|()| log.take()).map_err(|error| error.desc().to_owned())
}

fn set_to(clock: &Fake, nanoseconds: i64) -> Result<String, String> {
    let (guest, zone) = nowhere();
    logged(|log| to_given_time(&guest, &zone, clock, nanoseconds, log))
}

#[test]
fn both_clocks_are_set_and_the_hardware_clock_on_its_second() {
    let clock = Fake::new(|_| {});
    let log = set_to(&clock, SOME_TIME * SECOND + 250_000_001).unwrap();
    assert_eq!(clock.calls(), ["clock 1700000000.250000001", "rtc 2023-11-14 22:13:21 at .000000000"]);
    assert!(log.contains("from 5.000000000 to 1700000000.250000001 s"), "{log}");
    assert!(log.contains("hardware clock is set to 2023-11-14 22:13:21"), "{log}");

    let half = |clocks: &mut Clocks| clocks.phase = Duration::from_millis(500);
    let clock = Fake::new(half);
    set_to(&clock, SOME_TIME * SECOND + 250_000_000).unwrap();
    assert_eq!(clock.calls().last().unwrap(), "rtc 2023-11-14 22:13:20 at .500000000");
    let clock = Fake::new(half);
    set_to(&clock, SOME_TIME * SECOND + 750_000_000).unwrap();
    assert_eq!(clock.calls().last().unwrap(), "rtc 2023-11-14 22:13:21 at .500000000");
}

#[test]
fn only_the_years_1970_to_2069_are_taken() {
    for good in [0, 1, 3_155_760_000 * SECOND - 1] {
        assert!(set_to(&Fake::new(|_| {}), good).is_ok(), "{good}");
    }
    for bad in [-1, -SECOND, i64::MIN, 3_155_760_000 * SECOND, i64::MAX] {
        let clock = Fake::new(|_| {});
        assert_eq!(set_to(&clock, bad).unwrap_err(), "Invalid time", "{bad}");
        assert!(clock.calls().is_empty());
    }
}

#[test]
fn a_time_given_needs_no_hardware_clock() {
    for (clock, log) in [
        (Fake::new(|clocks| clocks.open_fails = Some(Errno::NOENT)), "there is no hardware clock"),
        (Fake::new(|clocks| clocks.rtc_set_fails = Some(Errno::INVAL)), "cannot be set"),
    ] {
        let found = set_to(&clock, SOME_TIME * SECOND).unwrap();
        assert!(found.contains(log), "{found}");
        assert_eq!(clock.calls(), ["clock 1700000000.000000000"]);
    }
}

#[test]
fn what_fails_is_said_and_nothing_is_done_after_it() {
    let clock = Fake::new(|clocks| clocks.set_fails = Some(Errno::PERM));
    assert_eq!(set_to(&clock, 0).unwrap_err(), "Failed to set time to guest: Operation not permitted");
    assert!(clock.calls().is_empty());

    for busy in [
        Fake::new(|clocks| clocks.open_fails = Some(Errno::BUSY)),
        Fake::new(|clocks| clocks.rtc_set_fails = Some(Errno::BUSY)),
    ] {
        let expected = "failed to set hardware clock to system time: Device or resource busy";
        assert_eq!(set_to(&busy, 0).unwrap_err(), expected);
        assert_eq!(busy.calls(), ["clock 0.000000000"]);
    }
}

#[test]
fn without_a_time_the_system_follows_the_hardware_clock_from_its_next_second_on() {
    let clock = Fake::new(|_| {});
    follow(&clock).unwrap();
    assert_eq!(clock.calls(), ["clock 1700000001.000000000"]);
    // 0.7 s were left of the second; the clock was looked at every 2 ms.
    let waited = clock.0.lock().unwrap().rtc - (SOME_TIME * SECOND + 300_000_000);
    assert_eq!(waited, 700_000_000);
}

#[test]
fn a_hardware_clock_that_tells_no_time_changes_nothing() {
    for (clock, expected) in [
        (Fake::new(|clocks| clocks.open_fails = Some(Errno::NOENT)), "clock: No such file or directory"),
        (Fake::new(|clocks| clocks.rtc_read_fails = Some(Errno::INVAL)), "clock: Invalid argument"),
        (Fake::new(|clocks| clocks.stuck = true), "it stands still at 2023-11-14 22:13:20"),
    ] {
        let error = follow(&clock).unwrap_err();
        assert!(error.starts_with("failed to read the hardware clock: ") && error.ends_with(expected), "{error}");
        assert!(clock.calls().is_empty());
    }
}

#[test]
fn a_hardware_clock_in_local_time_is_understood_both_ways() {
    let (_directory, guest, zone) = local_time_guest();
    let clock = Fake::new(|_| {});
    logged(|log| to_given_time(&guest, &zone, &clock, SOME_TIME * SECOND, log)).unwrap();
    assert_eq!(clock.calls().last().unwrap(), "rtc 2023-11-15 00:13:20 at .000000000");

    let clock = Fake::new(|_| {});
    logged(|log| to_hardware_clock(&guest, &zone, &clock, log)).unwrap();
    assert_eq!(clock.calls(), [format!("clock {}.000000000", SOME_TIME + 1 - 7200)]);
}
