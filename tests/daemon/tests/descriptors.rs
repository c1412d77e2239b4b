//! A moment without descriptors passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use guestd_daemon_tests::{Client, Daemon, stage};
use serde_json::json;

#[test]
fn sets_that_could_not_be_opened_without_descriptors_are_opened_when_there_are_some() {
    let daemon = Daemon::new();
    let wrapper = daemon.path("limited");
    let program = stage().join("sbin/guestd");
    // Both limits: there are no more than these to be had.
    fs::write(&wrapper, format!("#!/bin/sh\nulimit -n 48\nexec {} \"$@\"\n", program.display())).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = daemon.program(&wrapper).start();
    let mut client = daemon.client();
    client.call("guest-ping", json!({}));
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = open();
    let taken: Vec<Client> = (0..48).map(|_| daemon.client()).collect();
    daemon.wait_for_log("a client cannot be accepted: Too many open files");
    let calls = [
        ("guest-get-users", json!({})),
        ("guest-get-disks", json!({})),
        ("guest-network-get-interfaces", json!({})),
        ("guest-fsfreeze-status", json!({})),
    ];
    let shutdown = ("guest-shutdown", json!({"mode": "nonsense"}));
    for (command, arguments) in calls.iter().chain([&shutdown]) {
        for _ in 0..2 {
            let error = client.error(command, arguments.clone());
            assert!(error.contains("Too many open files"), "{command}: {error}");
        }
    }
    drop(taken);
    daemon.wait_for("descriptors", || open() <= before);
    for (command, arguments) in &calls {
        client.call(command, arguments.clone());
    }
    assert!(client.error(shutdown.0, shutdown.1.clone()).contains("mode is invalid"));
}
