//! `auto-online`: the kernel really announces the devices; those that are switched are files.
//!
//! A device is announced by writing to its `uevent` file (the kernel's `ABI/testing/sysfs-uevent`), which changes
//! nothing about it. Where udev runs that would set off its rules, so there nothing is tried.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{BLOCKS, CPUS, Guest};
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::json;

const CPU: &str = "/sys/devices/system/cpu/cpu0";
const BLOCK: &str = "/sys/devices/system/memory/memory0";

/// All tests here listen to the same announcements.
static KERNEL: Mutex<()> = Mutex::new(());

/// Whether devices can be announced here; says why not.
fn can_announce() -> bool {
    let why = if Path::new("/run/udev/control").exists() {
        "udev runs here, and would act on it"
    } else if [CPU, BLOCK].iter().any(|device| fs::write(format!("{device}/uevent"), "change").is_err()) {
        "the kernel's uevent files cannot be written here"
    } else {
        return true;
    };
    guestd_sdk::testkit::not_here(why);
    false
}

fn announce(action: &str, device: &str) {
    fs::write(format!("{device}/uevent"), action).unwrap();
}

/// Waits until `done`, which only a lost announcement keeps from coming.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < limit, "{what} did not come");
        sleep(Duration::from_millis(5));
    }
}

/// Waits for the next log line, and returns all that are there by then.
fn log(kit: &TestKit) -> Vec<String> {
    let lines = RefCell::new(Vec::new());
    wait_until("a log line", || {
        lines.borrow_mut().extend(kit.log().into_iter().map(|(_, text)| text));
        !lines.borrow().is_empty()
    });
    lines.into_inner()
}

#[test]
fn what_is_added_goes_online_and_what_was_there_stays_as_it_is() {
    let _alone = KERNEL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !can_announce() {
        return;
    }
    let guest = Guest::new();
    guest.dir(CPUS).block(0, "offline\n", "1\n");
    let kit = guest.kit_with(json!({"auto-online": ["cpu", "memory"]}));
    announce("add", BLOCK);
    guest.cpu(0, "0\n");
    announce("change", CPU);
    announce("online", CPU);
    announce("add", CPU);
    assert_eq!(log(&kit), ["processor 0 was added and is online"]);
    assert_eq!(guest.cpu_state(0), "1\n");
    assert_eq!(guest.block_state(0), "offline\n", "the block was there before");

    // Taken offline by somebody, and announced anew, as udev does at boot: it stays offline. Taken out and put back
    // in it is a new one.
    guest.cpu(0, "0\n");
    announce("add", CPU);
    announce("remove", BLOCK);
    announce("add", BLOCK);
    assert_eq!(log(&kit), ["memory block 0 was added and is online"]);
    assert!(guest.block_state(0).starts_with("online"));
    assert_eq!(guest.cpu_state(0), "0\n");
}

#[test]
fn only_what_is_named_goes_online_and_a_reload_changes_it() {
    let _alone = KERNEL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !can_announce() {
        return;
    }
    let guest = Guest::new();
    guest.dir(CPUS).dir(BLOCKS);
    let kit = guest.kit_with(json!({"auto-online": ["memory"]}));
    guest.cpu(0, "0\n").block(0, "offline\n", "1\n");
    announce("add", CPU);
    announce("add", BLOCK);
    assert_eq!(log(&kit), ["memory block 0 was added and is online"]);
    assert!(guest.block_state(0).starts_with("online"));
    assert_eq!(guest.cpu_state(0), "0\n");

    fs::remove_dir_all(guest.path(&format!("{CPUS}/cpu0"))).unwrap();
    kit.reload(guest.config(json!({"auto-online": ["cpu", "cpu"]}))).unwrap();
    guest.cpu(0, "0\n");
    announce("add", CPU);
    assert_eq!(log(&kit), ["processor 0 was added and is online"]);
    assert_eq!(guest.cpu_state(0), "1\n");
}

#[test]
fn a_device_that_cannot_be_switched_is_told_and_ends_nothing() {
    let _alone = KERNEL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !can_announce() {
        return;
    }
    let guest = Guest::new();
    guest.dir(CPUS).dir(BLOCKS);
    let kit = guest.kit_with(json!({"auto-online": ["memory", "cpu"]}));
    announce("add", CPU);
    let failed = "processor 0 was added and stays offline: \
        open(\"/sys/devices/system/cpu/cpu0/\"): No such file or directory";
    assert_eq!(log(&kit), [failed]);
    guest.block(0, "offline\n", "1\n");
    announce("add", BLOCK);
    assert_eq!(log(&kit), ["memory block 0 was added and is online"]);
}

#[test]
fn without_the_option_nothing_listens() {
    let guest = Guest::usual();
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        tasks
            .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "auto-online\n"))
            .count()
    };
    let _alone = KERNEL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    wait_until("the end of the other tests' threads", || threads() == 0);
    let kit = guest.kit();
    assert_eq!(threads(), 0);
    kit.reload(guest.config(json!({"auto-online": ["cpu"]}))).unwrap();
    wait_until("the thread", || threads() == 1);
    kit.stop();
    wait_until("its end", || threads() == 0);
}

#[test]
fn the_configuration_is_checked() {
    let guest = Guest::usual();
    for (config, text) in [
        (json!({"auto-online": ["gpu"]}), "configuration: unknown variant `gpu`, expected `cpu` or `memory`"),
        (json!({"auto-onlin": []}), "configuration: unknown field `auto-onlin`, expected `auto-online` or `rehearsal`"),
    ] {
        let settings = Settings { config: guest.config(config), ..Settings::default() };
        let refused = TestKit::start_with(guestd_hardware::plugin_module(), settings).err().unwrap();
        assert_eq!(refused.desc(), text);
    }
    let settings = Settings { config: Guest::new().config(json!({"auto-online": ["cpu"]})), ..Settings::default() };
    let refused = TestKit::start_with(guestd_hardware::plugin_module(), settings).err().unwrap();
    assert_eq!(refused.desc(), "auto-online cannot be started: No such file or directory");
}
