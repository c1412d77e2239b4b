//! The daemon's life: its start, the background, signals, its end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use guestd_daemon_tests::{Client, Daemon, fixture, vendor_plugin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

const GREET: &str = "__com.example_greet";

#[test]
fn the_service_manager_is_told_of_readiness_reload_and_end() {
    let daemon = Daemon::new();
    let socket = UnixDatagram::bind(daemon.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || next_notice(&socket);
    // The harness removes the variable of whoever runs the tests, and puts this one in its place.
    let mut daemon = daemon.env("NOTIFY_SOCKET", "DIR/notify").start();
    assert_eq!(next(), "READY=1");
    daemon.signal(Signal::SIGHUP);
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(), "READY=1");
    daemon.signal(Signal::SIGINT);
    assert_eq!(next(), "STOPPING=1");
    assert!(daemon.wait().success());
}

/// A freeze whose hook needs its time to let go: until then the daemon stays, and has the service manager wait.
#[test]
fn an_end_that_takes_its_time_asks_the_service_manager_for_it() {
    let daemon = Daemon::new();
    let hook = daemon.path("hook");
    let body = "#!/bin/sh\ncd ${0%/*}; : > $1-began\n[ $1 = thaw ] || exec sleep 1000\nwhile [ -e $0 ] && [ ! -e thaw-ends ]; do sleep 0.1; done\n";
    fs::write(&hook, body).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let socket = UnixDatagram::bind(daemon.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let config = "[plugins.fsfreeze]\nhook = \"DIR/hook\"\nhook-timeout = 900\ninclude = [\"/nonexistent\"]";
    let mut daemon = daemon.config(config).env("NOTIFY_SOCKET", "DIR/notify").start();
    assert_eq!(next_notice(&socket), "READY=1");
    daemon.client().request("guest-fsfreeze-freeze", json!({}));
    daemon.wait_for("the hook's freeze half", || daemon.path("freeze-began").exists());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(next_notice(&socket), "STOPPING=1");
    daemon.wait_for("the hook's thaw half", || daemon.path("thaw-began").exists());
    for _ in 0..2 {
        assert_eq!(next_notice(&socket), "EXTEND_TIMEOUT_USEC=30000000");
    }
    fs::write(daemon.path("thaw-ends"), "").unwrap();
    assert!(daemon.wait().success());
    assert!(!daemon.path("state/qga.state.isfrozen").exists());
}

fn next_notice(socket: &UnixDatagram) -> String {
    let mut room = [0; 256];
    let count = socket.recv(&mut room).unwrap();
    String::from_utf8_lossy(&room[..count]).trim().to_owned()
}

#[test]
fn in_the_background_the_caller_learns_whether_the_daemon_came_up() {
    let daemon = Daemon::new().config("[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/s\"");
    let pid_file = daemon.path("pid").display().to_string();
    let output = daemon.command(&["-d", "-f", &pid_file]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    assert_eq!(fs::metadata(&pid_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}), "it listens before its caller is back");

    let second = daemon.command(&["-d", "-f", &pid_file]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another daemon runs"), "{second:?}");
    let nowhere = daemon.path("nowhere/pid").display().to_string();
    let third = daemon.command(&["-d", "-f", &nowhere]).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&third.stderr).contains("No such file or directory"), "{third:?}");

    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    daemon.wait_for("its end", || !daemon.path("s").exists());
    daemon.wait_for("the end of its pid file", || !daemon.path("pid").exists());
}

#[test]
fn a_reload_puts_another_configuration_in_force_and_keeps_what_is_open() {
    let daemon =
        Daemon::new().plugin(&vendor_plugin(), "greeter.so").config("[plugins.greeter]\ngreeting = \"One\"").start();
    let mut client = daemon.client();
    let file = daemon.path("file");
    fs::write(&file, "content").unwrap();
    let handle = client.call("guest-file-open", json!({"path": file}));
    assert_eq!(client.call(GREET, json!({"name": "Ann"})), json!({"lines": ["One, Ann"]}));
    fs::create_dir(daemon.path("guestd.d")).unwrap();
    fs::write(daemon.path("guestd.d/a.toml"), "[commands]\nblock = [\"guest-ping\"]\n[log]\nlevel = \"debug\"\n")
        .unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the configuration was read again");
    let reply = client.ask("guest-ping", json!({}));
    assert_eq!(reply["error"]["desc"], "Command guest-ping has been disabled: the command is not allowed");
    let ping = json!({"enabled": false, "name": "guest-ping", "success-response": true});
    let info = client.call("guest-info", json!({}));
    assert!(info["supported_commands"].as_array().unwrap().contains(&ping), "guest-info is not made anew");
    assert_eq!(client.call("guest-file-read", json!({"handle": handle}))["count"], 7);

    fs::write(daemon.path("guestd.d/a.toml"), "[comands]\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the configuration stays as it was: ");
    assert!(daemon.log().contains("did you mean \"commands\"?"));
    assert!(client.ask("guest-ping", json!({})).get("error").is_some(), "the one before is not in force any more");
}

#[test]
fn a_reload_opens_the_log_file_anew() {
    let daemon = Daemon::new().start();
    fs::rename(daemon.path("log"), daemon.path("log.1")).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the configuration was read again");
}

#[test]
fn a_plugin_that_hangs_does_not_hold_up_the_end() {
    let mut daemon = Daemon::new().plugin(&fixture("trouble"), "trouble.so").start();
    let mut client = daemon.client();
    client.request("__com.example_hang-long", json!({}));
    daemon.client().call("guest-ping", json!({}));
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
}

#[test]
fn handle_numbers_grow_over_restarts_and_a_kill() {
    let mut daemon = Daemon::new().start();
    let open = |daemon: &Daemon| {
        let handle = daemon.client().call("guest-file-open", json!({"path": "/dev/null"}));
        handle.as_i64().unwrap()
    };
    let mut last = open(&daemon);
    assert_eq!(last, 1000);
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL] {
        daemon.signal(signal);
        daemon.wait();
        daemon.spawn();
        let next = open(&daemon);
        assert!(next > last, "{next} after {last} and {signal}");
        last = next;
    }
}

#[test]
fn a_damaged_state_file_is_replaced_with_a_warning() {
    let daemon = Daemon::new();
    fs::write(daemon.path("state/qga.state"), b"\xFF nonsense").unwrap();
    let daemon = daemon.start();
    daemon.wait_for_log("qga.state is damaged and is replaced");
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));
}

#[test]
fn a_mark_of_a_freeze_starts_the_daemon_with_a_closed_gate_until_it_is_thawed() {
    let daemon = Daemon::new();
    // What qemu-ga leaves behind: the mark alone, with nothing frozen that a list of ours would name.
    fs::write(daemon.path("state/qga.state.isfrozen"), "").unwrap();
    let daemon = daemon.config("[plugins.fsfreeze]\ninclude = [\"/nonexistent\"]").start();
    let mut client = Client::connect(&daemon.path("s"));
    daemon.wait_for("an open gate", || {
        let reply = daemon.client().ask("guest-fsfreeze-thaw", json!({}));
        reply.get("error").is_none_or(|error| error["class"] != "CommandNotFound")
    });
    daemon.wait_for("the mark's end", || !daemon.path("state/qga.state.isfrozen").exists());
    assert!(client.call("guest-file-open", json!({"path": "/dev/null"})).is_number());
}
