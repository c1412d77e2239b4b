//! Passwords by chpasswd(8), of the shadow suite or of busybox. It knows what a guest wants of a new password: PAM or
//! `/etc/login.defs`, the method of crypt(5), the locks and modes of its files, and the date of the change.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use guestd_program::{End, Memory, Program, one_line, system};
use guestd_sdk::CommandError;

use crate::accounts::{NewPassword, Passwords};

/// How long chpasswd may take. It holds locks on the guest's password files meanwhile, which it and others recognize as
/// stale once it was killed.
const LIMIT: Duration = Duration::from_secs(15);

/// How much chpasswd can write, in bytes; more is refused to it.
const OUTPUT_LIMIT: usize = 64 << 10;

/// Sets passwords by chpasswd.
pub(crate) struct Chpasswd {
    directories: Vec<PathBuf>,
}

impl Chpasswd {
    /// The guest's own.
    pub(crate) fn installed() -> Self {
        Self { directories: system::DIRECTORIES.iter().map(PathBuf::from).collect() }
    }

    /// chpasswd and the arguments before its own: `busybox chpasswd` where nothing is installed under its name.
    fn program(&self) -> Option<(PathBuf, &'static [&'static str])> {
        let find = |name: &str| system::find(&self.directories, name);
        let chpasswd = find("chpasswd").map(|path| (path, [].as_slice()));
        chpasswd.or_else(|| Some((find("busybox")?, ["chpasswd"].as_slice())))
    }
}

impl Passwords for Chpasswd {
    fn set(&self, password: &NewPassword<'_>, limit: Duration) -> Result<(), CommandError> {
        let failed = |why: &str| CommandError::new(format!("child process has failed to set user password: {why}"));
        let (program, args) = self.program().ok_or_else(|| failed("chpasswd is not installed"))?;
        let mut command = system::command(&program);
        command.args(args);
        if password.crypted {
            command.arg("-e");
        }
        let mut line = [password.username.as_bytes(), b":", password.secret, b"\n"].concat();
        let output = Memory { length: OUTPUT_LIMIT };
        let ended = Program::new(command).input(&line).output(output).run(LIMIT.min(limit));
        line.fill(0);
        let ended = ended.map_err(|error| failed(&format!("{}: {error}", program.display())))?;
        let words = one_line(&ended.output);
        Err(match ended.end {
            End::Exited(status) if status.success() => return Ok(()),
            End::TimedOut(limit) => {
                failed(&format!("chpasswd has not ended within {} s, and was killed", limit.as_secs_f32()))
            }
            // qemu-ga's words.
            End::Exited(status) if status.signal().is_some() => {
                let said = if words.is_empty() { String::new() } else { format!(": {words}") };
                CommandError::new(format!("child process has terminated abnormally{said}"))
            }
            End::Exited(status) if words.is_empty() => {
                failed(&format!("exit status {}", status.code().unwrap_or_default()))
            }
            End::Lost if words.is_empty() => failed("its exit status is lost"),
            End::Exited(_) | End::Lost | End::TooMuchOutput | End::Stopped => failed(&words),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::fs;
    use std::process::Command;
    use tempfile::TempDir;

    /// A directory with a program that writes down what it is given and does `then`.
    fn with_program(name: &str, then: &str) -> (TempDir, Chpasswd) {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("record");
        let script = format!("#!/bin/sh\n{{ echo \"$@\"; env; cat; }} >{}\n{then}\n", record.display());
        fs::write(dir.path().join("script"), script).unwrap();
        // Not written by this process: a thread that starts a program meanwhile would hold the file open for writing,
        // and the kernel executes no such file.
        let copy =
            Command::new("install").arg("-m755").arg(dir.path().join("script")).arg(dir.path().join(name)).status();
        assert!(copy.unwrap().success());
        let chpasswd = Chpasswd { directories: vec![dir.path().join("none"), dir.path().to_owned()] };
        (dir, chpasswd)
    }

    fn set(chpasswd: &Chpasswd, crypted: bool, limit: Duration) -> Result<(), String> {
        let password = NewPassword { username: "alice", secret: b"a:b\xff", crypted };
        chpasswd.set(&password, limit).map_err(|error| error.desc().to_owned())
    }

    fn record(dir: &TempDir) -> Vec<u8> {
        fs::read(dir.path().join("record")).unwrap()
    }

    #[test]
    fn the_password_goes_to_stdin_and_nowhere_else() {
        let (dir, chpasswd) = with_program("chpasswd", "");
        set(&chpasswd, false, LIMIT).unwrap();
        let plain = record(&dir);
        assert!(plain.starts_with(b"\n") && plain.ends_with(b"\nalice:a:b\xff\n"), "{plain:?}");
        let text = String::from_utf8_lossy(&plain);
        assert!(text.contains("\nLC_ALL=C\n") && !text.contains("HOME="), "{text}");
        set(&chpasswd, true, LIMIT).unwrap();
        assert!(record(&dir).starts_with(b"-e\n"));
    }

    #[test]
    fn busybox_stands_in_for_what_is_not_installed() {
        let (dir, chpasswd) = with_program("busybox", "");
        set(&chpasswd, true, LIMIT).unwrap();
        assert!(record(&dir).starts_with(b"chpasswd -e\n"));
        let none = Chpasswd { directories: vec![dir.path().join("none")] };
        let error = set(&none, false, LIMIT).unwrap_err();
        assert_eq!(error, "child process has failed to set user password: chpasswd is not installed");
    }

    #[test]
    fn what_chpasswd_says_is_the_error() {
        for (then, expected) in [
            ("echo one >&2; echo; echo ' two'; exit 1", "child process has failed to set user password: one; two"),
            ("exit 3", "child process has failed to set user password: exit status 3"),
            // Recorded from qemu-ga 10.0.2 and 11.1.3, which keep the line ends.
            ("kill -9 $$", "child process has terminated abnormally"),
            ("echo one; kill $$", "child process has terminated abnormally: one"),
        ] {
            let (_dir, chpasswd) = with_program("chpasswd", then);
            assert_eq!(set(&chpasswd, false, LIMIT).unwrap_err(), expected);
        }
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_its_processes() {
        let (dir, chpasswd) = with_program("chpasswd", "sleep 600 & echo $! >>\"$(dirname \"$0\")/pid\"; wait");
        let error = set(&chpasswd, false, Duration::from_millis(500)).unwrap_err();
        assert!(error.ends_with("chpasswd has not ended within 0.5 s, and was killed"), "{error}");
        let pid = fs::read_to_string(dir.path().join("pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        if let Ok(child) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            let minute = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
            let ended = PollFd::new(&child, PollFlags::IN);
            assert_eq!(poll(&mut [ended], Some(&minute)), Ok(1), "the child lives on");
        }
    }
}
