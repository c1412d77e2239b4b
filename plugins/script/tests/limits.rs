//! Programs that take too long, write too much, leave others behind, or run while the daemon ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Programs, call, call_within};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

/// Waits until the process is gone whose number a program has written down.
fn assert_gone(file: &Path) {
    let pid = Pid::from_raw(fs::read_to_string(file).unwrap().trim().parse().unwrap()).unwrap();
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) {
        let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ended = PollFd::new(&process, PollFlags::IN);
        assert_eq!(poll(&mut [ended], Some(&minute)), Ok(1), "it lives on");
    }
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let programs = Programs::new();
    let pid = programs.path("pid");
    let lines = format!("sleep 600 & echo $! >{}; trap '' TERM; wait", pid.display());
    let program = programs.path("program");
    let words = |seconds| format!("'{}' has not ended within {seconds} s, and was killed", program.display());
    let kit = programs.command(&lines, json!({"timeout": 1}));
    assert_eq!(call(&kit, json!({})), Err(words("1")));
    assert_gone(&pid);
    let kit = programs.command(&lines, json!({"timeout": 60}));
    assert_eq!(call_within(&kit, json!({}), 1000), Err(words("0.75")));
    assert_gone(&pid);
}

#[test]
fn a_program_that_writes_without_end_is_killed_and_its_words_are_cut() {
    let programs = Programs::new();
    let pid = programs.path("pid");
    let lines = format!("echo $$ >{}; exec cat /dev/zero", pid.display());
    let kit = programs.command(&lines, json!({"output": "text", "timeout": 60}));
    let expected = format!("'{}' has written more than 4 MiB, and was killed", programs.path("program").display());
    assert_eq!(call(&kit, json!({})), Err(expected));
    assert_gone(&pid);
    let most = programs.command("head -c 4194304 /dev/zero", json!({"output": "text", "timeout": 60}));
    assert_eq!(call(&most, json!({})).unwrap()["text"].as_str().unwrap().len(), 4 << 20);
    let lines = "head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1";
    let noisy = programs.command(lines, json!({"timeout": 60}));
    assert_eq!(call(&noisy, json!({})), Err("x".repeat(1000)));
}

#[test]
fn what_a_program_leaves_behind_neither_delays_its_answer_nor_ends_with_it() {
    let programs = Programs::new();
    let pid = programs.path("pid");
    let lines = format!("sleep 600 & echo $! >{}; echo '{{}}'", pid.display());
    let kit = programs.command(&lines, json!({"timeout": 60}));
    let since = Instant::now();
    assert_eq!(call(&kit, json!({})), Ok(json!({})));
    assert!(since.elapsed() < Duration::from_secs(50), "it waited for what was left behind");
    let left = Pid::from_raw(fs::read_to_string(&pid).unwrap().trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
    assert_gone(&pid);
}

#[test]
fn input_that_nobody_reads_is_no_matter() {
    let programs = Programs::new();
    let more = json!({"arguments": {"x": {"type": "string"}}, "timeout": 60});
    let big = json!({"x": "x".repeat(1 << 20)});
    let kit = programs.command("echo '{}'", more.clone());
    assert_eq!(call(&kit, big.clone()), Ok(json!({})));
    let kit = programs.command("wc -c", more);
    assert_eq!(call(&kit, big), Ok(json!((1 << 20) + r#"{"x": ""}"#.len())));
}

/// Makes a fifo. It is open at both ends, so that nobody waits for the other one.
fn make_fifo(path: &Path) -> fs::File {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// The first that comes through a fifo.
fn read_first(mut fifo: &fs::File) -> Vec<u8> {
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(fifo, PollFlags::IN)], Some(&minute)), Ok(1), "nothing came");
    let mut buffer = [0; 64];
    let count = fifo.read(&mut buffer).unwrap();
    buffer[..count].to_vec()
}

#[test]
fn programs_are_killed_when_the_daemon_ends() {
    let programs = Programs::new();
    let (pid, fifo) = (programs.path("pid"), programs.path("fifo"));
    let reader = make_fifo(&fifo);
    let lines = format!("sleep 600 & echo $! >{}; echo >{}; wait", pid.display(), fifo.display());
    let kit = programs.command(&lines, json!({"timeout": 60}));
    let result: Result<Value, String> = std::thread::scope(|scope| {
        let running = scope.spawn(|| call(&kit, json!({})));
        read_first(&reader);
        kit.stop();
        running.join().unwrap()
    });
    let expected = format!("'{}' was killed, since the agent ends", programs.path("program").display());
    assert_eq!(result, Err(expected));
    assert_gone(&pid);
}

/// Where [`runs_a_program_without_end`] finds the fifo that its program writes to.
const FIFO: &str = "GUESTD_SCRIPT_TEST_FIFO";

#[test]
#[ignore = "it is the daemon that the next test kills"]
fn runs_a_program_without_end() {
    let fifo = std::env::var(FIFO).unwrap();
    let programs = Programs::new();
    let kit = programs.command(&format!("echo $$ >{fifo}; exec sleep 600"), json!({"timeout": 60}));
    let _ = call(&kit, json!({}));
}

#[test]
fn a_program_does_not_outlive_a_daemon_that_is_killed() {
    let programs = Programs::new();
    let (pid, fifo) = (programs.path("pid"), programs.path("fifo"));
    let reader = make_fifo(&fifo);
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "runs_a_program_without_end"])
        .env(FIFO, &fifo)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    fs::write(&pid, read_first(&reader)).unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_gone(&pid);
}
