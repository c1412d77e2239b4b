//! The protocol as the configuration wants it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;

use guestd_daemon_tests::Daemon;
use serde_json::json;

/// A rehearsal writes down what would be asked of the kernel.
const REHEARSAL: &str = "[plugins.power]\nrehearsal = \"DIR/root\"\nshutdown-means = [\"reboot-syscall\"]";

fn rehearsing(more: &str) -> Daemon {
    let daemon = Daemon::new().config(REHEARSAL).config(more);
    fs::create_dir_all(daemon.path("root/proc/self/ns")).unwrap();
    // The guest's first PID namespace, by its fixed number (linux/proc_ns.h).
    symlink("pid:[4026531836]", daemon.path("root/proc/self/ns/pid")).unwrap();
    daemon.start()
}

#[test]
fn a_shutdown_is_not_answered_but_for_the_first_protocol() {
    let today = rehearsing("");
    let mut client = today.client();
    client.request("guest-shutdown", json!({}));
    assert_eq!(client.call("guest-ping", json!({})), json!({}), "the next answer is the ping's");
    assert!(fs::read_to_string(today.path("root/system-calls")).unwrap().contains("reboot"));
    let first = rehearsing("[protocol]\ncompat = \"0.15\"");
    assert_eq!(first.client().call("guest-shutdown", json!({"mode": "reboot"})), json!({}));
    assert!(fs::read_to_string(first.path("root/system-calls")).unwrap().contains("reboot"));
}

#[test]
fn the_version_that_is_reported_can_be_chosen() {
    let daemon = Daemon::new().config("[protocol]\nreported-version = \"10.2.2\"").start();
    assert_eq!(daemon.client().call("guest-info", json!({}))["version"], "10.2.2");
    let daemon = Daemon::new().start();
    assert_eq!(daemon.client().call("guest-info", json!({}))["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_request_leaves_a_line_in_the_log_of_debug() {
    let daemon = Daemon::new().config("[commands]\nblock = [\"guest-info\"]").start();
    let mut client = daemon.client();
    client.call("guest-ping", json!({}));
    client.error("guest-ping", json!({"x": 1}));
    client.error("guest-info", json!({}));
    client.error("guest-nope\nguest-ping: done", json!({}));
    client.error(&"x".repeat(100_000), json!({}));
    client.send("{\"execute\": 1}\n");
    client.reply();
    // In their order, so that the last one has come when all have.
    let log = daemon.wait_for_log("answered with an error: QMP input member 'execute' must be a string");
    for line in [
        "guest-ping: done by 'core'",
        "guest-ping: error from 'core'",
        "guest-info refused: ",
        "\"guest-nope\\nguest-ping: done\" is no command",
        &format!("\"{}...\" is no command", "x".repeat(128)),
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}
