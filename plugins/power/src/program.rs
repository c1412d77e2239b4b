//! Running one program: a clean environment, a bounded output, a time limit, and no zombie.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::machine::PROGRAM_DIRECTORIES;

/// How much a program can write to stdout and stderr together, in bytes; more is refused to it.
const OUTPUT_LIMIT: u64 = 64 << 10;

/// How much of it goes into an error, in bytes.
const QUOTED_LIMIT: usize = 1024;

/// How often the end of a program is looked for where the kernel has no pidfd_open(2) (before 5.3).
const TICK: Duration = Duration::from_millis(50);

/// How long a program may take, and what becomes of it then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    limit: Duration,
    kills: bool,
}

impl Patience {
    /// For programs that only hand a request over, which takes milliseconds; a bus that does not answer would keep
    /// them for 25 s (sd_bus_set_method_call_timeout(3)). They are killed.
    pub(crate) const FOR_REQUEST: Self = Self { limit: Duration::from_secs(10), kills: true };

    /// For programs that end when the guest is awake again; the time asleep does not count. They are left running,
    /// since they have to set the guest up again when it wakes.
    pub(crate) const ACROSS_SLEEP: Self = Self { limit: Duration::from_secs(30), kills: false };
}

/// How a program has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The beginning of what it wrote to stdout and stderr, on one line.
    pub output: String,
}

/// Why there is no [`Ended`].
#[derive(Debug)]
pub(crate) enum RunError {
    /// It could not be started, or not be watched.
    Io(io::Error),
    /// It took longer than this.
    TimedOut(Duration),
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs a program until it ends, but no longer than `patience` allows and the client waits (`time_left`).
///
/// It gets the `PATH` of [`PROGRAM_DIRECTORIES`], `LC_ALL=C` and no other variable, an empty stdin, and a process group
/// of its own, which is what is killed at the time limit. What it leaves running when it ends is left alone:
/// shutdown(8) of some inits goes on in the background.
pub(crate) fn run(program: &Path, args: &[&str], patience: Patience, time_left: Duration) -> Result<Ended, RunError> {
    let output = output_file()?;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PROGRAM_DIRECTORIES.join(":")).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?).process_group(0);
    let mut child = command.spawn()?;
    let limit = patience.limit.min(time_left);
    match wait(&mut child, limit)? {
        Some(status) => Ok(Ended { status, output: one_line(&written(output)?) }),
        None => {
            give_up(child, patience.kills);
            Err(RunError::TimedOut(limit))
        }
    }
}

/// A file in memory that cannot grow. A pipe would have to be read as long as somebody holds it, and would kill what
/// writes to it after that.
fn output_file() -> io::Result<File> {
    let file = memfd_create("output", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, OUTPUT_LIMIT)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(File::from(file))
}

/// The beginning of what was written. The file's position is shared with those that write.
fn written(mut output: File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(output.stream_position()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(QUOTED_LIMIT)];
    output.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Waits for the end of a program; `None`: it did not come in time.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    let end = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        match &end {
            Some(end) => wait_readable(end, left)?,
            None => thread::sleep(left.min(TICK)),
        }
    }
}

fn wait_readable(fd: &OwnedFd, limit: Duration) -> io::Result<()> {
    let limit = Timespec::try_from(limit).ok();
    match poll(&mut [PollFd::new(fd, PollFlags::IN)], limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Leaves a program to a thread that reaps it: one that hangs in the kernel does not even die of SIGKILL before that
/// lets it go.
fn give_up(mut child: Child, kills: bool) {
    if kills {
        // An error means that the whole group is gone.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    // Without a thread it stays a zombie until the daemon ends.
    let _ = thread::Builder::new().name("reaper".to_owned()).spawn(move || child.wait());
}

/// Output as part of an error: printable, on one line.
fn one_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().map(|line| line.replace(char::is_control, " ").trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
