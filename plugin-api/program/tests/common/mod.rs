//! Shell scripts as programs, and what is left of them.

#![allow(dead_code, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use guestd_program::{End, Ended, Output, Program, system};

/// Longer than any test takes.
pub const LONG: Duration = Duration::from_secs(120);

/// A shell's script.
pub fn sh(script: &str) -> Command {
    let mut command = system::command(Path::new("/bin/sh"));
    command.args(["-c", script]);
    command
}

/// Runs a script to its end, and fails if that is not a success.
pub fn output_of(program: Program<'_, impl Output>) -> String {
    let ended = program.run(LONG).unwrap();
    assert!(matches!(ended.end, End::Exited(status) if status.success()), "{ended:?}");
    String::from_utf8(ended.output).unwrap()
}

/// Runs programs that do not end past their limit, each with a longer one, until one had the time to say `ready`.
pub fn past_limit<O: Output>(program: impl Fn() -> Program<'static, O>) -> Ended {
    let mut limit = Duration::from_millis(300);
    loop {
        let ended = program().run(limit).unwrap();
        assert_eq!(ended.end, End::TimedOut(limit));
        if String::from_utf8_lossy(&ended.output).contains("ready\n") {
            return ended;
        }
        limit *= 2;
        assert!(limit < LONG, "it says nothing");
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The processes of a group, those that have ended left out.
pub fn group(group: &str) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // proc_pid_stat(5): the name in brackets, the state, the parent, the group.
    let group_of = |stat: &str| Some(stat.rsplit_once(") ")?.1.split(' ').nth(2)?.to_owned());
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| runs(pid))
        .filter(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            group_of(&stat).is_some_and(|found| found == group)
        })
        .collect()
}

/// Waits for something that has to come true.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_true() {
        assert!(since.elapsed() < LONG, "not true: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
