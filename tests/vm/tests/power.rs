//! Suspending, rebooting, halting and powering off, seen by QEMU's monitor.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::ErrorKind;
use std::time::Duration;

use guestd_vm::{Agent, Client, Vm, VmBuilder, boot_or_skip, note};
use qapi::{ErrorClass, ExecuteError, qga};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn the_monitor_sees_every_power_command() {
    // One processor: the kernel takes the others offline before it suspends.
    let Some(mut vm) = boot_or_skip(VmBuilder::new().cpus(1)) else {
        return;
    };
    a_bad_mode_is_refused(&mut vm);
    suspend_to_disk_has_no_place(&mut vm);
    suspend_to_ram(&mut vm);
    reboot(&mut vm);
    halt(&mut vm);
    power_off(&mut vm);
}

/// Sends a shutdown through the `qapi` client, whose own type for it expects an answer: it is not waited for.
fn shutdown(client: &mut Client, mode: qga::GuestShutdownMode) {
    client.write_command(&qga::guest_shutdown { mode: Some(mode) }).unwrap();
}

/// Nothing may be read any more: the connection times out, or QEMU closes it.
fn expect_no_reply(client: &mut Client) {
    let stream = client.inner_mut().get_mut_write();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    match client.read_response::<qga::guest_shutdown>() {
        Err(ExecuteError::Io(error)) if SILENCE.contains(&error.kind()) => {}
        other => panic!("an answer to guest-shutdown: {other:?}"),
    }
}

/// How a read ends to which nothing came.
const SILENCE: [ErrorKind; 4] =
    [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];

fn a_bad_mode_is_refused(vm: &mut Vm) {
    let mut agent = vm.agent().unwrap();
    let error = agent.call("guest-shutdown", json!({"mode": "explode"})).unwrap_err();
    let (class, words) = error.refused().expect("an error reply");
    assert_eq!(class, "GenericError");
    assert!(words.contains("halt|powerdown|reboot"), "{words}");
    agent.call("guest-ping", json!({})).unwrap();
    let events = vm.qmp().unwrap().events_within(Duration::from_secs(1)).unwrap();
    let down = |name: &str| ["SHUTDOWN", "RESET", "SUSPEND"].contains(&name);
    assert!(!events.iter().any(|event| down(&event.name)), "{events:?}");
}

/// The guest has no swap: both must be errors, told, and the agent lives on.
fn suspend_to_disk_has_no_place(vm: &mut Vm) {
    let mut client = vm.client().unwrap();
    let pid = vm.agent_pid().unwrap();
    let refused = [
        client.execute(&qga::guest_suspend_disk {}).map(drop),
        client.execute(&qga::guest_suspend_hybrid {}).map(drop),
    ];
    for (result, name) in refused.into_iter().zip(["disk", "hybrid"]) {
        match result {
            Err(ExecuteError::Qapi(error)) => {
                assert_eq!(error.class, ErrorClass::GenericError, "suspend-{name}");
                assert!(!error.desc.is_empty());
                note(&format!("guest-suspend-{name}: {}", error.desc));
            }
            other => panic!("suspend-{name} without swap: {other:?}"),
        }
    }
    client.execute(&qga::guest_ping {}).unwrap();
    assert_eq!(vm.agent_pid().unwrap(), pid);
}

fn suspend_to_ram(vm: &mut Vm) {
    let states = vm.run("cat /sys/power/state").unwrap();
    if !states.split_whitespace().any(|state| state == "mem") {
        guestd_vm::not_here(&format!("suspend to RAM: this kernel offers only {states:?}"));
        return;
    }
    let boot = boot_id(vm);
    let mut client = vm.client().unwrap();
    client.write_command(&qga::guest_suspend_ram {}).unwrap();
    vm.qmp().unwrap().wait_event("SUSPEND", LIMIT).unwrap();
    let status = vm.qmp().unwrap().execute("query-status", json!({})).unwrap();
    assert_eq!(status["status"], "suspended");
    vm.qmp().unwrap().execute("system_wakeup", json!({})).unwrap();
    vm.qmp().unwrap().wait_event("WAKEUP", LIMIT).unwrap();

    // The same connection works on. An answer to the suspend, if one came, would be read here.
    let id = guestd_vm::fresh_id();
    assert_eq!(client.execute(&qga::guest_sync_delimited { id }).unwrap(), id);
    client.execute(&qga::guest_ping {}).unwrap();
    drop(client);
    vm.agent().unwrap();
    assert_eq!(boot_id(vm), boot, "the guest has booted instead of waking up");
}

fn boot_id(vm: &mut Vm) -> String {
    vm.run("cat /proc/sys/kernel/random/boot_id").unwrap()
}

/// By /sbin/shutdown, the first means that this guest has.
fn reboot(vm: &mut Vm) {
    let boot = boot_id(vm);
    let mark = vm.console().len();
    let mut client = vm.client().unwrap();
    shutdown(&mut client, qga::GuestShutdownMode::Reboot);
    let event = vm.qmp().unwrap().wait_event("RESET", LIMIT).unwrap();
    assert_eq!(event.data["guest"], true);
    assert_eq!(event.data["reason"], "guest-reset");
    vm.wait_console(mark, "guest: shutdown", Duration::from_secs(1)).unwrap();
    expect_no_reply(&mut client);
    drop(client);
    vm.wait_for_boot().unwrap();
    vm.agent().unwrap();
    assert_ne!(boot_id(vm), boot);
}

/// A halted guest stays: no event, but a console line, and a processor that waits with interrupts off.
fn halt(vm: &mut Vm) {
    let without_shutdown = vm.which_agent() == Some(Agent::Guestd);
    if without_shutdown {
        // guestd's next means is busybox, by way of its init.
        vm.run("rm /sbin/shutdown").unwrap();
    }
    let mark = vm.console().len();
    let mut client = vm.client().unwrap();
    shutdown(&mut client, qga::GuestShutdownMode::Halt);
    vm.wait_console(mark, "System halted", LIMIT).unwrap();
    let console = vm.console();
    let lately = &console[mark..];
    assert!(lately.contains("The system is going down"), "not by init: {lately}");
    assert_eq!(lately.contains("guest: shutdown"), !without_shutdown, "{lately}");
    expect_no_reply(&mut client);
    let events = vm.qmp().unwrap().events_within(Duration::from_secs(2)).unwrap();
    assert!(!events.iter().any(|event| event.name == "SHUTDOWN"), "{events:?}");
    let registers = vm.qmp().unwrap().human("info registers -a").unwrap();
    let halted = registers.lines().filter(|line| line.contains("HLT=1")).count();
    assert_eq!(halted, 1, "{registers}");
    drop(client);

    vm.qmp().unwrap().execute("system_reset", json!({})).unwrap();
    vm.wait_for_boot().unwrap();
}

/// With every program taken away, guestd calls the kernel itself.
fn power_off(vm: &mut Vm) {
    let without_programs = vm.which_agent() == Some(Agent::Guestd);
    if without_programs {
        let names = "shutdown poweroff halt reboot systemctl telinit";
        vm.run(&format!("for n in {names}; do rm -f /sbin/$n /bin/$n /usr/sbin/$n /usr/bin/$n; done; rm /bin/busybox"))
            .unwrap();
    }
    let mark = vm.console().len();
    let mut client = vm.client().unwrap();
    shutdown(&mut client, qga::GuestShutdownMode::Powerdown);
    let event = vm.qmp().unwrap().wait_event("SHUTDOWN", LIMIT).unwrap();
    assert_eq!(event.data["guest"], true);
    assert_eq!(event.data["reason"], "guest-shutdown");
    expect_no_reply(&mut client);
    let status = vm.wait_exit(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "QEMU: {status}");
    let console = vm.console();
    let by_init = console[mark..].contains("The system is going down");
    assert_eq!(by_init, !without_programs, "{}", &console[mark..]);
}
