//! Running one half of one hook, for a limited time.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use guestd_guest::trust::Trust;
use guestd_program::{End, Program, Together};
use guestd_sdk::{CommandError, Daemon};

/// Ends the hook that is running, if one is, and every one that is run later.
pub use guestd_program::Stop as Abort;

/// What is kept of a hook's output, in bytes; the rest is read and thrown away.
const KEPT: usize = 64 << 10;

/// The argument that a hook is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Before the freeze.
    Freeze,
    /// After the thaw.
    Thaw,
}

/// How a half ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// How; an error if it was never started.
    end: io::Result<End>,
    /// What it wrote to its standard output and error, at most [`KEPT`] bytes.
    pub output: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

impl Ended {
    /// Whether the half did what it should.
    pub fn succeeded(&self) -> bool {
        matches!(self.end, Ok(End::Exited(status)) if status.success())
    }

    /// Whether anything of the hook was run.
    pub fn started(&self) -> bool {
        self.end.is_ok()
    }

    /// What it said, where a signal that was not sent from here ended it.
    pub fn killed_by_another(&self) -> Option<&[u8]> {
        matches!(self.end, Ok(End::Exited(status)) if status.signal().is_some()).then_some(self.output.as_slice())
    }

    /// Why it failed: its own words if it said any, as qemu-ga has it.
    pub fn failure(&self, path: &Path) -> String {
        match &self.end {
            Ok(End::Exited(_)) if !self.output.is_empty() => String::from_utf8_lossy(&self.output).into_owned(),
            Err(error) => {
                format!("{}\n", CommandError::os(format!("failed to exec '{}'", path.display()), error).desc())
            }
            _ => self.how(),
        }
    }

    /// How it ended, in a few words.
    pub fn how(&self) -> String {
        match &self.end {
            Ok(End::Exited(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (_, Some(signal)) => format!("killed by signal {signal}"),
                _ => "ended".to_owned(),
            },
            Ok(End::TimedOut(limit)) => format!("not done within {} s, and killed", limit.as_secs_f32()),
            Ok(End::Stopped) => "killed, since the freeze was undone meanwhile".to_owned(),
            Ok(End::Lost | End::TooMuchOutput) => "its exit status is lost".to_owned(),
            Err(error) => CommandError::os("not started", error).desc().to_owned(),
        }
    }
}

/// Runs one half of a hook in a process group of its own, without standard input and with the umask that the daemon was started
/// with, and waits for it. A program that others could have written is not run; see [`Trust`].
///
/// A process that it leaves behind, as one that holds a database's lock, goes on. Its standard output is no longer
/// read then.
pub fn run(daemon: &Daemon, path: &Path, half: Half, limit: Duration, abort: Option<&Abort>) -> Ended {
    let started = Instant::now();
    if let Err(error) = check(path) {
        return Ended { end: Err(error), output: Vec::new(), took: started.elapsed() };
    }
    let argument = match half {
        Half::Freeze => "freeze",
        Half::Thaw => "thaw",
    };
    let mut command = Command::new(path);
    command.arg(argument).current_dir("/");
    let program = Program::new(command).output(Together { kept: KEPT }).umask(daemon.facts().umask);
    let program = if let Some(abort) = abort { program.stop(abort) } else { program };
    let (end, output) = match program.run(limit) {
        Ok(ended) => (Ok(ended.end), ended.output),
        Err(error) => (Err(error), Vec::new()),
    };
    Ended { end, output, took: started.elapsed() }
}

/// Checks that nobody has written a program who could not do as root what it does. What cannot be looked at is left to execve(2), for
/// its words are qemu-ga's.
pub fn check(path: &Path) -> io::Result<()> {
    match Trust::of_agent().program(path) {
        Err(error) if error.is_about_trust() => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}
