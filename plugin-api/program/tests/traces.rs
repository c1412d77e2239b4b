//! What many programs leave in the daemon: a test program of its own, since it looks at its children and descriptors.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use common::{LONG, eventually, sh};
use guestd_program::{Apart, End, Memory, Output, Program, Together};

/// Programs that end in all ways; `number`: how long some may take, in milliseconds beyond ten.
fn run_some(number: u64, output: impl Output + Copy) {
    let run = |script: &str, limit| Program::new(sh(script)).input(b"input").output(output).run(limit);
    assert!(matches!(run("cat", LONG).unwrap().end, End::Exited(_)));
    let limit = Duration::from_millis(10 + number);
    assert_eq!(run("exec sleep 1000", limit).unwrap().end, End::TimedOut(limit));
    run("cat; yes | head -c 100000", LONG).unwrap();
    Program::new(sh("cd /")).output(output).confined(None).run(LONG).unwrap();
    Program::new(Command::new("/no/such/program")).output(output).run(LONG).unwrap_err();
}

#[test]
fn no_zombie_no_descriptor_and_no_thread() {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let before = (count("fd"), count("task"));
    let run_all = |number: u64| {
        run_some(number, Together { kept: 10 });
        run_some(number, Apart { most: 10, kept: 10 });
        run_some(number, Memory { length: 4096 });
        let left = Program::new(sh("sleep 0.1")).output(Memory { length: 4096 }).left_at_limit();
        left.run(Duration::from_millis(10)).unwrap();
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || (0..5).for_each(|number| run_all(thread * 5 + number)));
        }
    });
    eventually("all is as it was before", || (count("fd"), count("task")) == before);
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        assert_eq!(children, "", "a child was not waited for");
    }
}
