//! Programs that get nothing of the daemon's.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::{LONG, eventually, output_of, runs, sh};
use guestd_program::{Program, User};

#[test]
fn only_the_standard_descriptors_and_a_umask_of_its_own_are_left() {
    let open = fs::File::open("/dev/null").unwrap();
    // A descriptor that lacks the mark to be closed.
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    // The fourth is ls's own.
    assert_eq!(output_of(Program::new(sh("umask; ls /proc/self/fd")).confined(None)), "0022\n0\n1\n2\n3\n");
}

#[test]
fn another_user_has_that_users_rights_alone() {
    if !rustix::process::geteuid().is_root() {
        guestd_sdk::testkit::skip("only root can become another user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let user = || User { uid: 4242, gid: 4243, groups: vec![4243, 4244] };
    let script = "id -u; id -g; id -G; grep -E '^Cap(Prm|Eff)' /proc/self/status; cd $0 2>/dev/null || echo closed; \
                  cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr";
    let mut command = sh(script);
    command.arg(dir.path());
    let none = "0000000000000000";
    let expected = format!("4242\n4243\n4243 4244\nCapPrm:\t{none}\nCapEff:\t{none}\nclosed\nin\nout\nerr\n");
    assert_eq!(output_of(Program::new(command).confined(Some(user())).input(b"in\n")), expected);
}

#[test]
fn nobody_but_root_can_become_another_user() {
    if guestd_sdk::testkit::ran_as_nobody("nobody_but_root_can_become_another_user") {
        return;
    }
    let program = Program::new(sh("true")).confined(Some(User { uid: 0, gid: 0, groups: vec![0] }));
    assert_eq!(program.run(LONG).unwrap_err().raw_os_error(), Some(1));
}

/// Where [`runs_a_program_without_end`] has its program write its number.
const FILE: &str = "GUESTD_PROGRAM_TEST_FILE";

#[test]
#[ignore = "it is the daemon that the next test kills"]
fn runs_a_program_without_end() {
    let file = std::env::var(FILE).unwrap();
    let script = format!("echo $$ >{file}.new; mv {file}.new {file}; exec sleep 1000");
    let _ = Program::new(sh(&script)).confined(None).run(LONG);
}

#[test]
fn it_does_not_outlive_a_daemon_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "runs_a_program_without_end"])
        .env(FILE, &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the program runs", || file.exists());
    let pid = fs::read_to_string(&file).unwrap();
    assert!(runs(pid.trim()));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    eventually("it has ended", || !runs(pid.trim()));
}
