//! `--daemonize`: the daemon goes into the background, and its caller learns whether it came up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process;

use guestd_guest::trust::Trust;
use guestd_sdk::errno_text;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::{self, ForkResult};

/// The daemon's end of the pipe to the process that was called.
pub struct Background {
    ready: File,
    /// Locked for as long as the daemon lives.
    pid_file: Flock<File>,
}

/// Forks. Returns in the child, which has a session of its own and holds the lock of its pid file. The parent waits for the
/// child's report and ends with status 0 only if that says that the daemon is ready.
pub fn enter(pid_file: &Path) -> Result<Background, String> {
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
            let pid_file = lock(pid_file)?;
            Ok(Background { ready: File::from(ours), pid_file })
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

/// Writes the process number to the pid file and locks it, so that a second daemon does not start beside this one.
fn lock(path: &Path) -> Result<Flock<File>, String> {
    // Others may read it: it is what tells them whom to ask.
    let file = Trust::of_agent().writable(path, 0o644);
    let file = file.map_err(|error| format!("the pid file {} {}", path.display(), error.about(path)))?;
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| format!("the pid file {} is locked: another daemon runs", path.display()))?;
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.write_all(format!("{}\n", process::id()).as_bytes())
    };
    write(&mut file)
        .map_err(|error| format!("the pid file {} cannot be written: {}", path.display(), errno_text(&error)))?;
    Ok(file)
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
        leave().map_err(|error| format!("cannot go into the background: {}", errno_text(&error)))?;
        // The lock is given back by the system at the end.
        std::mem::forget(self.pid_file);
        Ok(())
    }
}
