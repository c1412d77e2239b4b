use std::thread;
use std::time::Instant;

use guestd_program::{End, one_line};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn sh(script: &str, patience: Patience) -> io::Result<Ended> {
    run(Path::new("/bin/sh"), &["-c", script], patience, LONG)
}

fn output(script: &str) -> String {
    one_line(&sh(script, Patience::FOR_REQUEST).unwrap().output)
}

#[test]
fn a_program_gets_a_clean_environment_and_a_group_of_its_own() {
    let env = output("/usr/bin/env | /usr/bin/grep -v ^_= | /usr/bin/sort");
    // PWD is the shell's own.
    let path = system::DIRECTORIES.join(":");
    assert_eq!(
        env.split("; ").filter(|line| !line.starts_with("PWD=")).collect::<Vec<_>>(),
        ["LC_ALL=C", &format!("PATH={path}")]
    );
    assert_eq!(output("test $(ps -o pgid= -p $$) = $$ && echo own"), "own");
    // In the pipe only stderr is the file.
    assert_eq!(output("readlink /proc/self/fd/0; readlink /proc/self/fd/* | grep -c memfd"), "/dev/null; 1");
}

/// The exit code of a program, and what it said.
fn told(script: &str) -> (Option<i32>, String) {
    let ended = sh(script, Patience::FOR_REQUEST).unwrap();
    let End::Exited(status) = ended.end else { return (None, format!("{ended:?}")) };
    (status.code(), one_line(&ended.output))
}

#[test]
fn status_and_output_are_told_on_one_line() {
    assert_eq!(told("echo one; printf '\\033 two\\n\\n' >&2; exit 7"), (Some(7), "one; two".to_owned()));
    assert_eq!(told("kill -9 $$"), (None, String::new()));
}

#[test]
fn output_is_bounded() {
    assert_eq!(output("head -c 10000000 /dev/zero | tr '\\0' x; echo end"), "x".repeat(1024));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = run(Path::new("/no/such/program"), &[], Patience::FOR_REQUEST, LONG).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn past_its_limit_the_whole_group_is_killed_and_reaped() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("sleep 1000 & echo $$ $! >{}; wait", pids.display());
    let patience = Patience { limit: Duration::from_millis(300), kills: true };
    assert!(matches!(sh(&script, patience).unwrap().end, End::TimedOut(_)));
    for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
        until_gone(pid);
    }
}

#[test]
fn a_program_that_must_not_be_killed_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (pid, go, done) = (directory.path().join("pid"), directory.path().join("go"), directory.path().join("done"));
    let script = format!(
        "echo $$ >{}; until test -e {}; do sleep 0.05; done; echo said; echo >{}",
        pid.display(),
        go.display(),
        done.display()
    );
    let patience = Patience { limit: Duration::from_millis(300), kills: false };
    assert!(matches!(sh(&script, patience).unwrap().end, End::TimedOut(_)));
    std::fs::write(go, "").unwrap();
    until_gone(std::fs::read_to_string(pid).unwrap().trim());
    assert!(done.exists());
}

#[test]
fn what_goes_on_in_the_background_is_left_alone() {
    let pid = output("(sleep 0.3; echo late) & echo $!");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    until_gone(&pid);
}

/// Waits for the end of a process, which leaves no zombie behind; init reaps those that are not ours.
fn until_gone(pid: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < until, "process {pid} is still there");
        thread::sleep(Duration::from_millis(20));
    }
}
