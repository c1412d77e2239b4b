//! `--daemonize`: the daemon goes into the background, and its caller learns whether it came up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process;

use guestd_sdk::errno_text;
use nix::fcntl::OFlag;
use nix::unistd::{self, ForkResult};

use super::pid_file::PidFile;

/// The daemon's end of the pipe to the process that was called.
pub struct Background {
    ready: File,
}

/// Forks. Returns in the child, which has a session of its own and holds the lock of its pid file. The parent waits for the
/// child's report and ends with status 0 only if that says that the daemon is ready.
pub fn enter(pid_file: &Path) -> Result<(Background, PidFile), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("cannot go into the background: {what}: {error}");
    let (theirs, ours) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| failed("pipe", &error))?;
    // SAFETY: the process has a single thread, so the child may go on with all of its memory.
    match unsafe { unistd::fork() }.map_err(|error| failed("fork", &error))? {
        ForkResult::Parent { .. } => {
            drop(ours);
            process::exit(wait_for(theirs));
        }
        ForkResult::Child => {
            drop(theirs);
            unistd::setsid().map_err(|error| failed("setsid", &error))?;
            let pid_file = PidFile::write(pid_file)?;
            Ok((Background { ready: File::from(ours) }, pid_file))
        }
    }
}

/// The parent's exit status: what it said of itself is on standard error already.
fn wait_for(report: OwnedFd) -> i32 {
    let mut word = [0; 1];
    match File::from(report).read(&mut word) {
        Ok(1) => 0,
        _ => 1,
    }
}

impl Background {
    /// Tells the caller that the daemon is ready, and lets go of its terminal and directory.
    pub fn report_ready(mut self) -> Result<(), String> {
        let mut leave = || {
            let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
            unistd::chdir("/")?;
            self.ready.write_all(b"1")?;
            unistd::dup2_stdin(null.as_fd())?;
            unistd::dup2_stdout(null.as_fd())?;
            unistd::dup2_stderr(null.as_fd())?;
            Ok::<(), std::io::Error>(())
        };
        leave().map_err(|error| format!("cannot go into the background: {}", errno_text(&error)))
    }
}
