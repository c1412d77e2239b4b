//! What programs write, and how much of it.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{LONG, eventually, group, output_of, runs, sh};
use guestd_program::{Apart, End, Ended, Memory, Output, Program, Together};

fn run(script: &str, output: impl Output) -> Ended {
    Program::new(sh(script)).output(output).run(LONG).unwrap()
}

fn succeeded(ended: &Ended) -> bool {
    matches!(ended.end, End::Exited(status) if status.success())
}

const TOGETHER: Together = Together { kept: 1000 };
const APART: Apart = Apart { most: 5_000_000, kept: 1000 };
const MEMORY: Memory = Memory { length: 64 << 10 };

#[test]
fn output_and_errors_come_in_their_order_or_apart() {
    let script = "echo one; echo two >&2; echo three";
    for ended in [run(script, TOGETHER), run(script, MEMORY)] {
        assert_eq!(
            (ended.output.as_slice(), ended.errors.as_slice()),
            (b"one\ntwo\nthree\n".as_slice(), b"".as_slice())
        );
    }
    let ended = run(script, APART);
    assert_eq!((ended.output.as_slice(), ended.errors.as_slice()), (b"one\nthree\n".as_slice(), b"two\n".as_slice()));
}

#[test]
fn megabytes_come_through_and_what_is_not_kept_harms_nobody() {
    let ended = run("head -c 4999999 /dev/zero && head -c 3000000 /dev/zero >&2 && printf x", APART);
    assert!(succeeded(&ended), "{:?}", ended.end);
    assert_eq!((ended.output.len(), ended.output.last(), ended.errors.len()), (5_000_000, Some(&b'x'), 1000));
    let ended = run("printf begin && head -c 3000000 /dev/zero && head -c 3000000 /dev/zero >&2", TOGETHER);
    assert!(succeeded(&ended), "{:?}", ended.end);
    assert!(ended.output.starts_with(b"begin\0") && ended.output.len() == 1000);
}

#[test]
fn who_writes_too_much_is_killed() {
    let ended = run("echo $$ >&2; yes; echo never >&2", Apart { most: 1 << 20, kept: 1000 });
    assert_eq!((ended.end, ended.output.len()), (End::TooMuchOutput, 1 << 20));
    let pid = String::from_utf8(ended.errors).unwrap();
    eventually("the whole group is gone", || group(pid.trim()).is_empty());
    let ended = run("printf 123456", Apart { most: 5, kept: 0 });
    assert_eq!((ended.end, ended.output.as_slice()), (End::TooMuchOutput, b"12345".as_slice()));
}

#[test]
fn a_file_refuses_what_does_not_fit() {
    let ended = run("head -c 10000000 /dev/zero || exit 3", MEMORY);
    assert!(matches!(ended.end, End::Exited(status) if status.code() == Some(3)), "{:?}", ended.end);
    assert_eq!(ended.output, vec![0; 64 << 10]);
    // A position far behind the end, which the program shares, is no reason to take that much memory.
    let ended = run("echo one; dd bs=1 seek=1T count=0 2>/dev/null; echo two", MEMORY);
    assert_eq!(ended.output.len(), 64 << 10);
    assert!(ended.output.starts_with(b"one\n\0"));
}

#[test]
fn who_keeps_the_output_open_delays_nobody_and_goes_on() {
    let script = "sleep 1000 & echo $!";
    for ended in [run(script, TOGETHER), run(script, APART), run(script, MEMORY)] {
        assert!(succeeded(&ended), "{:?}", ended.end);
        let pid = String::from_utf8(ended.output).unwrap();
        assert!(runs(pid.trim()));
        assert!(sh("kill $0").arg(pid.trim()).status().unwrap().success());
    }
}

#[test]
fn a_file_can_be_written_to_after_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (go, done) = (dir.path().join("go"), dir.path().join("done"));
    let (go_on, told) = (go.display(), done.display());
    let ended = run(
        &format!("{{ until test -e {go_on}; do sleep 0.02; done; echo late && echo >{told}; }} & echo now"),
        MEMORY,
    );
    assert_eq!(ended.output, b"now\n");
    std::fs::write(&go, "").unwrap();
    eventually("what was left has written", || done.exists());
}

#[test]
fn the_standard_streams_can_be_opened_by_name() {
    let script = "echo one >/dev/stdout; echo two >/dev/stderr";
    assert_eq!(output_of(Program::new(sh(script))), "one\ntwo\n");
}
