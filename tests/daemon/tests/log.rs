//! The log: what strangers can write into it, and how much of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use guestd_daemon_tests::Daemon;
use nix::sys::signal::Signal;
use serde_json::json;

/// What a terminal obeys, what turns the direction of writing, and what some take for the end of a line.
const HOSTILE: &str = "\x1b]0;owned\x07-\u{202e}gpj\u{2066}-\u{2028}-\u{9b}31m";
const ESCAPED: &str = r"\u{1b}]0;owned\u{7}-\u{202e}gpj\u{2066}-\u{2028}-\u{9b}31m";

fn is_fit(text: &str) -> bool {
    let hostile: Vec<char> = HOSTILE.chars().filter(|char| !char.is_ascii_graphic()).collect();
    !text.contains(hostile.as_slice())
}

#[test]
fn names_of_files_cannot_write_to_a_terminal_or_forge_a_line() {
    let daemon = Daemon::new();
    let library = daemon.path("plugins").join(format!("{HOSTILE}.so"));
    fs::write(&library, "this is no library, but it is long enough to have a header, were it one of them").unwrap();
    fs::set_permissions(&library, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = daemon.start();
    let log = daemon.wait_for_log("is not an ELF file");
    assert!(log.contains(ESCAPED) && is_fit(&log), "{log:?}");
    for words in [["plugins"].as_slice(), &["plugins", "--json"], &["check"], &["explain", HOSTILE]] {
        let output = daemon.command(words).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("owned") && is_fit(&said), "{words:?}: {said:?}");
    }
}

#[test]
fn a_program_with_a_hostile_name_is_logged_by_an_escaped_one() {
    let daemon = Daemon::new().start();
    let program = daemon.path(HOSTILE);
    fs::copy("/bin/true", &program).unwrap();
    daemon.client().call("guest-exec", json!({"path": program}));
    let log = daemon.wait_for_log("guest-exec: process");
    assert!(log.contains(ESCAPED) && is_fit(&log), "{log:?}");
}

#[test]
fn refused_calls_do_not_fill_the_log() {
    const CALLS: usize = 20_000;
    let mut daemon = Daemon::new().config("[commands]\nblock = [\"guest-ping\"]").start();
    let mut client = daemon.client();
    let mut sender = client.second();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(r#"{"execute":"guest-ping"}"#.repeat(CALLS)));
        for _ in 0..CALLS {
            assert_eq!(client.reply()["error"]["class"], "CommandNotFound");
        }
    });
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let log = daemon.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("guest-ping refused")).collect();
    let left_out = |line: &&str| -> Option<usize> { line.rsplit_once('(')?.1.split_once(" more of")?.0.parse().ok() };
    let counted: usize = lines.iter().filter_map(left_out).sum();
    let written = lines.iter().filter(|line| left_out(line).is_none()).count();
    assert_eq!(written + counted, CALLS, "none is forgotten");
    assert!(written < CALLS / 10, "{written} lines");
}
