//! Calls that hang have a share of the threads and no more, and a call that its client was told has failed does not happen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::time::Duration;

use guestd_daemon_tests::{Client, Daemon, fixture};
use serde_json::json;

const HANG: &str = "__com.example_hang-long";

fn troubled(config: &str) -> Daemon {
    Daemon::new().plugin(&fixture("trouble"), "trouble.so").config(config).start()
}

/// Clients each of which waits for a call that hangs.
fn hang(daemon: &Daemon, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.request(HANG, json!({}));
    }
    clients
}

/// How many threads of the daemon carry out commands.
fn workers(daemon: &Daemon) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    tasks
        .filter(|task| fs::read_to_string(task.as_ref().unwrap().path().join("comm")).unwrap_or_default() == "worker\n")
        .count()
}

/// A call of each set, and what must always be possible: a thaw.
fn all_answer(client: &mut Client) {
    for (command, arguments) in [
        ("guest-get-users", json!({})),
        ("guest-network-get-interfaces", json!({})),
        ("guest-get-disks", json!({})),
        ("guest-get-vcpus", json!({})),
        ("guest-exec", json!({"path": "true"})),
        ("guest-fsfreeze-thaw", json!({})),
    ] {
        client.call(command, arguments);
    }
    for (command, arguments, expected) in [
        ("guest-file-open", json!({"path": "/nonexistent"}), "No such file or directory"),
        ("guest-ssh-get-authorized-keys", json!({"username": "nobody-of-that-name"}), "failed to lookup user"),
        ("guest-shutdown", json!({"mode": "nonsense"}), "mode is invalid"),
    ] {
        let error = client.error(command, arguments);
        assert!(error.contains(expected), "{command}: {error}");
    }
}

#[test]
fn a_set_that_hangs_leaves_threads_to_all_others() {
    let daemon = troubled(
        "[commands]\ndeadline = { \"__com.example_fine\" = 1 }\n[plugins.fsfreeze]\ninclude = [\"/nonexistent\"]",
    );
    let mut client = daemon.client();
    client.call("__com.example_fine", json!({}));
    let mut stuck = hang(&daemon, 100);
    // Its quota is 16, and all of it is taken.
    daemon.wait_for("as many calls as the set may have", || workers(&daemon) >= 16);
    let error = client.error("__com.example_fine", json!({}));
    let expected = "Command __com.example_fine could not be begun within 1 s, and will not be: 16 calls of its command set are under way";
    assert_eq!(error, expected);
    all_answer(&mut client);
    assert_eq!(client.call("__com.example_fine-own", json!({})), "fine", "threads are kept for it");
    assert!(workers(&daemon) < 30, "{} workers", workers(&daemon));
    // What was withdrawn has not made the set busy: what waited longer is carried out when there is room.
    daemon.client().call("__com.example_release", json!({}));
    for client in &mut stuck {
        assert_eq!(client.reply(), json!({"return": "released"}));
    }
    assert_eq!(client.call("__com.example_fine", json!({})), "fine");
}

#[test]
fn one_connection_whose_calls_are_overtaken_leaves_threads_to_itself_and_others() {
    let daemon = troubled("[plugins.fsfreeze]\ninclude = [\"/nonexistent\"]");
    let mut client = daemon.client();
    for id in 0..20 {
        client.request(HANG, json!({}));
        // The sync overtakes what hangs.
        assert_eq!(client.ask("guest-sync", json!({"id": id})), json!({"return": id}));
    }
    all_answer(&mut client);
    all_answer(&mut daemon.client());
    assert!(workers(&daemon) < 30, "{} workers", workers(&daemon));
}

#[test]
fn a_call_that_was_withdrawn_never_happens() {
    let daemon = troubled("[commands]\ndeadline = { \"__com.example_count\" = 1 }");
    let mut client = daemon.client();
    client.call("__com.example_fine", json!({}));
    let mut stuck = hang(&daemon, 16);
    daemon.wait_for("as many calls as the set may have", || workers(&daemon) >= 16);
    assert!(client.error("__com.example_count", json!({})).contains("could not be begun within 1 s"));
    client.call("__com.example_release", json!({}));
    for client in &mut stuck {
        client.reply();
    }
    assert_eq!(client.call("__com.example_counted", json!({})), 0);
    assert_eq!(client.call("__com.example_count", json!({})), 1);
}

#[test]
fn a_call_whose_time_has_gone_into_its_sets_start_never_happens() {
    let daemon =
        troubled("[plugins.trouble]\nstart = \"DIR/go\"\n[commands]\ndeadline = { \"__com.example_count\" = 1 }");
    let mut client = daemon.client();
    let error = client.error("__com.example_count", json!({}));
    assert!(error.contains("__com.example_count has not finished within 1 s"), "{error}");
    let busy = daemon.client().error("__com.example_fine", json!({}));
    assert!(busy.contains("is busy: __com.example_count has been running"), "{busy}");
    fs::write(daemon.path("go"), "").unwrap();
    daemon.wait_for_log("its reply is dropped");
    assert_eq!(client.call("__com.example_counted", json!({})), 0);
    assert_eq!(client.call("__com.example_count", json!({})), 1);
}

#[test]
fn a_call_is_told_what_is_left_of_its_time() {
    let daemon = troubled("[plugins.trouble]\nstart = \"DIR/go\"");
    let mut client = daemon.client();
    client.request("__com.example_deadline", json!({}));
    std::thread::sleep(Duration::from_secs(1));
    fs::write(daemon.path("go"), "").unwrap();
    let left = client.reply()["return"].as_u64().unwrap();
    assert!((1..=599_000).contains(&left), "{left} ms of 600 s are left after a second");
}
