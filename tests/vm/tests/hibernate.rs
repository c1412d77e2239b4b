//! Hibernating: into zram never, and out of real swap the guest's memory comes back.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use guestd_vm::{Agent, AgentError, Fs, Vm, VmBuilder, boot_or_skip};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(90);
const UNSUPPORTED: &str = "the requested suspend mode is not supported by the guest";

#[test]
fn memory_is_found_again_or_not_given_up() {
    let builder = VmBuilder::new()
        // One processor: the kernel takes the others offline before it hibernates.
        .cpus(1)
        .agent(Agent::Guestd)
        .disk(Fs::Blank)
        .module("lzo_rle")
        .module("zram")
        .file("/lib/guest/resume", "vda\n")
        .qemu_args(["-global", "ICH9-LPC.disable_s4=0"])
        .limit(Duration::from_secs(400));
    let Some(mut vm) = boot_or_skip(builder) else { return };
    let states = vm.run("cat /sys/power/state").unwrap();
    if !states.split_whitespace().any(|state| state == "disk") {
        guestd_vm::skip(&format!("hibernation: this kernel offers only {states:?}"));
        return;
    }
    // What only memory holds: a file, and a program in the midst of its work.
    vm.run("cat /proc/sys/kernel/random/uuid >/tmp/only-in-memory").unwrap();
    let count = "n=0; while :; do n=$((n + 1)); echo $n >/run/guest/count; usleep 50000; done";
    vm.run(&format!("(sh -c '{count}' </dev/null >/dev/null 2>&1 & echo $! >/run/guest/counter)")).unwrap();
    let before = memory(&mut vm);

    // Memory that is swap of itself.
    vm.run("echo 256M >/sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0").unwrap();
    is_refused(&mut vm, "/sys/power/resume", "there is no swap on the device of /sys/power/resume");
    // The kernel would take it where no device is named; 0:0 cannot be written to this file, a device without swap can.
    vm.run("cat /sys/block/zram0/dev >/sys/power/resume").unwrap();
    is_refused(&mut vm, "zram", "/dev/zram0 is kept in memory");
    assert_eq!(memory(&mut vm), before);

    // Real swap behind it.
    vm.run("mkswap /dev/vda && swapon /dev/vda && cat /sys/block/vda/dev >/sys/power/resume").unwrap();
    hibernate(&mut vm, "guest-suspend-disk");
    comes_back(&mut vm, &before);
    hybrid(&mut vm, &before);
}

/// The boot, the file, and the program: as long as they are the same it is the same memory.
fn memory(vm: &mut Vm) -> String {
    let pid = "$(cat /run/guest/counter)";
    vm.run(&format!("cat /proc/sys/kernel/random/boot_id /tmp/only-in-memory && echo {pid} && kill -0 {pid}")).unwrap()
}

/// Waits until the program counts on.
fn counts_on(vm: &mut Vm) {
    let count = vm.run("cat /run/guest/count").unwrap();
    vm.run(&format!("until [ \"$(cat /run/guest/count)\" -gt {count} ]; do usleep 20000; done")).unwrap();
}

/// Both commands that need swap are refused, with the reason in the log, and the guest goes on.
fn is_refused(vm: &mut Vm, what: &str, why: &str) {
    let mut agent = vm.agent().unwrap();
    for command in ["guest-suspend-disk", "guest-suspend-hybrid"] {
        let error = agent.call(command, json!({})).unwrap_err();
        assert_eq!(error.refused().expect("an error reply"), ("GenericError", UNSUPPORTED), "{what}: {command}");
    }
    agent.call("guest-ping", json!({})).unwrap();
    drop(agent);
    let log = vm.run("cat /run/guest/agent.log").unwrap();
    assert!(log.contains(why), "{what}: {log}");
    let events = vm.qmp().unwrap().events_within(Duration::from_secs(1)).unwrap();
    let down = |name: &str| name == "SHUTDOWN" || name.starts_with("SUSPEND");
    assert!(!events.iter().any(|event| down(&event.name)), "{what}: {events:?}");
    counts_on(vm);
}

/// Sends the command, sees nothing come back, and the machine end.
fn hibernate(vm: &mut Vm, command: &str) {
    let mut agent = vm.agent().unwrap();
    agent.send(format!("{{\"execute\": \"{command}\"}}\n").as_bytes()).unwrap();
    vm.qmp().unwrap().wait_event("SUSPEND_DISK", LIMIT).unwrap();
    let event = vm.qmp().unwrap().wait_event("SHUTDOWN", LIMIT).unwrap();
    assert_eq!(event.data["guest"], true, "{event:?}");
    match agent.line() {
        Err(AgentError::Closed | AgentError::Io(_)) => {}
        other => panic!("an answer to {command}: {other:?}"),
    }
    assert!(vm.wait_exit(LIMIT).unwrap().success());
}

/// Switches the machine on; it goes on where it was.
fn comes_back(vm: &mut Vm, before: &str) {
    vm.power_on().unwrap();
    assert_eq!(memory(vm), before, "the guest has booted afresh");
    counts_on(vm);
    let mut agent = vm.agent().unwrap();
    agent.call("guest-ping", json!({})).unwrap();
    let log = vm.run("cat /run/guest/agent.log").unwrap();
    assert!(log.contains("sysfs has accepted it"), "{log}");
}

/// Memory that stays powered, with a copy of it in swap for the case that it does not.
fn hybrid(vm: &mut Vm, before: &str) {
    let mut agent = vm.agent().unwrap();
    agent.send(b"{\"execute\": \"guest-suspend-hybrid\"}\n").unwrap();
    vm.qmp().unwrap().wait_event("SUSPEND", LIMIT).unwrap();
    drop(agent);
    // A power cut.
    vm.qmp().unwrap().execute("quit", json!({})).unwrap();
    vm.wait_exit(LIMIT).unwrap();
    comes_back(vm, before);
}
