//! Tests that cannot run say so, past the runner's capture, and fail where everything they need can be had.
//!
//! `GUESTD_SKIPS=FILE` collects a line for each in FILE, which `make test` lists at its end. `GUESTD_NO_SKIPS=1` makes
//! [`skip`] fail: `make test` sets it where it has installed what the tests need.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Says that the calling test, or a part of it, does not run, for want of something that a package or root's rights bring.
///
/// # Panics
///
/// With `GUESTD_NO_SKIPS=1` in the environment.
#[track_caller]
pub fn skip(reason: &str) {
    assert!(env::var_os("GUESTD_NO_SKIPS").is_none_or(|value| value != "1"), "GUESTD_NO_SKIPS=1, but: {reason}");
    not_here(reason);
}

/// Says that the calling test, or a part of it, does not run, since the machine's kernel or hardware lacks something that
/// nothing can bring. It is listed, and never a failure.
#[track_caller]
pub fn not_here(reason: &str) {
    let caller = std::panic::Location::caller();
    note(&format!("SKIPPED: {}: {reason}", caller.file()));
    if let Some(list) = env::var_os("GUESTD_SKIPS") {
        // One write of a short line to a file that is appended to is not torn by another test's (write(2)).
        let line = format!("{}: {reason}\n", caller.file());
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&list)
            .and_then(|mut list| list.write_all(line.as_bytes()));
        assert!(written.is_ok(), "{} cannot be written to: {written:?}", list.display());
    }
}

/// Prints a line past the test runner's capture, so that it is seen of passing tests too.
pub fn note(text: &str) {
    // Nothing sensible can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The effective user (proc_pid_status(5), "Uid").
fn effective_user() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok())
}

/// The user and group `nobody`, as Linux numbers what it cannot name (user_namespaces(7), overflowuid).
const NOBODY: u32 = 65534;

/// For a test that does not hold for root: runs the test called `test` (its path in the test program) once more as the user
/// `nobody`, and returns whether it did so; then the calling one, which is root's, has nothing more to do.
///
/// # Panics
///
/// If the test failed as that user, or did not run.
#[must_use]
pub fn ran_as_nobody(test: &str) -> bool {
    if effective_user() != Some(0) {
        return false;
    }
    // By this link the program runs wherever it lies: nobody need not be able to look into its directories.
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", test, "--nocapture"]).uid(NOBODY).gid(NOBODY).current_dir("/").env_remove("TMPDIR");
    let output = command.output();
    let passed = output
        .as_ref()
        .is_ok_and(|output| output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    assert!(passed, "as nobody, {test}: {output:?}");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one of the tests below that are not run by themselves, with these variables.
    fn run(test: &str, variables: &[(&str, &str)]) -> std::process::Output {
        let mut command = Command::new("/proc/self/exe");
        command.args(["--ignored", "--exact", &format!("testkit::skip::tests::{test}")]);
        command.env_remove("GUESTD_SKIPS").env_remove("GUESTD_NO_SKIPS").envs(variables.iter().copied());
        command.output().unwrap()
    }

    #[test]
    #[ignore = "another test runs it"]
    fn skips() {
        skip("there is no moon");
    }

    #[test]
    #[ignore = "another test runs it"]
    fn is_not_here() {
        not_here("the kernel has no moon");
    }

    #[test]
    fn a_skip_is_seen_listed_and_can_be_a_failure() {
        let list = env::temp_dir().join(format!("guestd-skips-{}", std::process::id()));
        let list = list.to_str().unwrap();
        for test in ["skips", "is_not_here"] {
            let output = run(test, &[("GUESTD_SKIPS", list)]);
            assert!(output.status.success());
            assert!(String::from_utf8_lossy(&output.stderr).contains("SKIPPED: "), "past the capture");
        }
        let listed = std::fs::read_to_string(list).unwrap();
        std::fs::remove_file(list).unwrap();
        let reasons: Vec<_> = listed.lines().map(|line| line.rsplit_once(": ").unwrap().1).collect();
        assert_eq!(reasons, ["there is no moon", "the kernel has no moon"]);
        assert!(listed.lines().all(|line| line.contains("skip.rs: ")));
        assert!(!run("skips", &[("GUESTD_NO_SKIPS", "1")]).status.success());
        assert!(run("is_not_here", &[("GUESTD_NO_SKIPS", "1")]).status.success());
    }

    #[test]
    fn a_test_runs_as_nobody() {
        if ran_as_nobody("testkit::skip::tests::a_test_runs_as_nobody") {
            return;
        }
        assert_ne!(effective_user(), Some(0));
    }
}
