//! Sockets and terminals: how clients reach the daemon, leave it and come back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use guestd_daemon_tests::{Daemon, PATIENCE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios;
use serde_json::json;

const PING: &str = r#"{"execute":"guest-ping"}"#;

#[test]
fn the_socket_is_the_users_own_and_goes_with_the_daemon() {
    let mut daemon = Daemon::new().start();
    let metadata = fs::metadata(daemon.path("s")).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(!daemon.path("s").exists());
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
    let mut daemon = Daemon::new();
    drop(UnixListener::bind(daemon.path("s")).unwrap());
    daemon = daemon.start();
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));

    let socket = daemon.path("s").display().to_string();
    let second = Daemon::new();
    let output = second.command(&["-m", "unix-listen", "-p", &socket]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("another process listens on it"));
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));

    fs::write(second.path("file"), "precious").unwrap();
    let file = second.path("file").display().to_string();
    let output = second.command(&["-m", "unix-listen", "-p", &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn many_clients_are_served_at_once_and_begin_with_a_clean_stream() {
    let daemon = Daemon::new().start();
    let mut clients: Vec<_> = (0..50).map(|_| daemon.client()).collect();
    for client in &mut clients {
        client.send(&PING[..10]);
    }
    for client in clients.iter_mut().rev() {
        client.send(&PING[10..]);
        assert_eq!(client.reply(), json!({"return": {}}));
    }
    daemon.client().send(&PING[..10]);
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));
}

#[test]
fn a_client_that_leaves_with_answers_unread_ends_nothing() {
    let daemon = Daemon::new().start();
    for _ in 0..20 {
        let mut client = daemon.client();
        client.send(PING.repeat(500));
    }
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));
}

#[test]
fn a_socket_that_the_service_manager_passes_is_served() {
    let daemon = Daemon::new().config("[[channel]]\nmethod = \"unix-listen\"");
    let listener = UnixListener::bind(daemon.path("s")).unwrap();
    let mut child = daemon.command_with_socket(&listener).spawn().unwrap();
    let answer = daemon.client().call("guest-ping", json!({}));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer, json!({}));
}

/// As in qemu-ga, whose clients open a connection for each call.
#[test]
fn handles_and_results_belong_to_no_client() {
    let other = "[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/other\"";
    let daemon = Daemon::new().config(other).start();
    let handle = daemon.client().call("guest-file-open", json!({"path": "/dev/null"}));
    let pid = daemon.client().call("guest-exec", json!({"path": "true"}))["pid"].clone();
    let mut other = guestd_daemon_tests::Client::connect(&daemon.path("other"));
    assert_eq!(other.call("guest-file-close", json!({"handle": handle})), json!({}));
    daemon.client().error("guest-file-read", json!({"handle": handle}));
    while other.call("guest-exec-status", json!({"pid": pid}))["exited"] != true {}
    daemon.client().error("guest-exec-status", json!({"pid": pid}));
}

#[test]
fn several_channels_are_served_together() {
    let channel = |path: &str| format!("[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/{path}\"");
    let daemon = Daemon::new().config(&channel("one")).config(&channel("two")).start();
    for path in ["one", "two", "s"] {
        let mut client = guestd_daemon_tests::Client::connect(&daemon.path(path));
        assert_eq!(client.call("guest-ping", json!({})), json!({}), "{path}");
    }
}

/// The host's side of a serial line.
struct Terminal {
    host: fs::File,
    _guest: OwnedFd,
    path: String,
}

impl Terminal {
    fn new() -> Self {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let path = nix::unistd::ttyname(&slave).unwrap().display().to_string();
        Self { host: fs::File::from(master), _guest: slave, path }
    }

    fn ask(&mut self, request: &[u8]) -> String {
        self.host.write_all(request).unwrap();
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            let mut wait = [PollFd::new(self.host.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut wait, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
            assert_eq!(ready, 1, "no answer; so far: {}", String::from_utf8_lossy(&line));
            self.host.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }
}

#[test]
fn a_serial_port_is_made_raw_and_answers_any_bytes() {
    let mut terminal = Terminal::new();
    let daemon = Daemon::new()
        .config(&format!("[[channel]]\nmethod = \"isa-serial\"\npath = {:?}", terminal.path))
        .start_without_socket();
    daemon.wait_for_log("open");
    // The interrupt character, carriage returns and line ends go through as they are.
    let request = b"\xFF{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":\r\n7}}";
    assert_eq!(terminal.ask(request), "\u{FFFD}{\"return\": 7}\n");
    assert_eq!(terminal.ask(PING.as_bytes()), "{\"return\": {}}\n");
    let attributes = termios::tcgetattr(&terminal.host).unwrap();
    assert!(!attributes.local_flags.intersects(termios::LocalFlags::ECHO | termios::LocalFlags::ICANON));
}

#[test]
fn a_device_that_is_missing_is_waited_for_and_one_that_is_lost_is_opened_again() {
    let daemon =
        Daemon::new().config("[[channel]]\nmethod = \"isa-serial\"\npath = \"DIR/port\"").start_without_socket();
    daemon.wait_for_log("waiting for it: No such file or directory");
    let port = daemon.path("port");
    let mut first = Terminal::new();
    symlink(&first.path, &port).unwrap();
    daemon.wait_for_log("open");
    assert_eq!(first.ask(PING.as_bytes()), "{\"return\": {}}\n");
    fs::remove_file(&port).unwrap();
    drop(first);
    daemon.wait_for_log("lost");
    let mut second = Terminal::new();
    symlink(&second.path, &port).unwrap();
    daemon.wait_for("the second port", || daemon.log().matches(": open\n").count() == 2);
    assert_eq!(second.ask(PING.as_bytes()), "{\"return\": {}}\n");
    assert!(daemon.log().matches("waiting for it").count() <= 2, "{}", daemon.log());
}

#[test]
fn a_batch_of_requests_is_answered_in_order_and_completely() {
    let daemon = Daemon::new().start();
    let mut client = daemon.client();
    let requests: String = (0..5000).map(|id| format!(r#"{{"execute":"guest-ping","id":{id}}}"#)).collect();
    client.send(requests);
    for id in 0..5000 {
        assert_eq!(client.reply()["id"], id);
    }
}

/// A descriptor that is not used must not stay open in programs that commands start.
#[test]
fn the_daemons_descriptors_are_closed_in_programs_that_it_starts() {
    let daemon = Daemon::new().start();
    let _client = daemon.client();
    daemon.client().call("guest-ping", json!({}));
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", daemon.pid())).unwrap() {
        let entry = entry.unwrap();
        let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let close_on_exec = u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000 != 0;
        assert!(number <= 2 || close_on_exec, "descriptor {number} is not closed: {text}");
    }
}
