//! Programs that have to be ended.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::thread;

use common::{LONG, eventually, group, past_limit, runs, sh};
use guestd_program::{Apart, End, Memory, Program, Stop};

/// Has three processes in its group, all deaf to the signals that ask to end.
const DEAF: &str = "trap '' TERM HUP INT; sh -c 'sleep 1000; :' & sleep 1000 & echo $$; echo ready; wait";

#[test]
fn past_its_limit_the_whole_group_is_killed_and_nothing_is_left() {
    for ended in [
        past_limit(|| Program::new(sh(DEAF))),
        past_limit(|| Program::new(sh(DEAF)).output(Apart { most: 100, kept: 0 })),
        past_limit(|| Program::new(sh(DEAF)).output(Memory { length: 4096 })),
    ] {
        let output = String::from_utf8(ended.output).unwrap();
        let pid = output.lines().next().unwrap();
        assert!(!Path::new("/proc").join(pid).exists(), "{pid} was not waited for");
        eventually("the group is gone", || group(pid).is_empty());
    }
}

#[test]
fn a_program_that_is_left_at_its_limit_goes_on_and_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (go, done) = (dir.path().join("go"), dir.path().join("done"));
    let script = format!(
        "echo $$; echo ready; until test -e {}; do sleep 0.02; done; echo more && echo >>{}",
        go.display(),
        done.display()
    );
    let ended = past_limit(|| Program::new(sh(&script)).output(Memory { length: 4096 }).left_at_limit());
    let output = String::from_utf8(ended.output).unwrap();
    let pid = output.lines().next().unwrap();
    assert!(runs(pid) && !done.exists());
    fs::write(&go, "").unwrap();
    eventually("it was waited for", || !Path::new("/proc").join(pid).exists());
    assert!(done.exists());
}

#[test]
fn it_can_be_stopped_by_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; {DEAF}", file.display());
    let stop = Stop::new().unwrap();
    let ends = thread::scope(|scope| {
        let run = |script: &str| Program::new(sh(script)).stop(&stop).run(LONG).unwrap().end;
        let (one, other) = (scope.spawn(move || run(&script)), scope.spawn(move || run("exec sleep 1000")));
        eventually("the first one runs", || file.exists());
        stop.fire();
        [one.join().unwrap(), other.join().unwrap()]
    });
    assert_eq!(ends, [End::Stopped; 2]);
    let pid = fs::read_to_string(file).unwrap();
    eventually("the group is gone", || group(pid.trim()).is_empty());
}
