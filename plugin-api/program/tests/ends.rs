//! How programs end, or do not start.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use common::{LONG, output_of, sh};
use guestd_program::{Apart, End, Program, Stop};

fn end(command: Command) -> End {
    Program::new(command).run(LONG).unwrap().end
}

#[test]
fn a_status_and_a_signal_are_told() {
    assert_eq!(end(sh("exit 0")), End::Exited(ExitStatus::from_raw(0)));
    assert_eq!(end(sh("exit 7")), End::Exited(ExitStatus::from_raw(7 << 8)));
    for signal in [9, 15] {
        assert_eq!(end(sh(&format!("kill -{signal} $$"))), End::Exited(ExitStatus::from_raw(signal)));
    }
}

#[test]
fn what_cannot_be_executed_is_an_error_with_its_errno() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    // Not written by this process: a thread that starts a program meanwhile would hold the file open for writing, and the
    // kernel executes no such file.
    let script = "cd $0; echo >plain; chmod 644 plain; echo '#!/no/such/interpreter' >bad; chmod 755 bad";
    assert!(sh(script).arg(dir.path()).status().unwrap().success());
    for (program, text) in [
        (path("none"), "No such file or directory (os error 2)"),
        (path("plain"), "Permission denied (os error 13)"),
        (dir.path().to_owned(), "Permission denied (os error 13)"),
        (path("bad"), "No such file or directory (os error 2)"),
    ] {
        for confined in [false, true] {
            let run = Program::new(Command::new(&program));
            let run = if confined { run.confined(None) } else { run };
            assert_eq!(run.run(LONG).unwrap_err().to_string(), text, "{}", program.display());
        }
    }
    let mut command = sh("true");
    command.current_dir("/no/such/directory");
    assert_eq!(Program::new(command).run(LONG).unwrap_err().raw_os_error(), Some(2));
}

#[test]
fn nothing_is_started_when_the_time_is_over_or_it_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let program = || Program::new(sh(&format!("echo >{}", file.display())));
    assert_eq!(program().run(Duration::ZERO).unwrap().end, End::TimedOut(Duration::ZERO));
    let stop = Stop::new().unwrap();
    stop.fire();
    stop.fire();
    assert_eq!(program().stop(&stop).run(LONG).unwrap().end, End::Stopped);
    assert!(!file.exists());
    let stop = Stop::new().unwrap();
    assert!(matches!(program().stop(&stop).run(Duration::MAX).unwrap().end, End::Exited(_)));
    assert!(file.exists());
}

#[test]
fn a_program_of_the_system_has_a_clean_environment_and_every_one_a_group_of_its_own() {
    let lines = output_of(Program::new(sh("pwd; env | grep -v -e ^_= -e ^PWD= | sort; readlink /proc/self/fd/0")));
    let path = format!("PATH={}", guestd_program::system::DIRECTORIES.join(":"));
    assert_eq!(lines.lines().collect::<Vec<_>>(), ["/", "LC_ALL=C", &path, "/dev/null"]);
    assert_eq!(output_of(Program::new(sh("test $(ps -o pgid= -p $$) = $$ && echo own"))), "own\n");
}

#[test]
fn a_program_is_found_in_the_first_directory_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = sh("cd $0; mkdir a b c b/tool; echo >a/tool; echo >c/tool; chmod 644 a/tool; chmod 755 c/tool")
        .arg(dir.path())
        .status();
    assert!(made.unwrap().success());
    let directories = ["none", "a", "b", "c"].map(|name| dir.path().join(name));
    let find = |name| guestd_program::system::find(&directories, name);
    assert_eq!(find("tool"), Some(dir.path().join("c/tool")));
    assert_eq!(find("hammer"), None);
    assert!(guestd_program::system::find(guestd_program::system::DIRECTORIES, "sh").is_some());
}

#[test]
fn input_may_be_larger_than_a_pipe_and_need_not_be_read() {
    let input: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let output = Apart { most: input.len(), kept: 0 };
    let ended = Program::new(sh("cat")).input(&input).output(output).run(LONG).unwrap();
    assert!(ended.output == input, "{} bytes came back", ended.output.len());
    assert_eq!(output_of(Program::new(sh("echo done")).input(&input)), "done\n");
    assert_eq!(output_of(Program::new(sh("cat; cat /dev/stdin")).input(b"twice ")), "twice twice ");
    // The program cannot change it under others that it starts.
    assert_eq!(output_of(Program::new(sh("echo x >&0 || cat")).input(b"sealed")).lines().last(), Some("sealed"));
    assert_eq!(output_of(Program::new(Command::new(Path::new("/bin/cat")))), "");
}

#[test]
#[ignore = "it is the daemon of the next test"]
fn gets_no_status() {
    let ended = Program::new(sh("echo said; exit 7")).run(LONG).unwrap();
    assert_eq!((ended.end, ended.output.as_slice()), (End::Lost, b"said\n".as_slice()));
}

#[test]
fn a_status_that_somebody_else_takes_is_lost() {
    // Where SIGCHLD is ignored the kernel waits for the children itself (sigaction(2)); execve(2) leaves it ignored.
    let daemon = Command::new("env")
        .arg("--ignore-signal=CHLD")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "gets_no_status"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&daemon.stdout);
    assert!(daemon.status.success() && said.contains("1 passed"), "{said}");
}
