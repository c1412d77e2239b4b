//! Setting the time, with a hardware clock and without; the monitor tells what the clock shows.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use guestd_vm::{Agent, Vm, VmBuilder, boot_or_skip, note};
use serde_json::json;

/// 2031-02-03 04:05:06 UTC, the hardware clock's time at the start.
const BASE: &str = "2031-02-03T04:05:06";
const AT_BASE: i64 = 1_927_857_906;
/// 2040-05-06 07:08:09.25 UTC.
const LATER: i64 = 2_219_900_889;
const LATER_NANOSECONDS: i64 = LATER * 1_000_000_000 + 250_000_000;
/// 2001-09-09 01:46:40 UTC, of which the hardware clock never hears.
const ASTRAY: i64 = 1_000_000_000;
const LIMIT: Duration = Duration::from_secs(20);

/// Times are read as whole seconds, and a hardware clock is set to one.
const CUT: f64 = 2.0;

#[test]
fn the_time_with_and_without_a_hardware_clock() {
    let Some(mut vm) = boot_or_skip(VmBuilder::new().qemu_args(["-rtc", &format!("base={BASE}")])) else {
        return;
    };
    let up = uptime(&mut vm);
    let boot = AT_BASE as f64;
    let start = vm.agent().unwrap().call("guest-get-time", json!({})).unwrap().as_i64().unwrap();
    assert!((boot..boot + up + 60.0).contains(&(start as f64 / 1e9)), "{start}");

    a_given_time_is_that_of_both_clocks(&mut vm);
    the_hardware_clock_sets_the_system_time(&mut vm);
    nonsense_changes_nothing(&mut vm);
    a_hardware_clock_in_local_time(&mut vm);
    without_a_hardware_clock(&mut vm);
}

/// A clock that was set, as its time at the guest's boot: it is that for as long as nobody sets it.
#[derive(Debug, Clone, Copy)]
struct Range {
    earliest: f64,
    latest: f64,
}

impl Range {
    /// Of a clock that showed `time` at some moment in `act`.
    fn around<T>(vm: &mut Vm, time: f64, act: impl FnOnce(&mut Vm) -> T) -> (Self, T) {
        let before = uptime(vm);
        let result = act(vm);
        let after = uptime(vm);
        (Self { earliest: time - after - CUT, latest: time - before + CUT }, result)
    }

    fn assert_holds(self, what: &str, clock: Self) {
        assert!(
            self.earliest <= clock.latest && clock.earliest <= self.latest,
            "{what} is {clock:?} and should be {self:?}, in seconds since 1970 at the boot"
        );
    }

    fn shifted(self, seconds: f64) -> Self {
        Self { earliest: self.earliest + seconds, latest: self.latest + seconds }
    }
}

fn uptime(vm: &mut Vm) -> f64 {
    let text = vm.run("cat /proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A clock that is read.
fn range_of(vm: &mut Vm, read: impl FnOnce(&mut Vm) -> i64) -> Range {
    let (range, time) = Range::around(vm, 0.0, read);
    range.shifted(time as f64)
}

/// The guest's system time, by its own shell.
fn system(vm: &mut Vm) -> Range {
    range_of(vm, |vm| vm.run("date +%s").unwrap().parse().unwrap())
}

/// The hardware clock as the guest reads it.
fn rtc_inside(vm: &mut Vm) -> Range {
    range_of(vm, |vm| vm.run("cat /sys/class/rtc/rtc0/since_epoch").unwrap().parse().unwrap())
}

/// The hardware clock as QEMU has it.
fn rtc_outside(vm: &mut Vm) -> Range {
    range_of(vm, |vm| {
        let place = json!({"path": "/machine", "property": "rtc-time"});
        let tm = vm.qmp().unwrap().execute("qom-get", place).unwrap();
        let part = |name: &str| tm[name].as_i64().unwrap();
        let (year, month, day) = (part("tm_year") + 1900, part("tm_mon") + 1, part("tm_mday"));
        let (hour, minute, second) = (part("tm_hour"), part("tm_min"), part("tm_sec"));
        let date = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
        vm.run(&format!("TZ=UTC date -d '{date}' +%s")).unwrap().parse().unwrap()
    })
}

fn assert_rtc(vm: &mut Vm, expected: Range) {
    expected.assert_holds("the hardware clock for the guest", rtc_inside(vm));
    expected.assert_holds("the hardware clock for the monitor", rtc_outside(vm));
}

/// Sets the time by the agent.
fn set(vm: &mut Vm, nanoseconds: i64) -> Range {
    let (range, ()) = Range::around(vm, nanoseconds as f64 / 1e9, |vm| {
        let answer = vm.agent().unwrap().call("guest-set-time", json!({"time": nanoseconds})).unwrap();
        assert_eq!(answer, json!({}));
    });
    range
}

/// Sets the system time by the guest's shell.
fn lead_astray(vm: &mut Vm) -> Range {
    let (range, _) = Range::around(vm, ASTRAY as f64, |vm| vm.run(&format!("date -s @{ASTRAY}")).unwrap());
    range.assert_holds("the system time", system(vm));
    range
}

fn a_given_time_is_that_of_both_clocks(vm: &mut Vm) {
    let later = set(vm, LATER_NANOSECONDS);
    later.assert_holds("the system time", system(vm));
    assert_rtc(vm, later);
    vm.qmp().unwrap().wait_event("RTC_CHANGE", LIMIT).unwrap();
    let (range, time) = Range::around(vm, 0.0, |vm| vm.agent().unwrap().call("guest-get-time", json!({})).unwrap());
    later.assert_holds("guest-get-time", range.shifted(time.as_i64().unwrap() as f64 / 1e9));
}

fn the_hardware_clock_sets_the_system_time(vm: &mut Vm) {
    let later = rtc_outside(vm);
    lead_astray(vm);
    assert_eq!(vm.agent().unwrap().call("guest-set-time", json!({})).unwrap(), json!({}));
    later.assert_holds("the system time", system(vm));
    assert_rtc(vm, later);
}

fn nonsense_changes_nothing(vm: &mut Vm) {
    let before = system(vm);
    for time in [-1, i64::MIN, 3_155_760_000 * 1_000_000_000, i64::MAX] {
        let error = vm.agent().unwrap().call("guest-set-time", json!({"time": time})).unwrap_err();
        let (_, words) = error.refused().unwrap();
        // qemu-ga has the kernel refuse -1.
        assert!(words == "Invalid time" || vm.which_agent() == Some(Agent::QemuGa), "{words}");
    }
    before.assert_holds("the system time", system(vm));
    assert_rtc(vm, before);
}

/// The guest is three hours east of Greenwich, and so is its hardware clock (adjtime_config(5)).
fn a_hardware_clock_in_local_time(vm: &mut Vm) {
    const EAST: f64 = 3.0 * 3600.0;
    if vm.which_agent() == Some(Agent::QemuGa) {
        note("time: qemu-ga keeps to the time zone of its start");
        return;
    }
    // tzfile(5), version 1: a header with no time but one type and four letters, the type, the letters.
    let zone = "TZif\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\
                \\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\001\\0\\0\\0\\004\
                \\0\\0\\052\\060\\0\\0+03\\0";
    vm.run(&format!("printf '{zone}' >/etc/localtime && printf '0.0 0 0.0\\n0\\nLOCAL\\n' >/etc/adjtime")).unwrap();
    let time = vm.agent().unwrap().call("guest-get-timezone", json!({})).unwrap();
    assert_eq!(time, json!({"zone": "+03", "offset": EAST as i64}));

    let base = set(vm, AT_BASE * 1_000_000_000);
    base.assert_holds("the system time", system(vm));
    assert_rtc(vm, base.shifted(EAST));
    lead_astray(vm);
    assert_eq!(vm.agent().unwrap().call("guest-set-time", json!({})).unwrap(), json!({}));
    base.assert_holds("the system time", system(vm));
    vm.run("rm /etc/localtime /etc/adjtime").unwrap();
}

/// The clock's driver is taken off it. Then there is no device, and later a node that nothing stands behind.
fn without_a_hardware_clock(vm: &mut Vm) {
    let untouched = rtc_outside(vm);
    let number = vm.run("tr : ' ' </sys/class/rtc/rtc0/dev").unwrap();
    vm.run("cd $(readlink -f /sys/class/rtc/rtc0/device) && echo ${PWD##*/} >driver/unbind").unwrap();
    until(vm, "the hardware clock is gone", |vm| vm.sh("ls /dev/rtc*").unwrap().status != 0);
    set_without_a_hardware_clock(vm);
    vm.run(&format!("mknod /dev/rtc c {number}")).unwrap();
    set_without_a_hardware_clock(vm);
    untouched.assert_holds("the hardware clock for the monitor", rtc_outside(vm));
}

fn set_without_a_hardware_clock(vm: &mut Vm) {
    let astray = lead_astray(vm);
    let error = vm.agent().unwrap().call("guest-set-time", json!({})).unwrap_err();
    let (class, words) = error.refused().unwrap();
    assert_eq!(class, "GenericError");
    astray.assert_holds("the system time", system(vm));
    if vm.which_agent() == Some(Agent::QemuGa) {
        note(&format!("time: qemu-ga without a hardware clock: {words}"));
        return;
    }
    assert_eq!(words, "failed to read the hardware clock: No such file or directory");
    let later = set(vm, LATER_NANOSECONDS);
    later.assert_holds("the system time", system(vm));
    until(vm, "the log says so", |vm| {
        vm.sh("grep -q 'there is no hardware clock to set' /run/guest/agent.log").unwrap().status == 0
    });
}

fn until(vm: &mut Vm, what: &str, mut wanted: impl FnMut(&mut Vm) -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !wanted(vm) {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
