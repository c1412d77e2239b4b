//! One bad command never makes the agent look dead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::time::{Duration, Instant};

use guestd_daemon_tests::{Client, Daemon, fixture};
use serde_json::json;

/// Long enough to tell "at once" from "never", on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Long enough to be sure that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

fn troubled() -> Daemon {
    Daemon::new().plugin(&fixture("trouble"), "trouble.so").start()
}

fn sync(client: &mut Client, id: i64) {
    client.request("guest-sync", json!({"id": id}));
}

#[test]
fn a_command_past_its_deadline_is_answered_and_only_its_set_is_busy() {
    let daemon = troubled();
    let mut client = daemon.client();
    let error = client.error("__com.example_hang", json!({}));
    let expected =
        "Command __com.example_hang has not finished within 1 s; the command set 'trouble' is busy until it does";
    assert_eq!(error, expected);
    let busy = client.error("__com.example_fine", json!({}));
    assert!(busy.starts_with("The command set 'trouble' is busy: __com.example_hang has been running for "), "{busy}");
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
    let file = client.error("guest-file-open", json!({"path": "/nonexistent"}));
    assert!(file.contains("No such file"), "{file}");
    assert_eq!(client.call("__com.example_release", json!({})), json!({}));
    daemon.wait_for_log("its reply is dropped");
    assert_eq!(client.call("__com.example_fine", json!({})), "fine");
}

#[test]
fn a_request_that_is_handed_back_is_made_again_on_a_worker_once() {
    let daemon = troubled();
    let mut client = daemon.client();
    // The first call starts the set, on a worker; the second is tried in place.
    for _ in 0..2 {
        assert_eq!(client.call("__com.example_hand-back", json!({"any": "thing"})), "on a worker");
    }
    for command in ["__com.example_hand-back-always", "__com.example_hand-back-instant"] {
        let error = client.error(command, json!({}));
        assert_eq!(error, format!("Command {command} has handed back its request where it may block"));
    }
    client.request("__com.example_hang", json!({}));
    assert!(client.reply_within(AT_ONCE * 2).is_some());
    let busy = client.error("__com.example_hand-back", json!({}));
    assert!(busy.starts_with("The command set 'trouble' is busy"), "{busy}");
}

#[test]
fn a_deadline_can_be_configured() {
    let daemon = Daemon::new()
        .plugin(&fixture("trouble"), "trouble.so")
        .config("[commands.deadline]\n\"__com.example_hang-long\" = 1")
        .start();
    let error = daemon.client().error("__com.example_hang-long", json!({}));
    assert!(error.contains("has not finished within 1 s"), "{error}");
}

#[test]
fn a_sync_overtakes_a_command_that_hangs_and_its_late_reply_is_dropped() {
    let daemon = troubled();
    let mut client = daemon.client();
    client.request("__com.example_hang-long", json!({}));
    assert_eq!(client.line_within(SILENCE), None);
    sync(&mut client, 1);
    assert_eq!(client.reply_within(AT_ONCE).expect("no answer to the sync"), json!({"return": 1}));
    // What comes behind the sync need not wait either.
    client.request("guest-ping", json!({}));
    assert_eq!(client.reply_within(AT_ONCE).expect("no answer to the ping"), json!({"return": {}}));
    client.call("__com.example_release", json!({}));
    assert_eq!(client.line_within(SILENCE), None, "the late reply came");
}

#[test]
fn a_delimited_sync_overtakes_with_its_mark() {
    let daemon = troubled();
    let mut client = daemon.client();
    client.request("__com.example_hang-long", json!({}));
    client.send(b"\xFF");
    client.request("guest-sync-delimited", json!({"id": 5}));
    assert_eq!(client.line_within(AT_ONCE).expect("no answer"), b"\xFF{\"return\": 5}");
    client.call("__com.example_release", json!({}));
}

#[test]
fn a_sync_sent_right_behind_a_command_that_takes_no_time_loses_no_reply() {
    let daemon = troubled();
    let mut client = daemon.client();
    client.call("__com.example_fine", json!({}));
    let fine = json!({"execute": "__com.example_fine"}).to_string();
    for round in 0..200 {
        let sync = json!({"execute": "guest-sync", "arguments": {"id": round}}).to_string();
        client.send(format!("{fine}{sync}"));
        assert_eq!(client.reply(), json!({"return": "fine"}));
        assert_eq!(client.reply(), json!({"return": round}));
    }
}

#[test]
fn what_waits_behind_a_command_is_answered_in_order() {
    let daemon = troubled();
    let mut client = daemon.client();
    client.send(json!({"execute": "__com.example_hang-long", "id": 0}).to_string());
    for id in 1..50 {
        let command = if id % 2 == 0 { "guest-ping" } else { "__com.example_fine" };
        client.send(json!({"execute": command, "id": id}).to_string());
    }
    assert_eq!(client.line_within(SILENCE), None, "something overtook the command");
    daemon.client().call("__com.example_release", json!({}));
    for id in 0..50 {
        assert_eq!(client.reply()["id"], id);
    }
}

/// Requests behind `hang-long`: two writes of a letter each to a new file, and a large read between them.
fn hang_write_read_write(daemon: &Daemon, client: &mut Client) -> std::path::PathBuf {
    let (large, written) = (daemon.path("large"), daemon.path("written"));
    fs::write(&large, vec![b'x'; 150_000]).unwrap();
    let read = client.call("guest-file-open", json!({"path": large}));
    let write = client.call("guest-file-open", json!({"path": written, "mode": "w"}));
    client.call("__com.example_fine", json!({}));
    let requests = [
        json!({"execute": "__com.example_hang-long"}),
        json!({"execute": "guest-file-write", "arguments": {"handle": write, "buf-b64": "YQ=="}}),
        json!({"execute": "guest-file-read", "arguments": {"handle": read, "count": 150_000}}),
        json!({"execute": "guest-file-write", "arguments": {"handle": write, "buf-b64": "Yg=="}}),
    ];
    client.send(requests.map(|request| request.to_string()).concat());
    written
}

#[test]
fn what_a_sync_overtook_is_carried_out() {
    let daemon = troubled();
    let mut client = daemon.client();
    let written = hang_write_read_write(&daemon, &mut client);
    sync(&mut client, 5);
    assert_eq!(client.reply(), json!({"return": 5}));
    assert_eq!(fs::read(&written).unwrap(), b"");
    daemon.client().call("__com.example_release", json!({}));
    daemon.wait_for("both writes", || fs::read(&written).unwrap() == b"ab");
}

#[test]
fn what_waits_when_a_client_leaves_is_carried_out() {
    let daemon = troubled();
    let mut client = daemon.client();
    let written = hang_write_read_write(&daemon, &mut client);
    drop(client);
    let mut other = daemon.client();
    other.call("__com.example_release", json!({}));
    daemon.wait_for("both writes", || fs::read(&written).unwrap() == b"ab");
}

#[test]
fn other_clients_do_not_wait() {
    let daemon = troubled();
    let (mut stuck, mut other) = (daemon.client(), daemon.client());
    stuck.request("__com.example_hang-long", json!({}));
    for _ in 0..10 {
        other.request("guest-ping", json!({}));
        assert!(other.reply_within(AT_ONCE).is_some());
        other.request("__com.example_fine", json!({}));
        assert!(other.reply_within(AT_ONCE).is_some());
    }
    other.call("__com.example_release", json!({}));
    assert_eq!(stuck.reply(), json!({"return": "released"}));
}

#[test]
fn a_start_that_hangs_is_past_its_deadline_like_a_call() {
    let daemon = Daemon::new()
        .plugin(&fixture("trouble"), "trouble.so")
        .config("[plugins.trouble]\nstart = \"hang\"\n[commands.deadline]\n\"__com.example_fine\" = 1")
        .start();
    let mut client = daemon.client();
    assert!(client.error("__com.example_fine", json!({})).contains("has not finished within 1 s"));
    assert!(client.error("__com.example_release", json!({})).contains("is busy"));
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
}

#[test]
fn a_panic_is_one_error_and_one_line_of_the_log() {
    let daemon = troubled();
    let mut client = daemon.client();
    for command in ["__com.example_panic", "__com.example_panic-instant"] {
        let error = client.error(command, json!({}));
        assert_eq!(error, format!("{command} panicked: asked to\npanic"));
        assert_eq!(client.call("__com.example_fine", json!({})), "fine");
    }
    let log = daemon.wait_for_log("panicked at");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("error: trouble: panicked at")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].ends_with("asked to; panic"), "{lines:?}");
}

#[test]
fn an_answer_that_is_not_json_is_one_error_and_one_line_of_the_log() {
    let daemon = troubled();
    let mut client = daemon.client();
    for body in ["", "nonsense", "{}{}", "{\"a\":1", "\"\u{1}\"", "[1,]", "{} x"] {
        let error = client.error("__com.example_raw", json!({"body": body}));
        assert_eq!(error, "Command __com.example_raw has answered what is not JSON", "{body:?}");
    }
    let logged = || daemon.log().lines().filter(|line| line.contains("error: __com.example_raw has answered")).count();
    daemon.wait_for("the lines", || logged() == 7);
    assert_eq!(
        client.call("__com.example_raw", json!({"body": "{\n\"a\":\r\n1}"})),
        json!({"a": 1}),
        "a reply is one line"
    );
    assert_eq!(client.call("__com.example_raw", json!({"body": "\"\\n\""})), "\n");
}

#[test]
fn a_fifo_that_nobody_writes_to_blocks_nobody() {
    let daemon = Daemon::new().start();
    let fifo = daemon.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut client = daemon.client();
    let handle = client.call("guest-file-open", json!({"path": fifo}));
    let read = client.call("guest-file-read", json!({"handle": handle}));
    assert_eq!(read, json!({"count": 0, "buf-b64": "", "eof": true}));
    client.call("guest-file-close", json!({"handle": handle}));
    let error = client.error("guest-file-open", json!({"path": fifo, "mode": "w"}));
    assert!(error.contains("No such device or address"), "{error}");
    assert_eq!(client.call("guest-ping", json!({})), json!({}));
}

/// Freezes nothing: the list of mount points is empty, so that only the hook runs.
#[test]
fn a_freeze_hook_that_sleeps_does_not_stop_the_rest() {
    let daemon = Daemon::new();
    let hook = daemon.path("hook");
    fs::write(&hook, "#!/bin/sh\nexec sleep 30\n").unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = daemon.args(&["-FDIR/hook"]).start();
    let (mut stuck, mut other) = (daemon.client(), daemon.client());
    stuck.request("guest-fsfreeze-freeze-list", json!({"mountpoints": []}));
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        other.request("guest-ping", json!({}));
        assert!(other.reply_within(AT_ONCE).is_some());
        other.request("guest-fsfreeze-status", json!({}));
        assert!(other.reply_within(AT_ONCE).is_some());
    }
    sync(&mut stuck, 9);
    assert_eq!(stuck.reply_within(AT_ONCE).expect("no answer to the sync"), json!({"return": 9}));
}

#[test]
fn a_client_that_does_not_read_stops_only_itself_and_costs_nothing() {
    let daemon = Daemon::new().start();
    let (mut silent, mut other) = (daemon.client(), daemon.client());
    // More than the socket holds: what is left is sent by a thread of its own when replies are read.
    let batch = json!({"execute": "guest-info"}).to_string().repeat(2000);
    let mut writer = silent.second();
    let sender = std::thread::spawn(move || writer.send(batch));
    other.call("guest-ping", json!({}));
    // At first it reads what the sockets hold, and after a while it gives memory back.
    let quiet = (0..10).any(|_| {
        let before = daemon.cpu_time();
        std::thread::sleep(Duration::from_secs(1));
        daemon.cpu_time() == before
    });
    assert!(quiet, "the daemon runs while nobody reads");
    other.call("guest-ping", json!({}));
    for _ in 0..2000 {
        assert!(silent.reply().get("return").is_some());
    }
    sender.join().unwrap();
}

#[test]
fn an_idle_daemon_uses_no_cpu_at_all() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    client.call("guest-ping", json!({}));
    client.error("guest-file-open", json!({"path": "/nonexistent"}));
    // Workers are kept for 10 s and then end, on a busy machine somewhat later.
    let idle = (0..3).any(|_| {
        std::thread::sleep(Duration::from_secs(11));
        let before = daemon.cpu_time();
        std::thread::sleep(Duration::from_secs(10));
        daemon.cpu_time() == before
    });
    assert!(idle, "the daemon runs though nobody asks it for anything");
}
