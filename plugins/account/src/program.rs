//! Running one program: a clean environment, a bounded output, a time limit, and no zombie.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::chpasswd::PROGRAM_DIRECTORIES;

/// How much a program can write to stdout and stderr together, in bytes; more is refused to it.
const OUTPUT_LIMIT: u64 = 64 << 10;

/// How much of it goes into an error, in bytes.
const QUOTED_LIMIT: usize = 1024;

/// How often the end of a program is looked for where the kernel has no pidfd_open(2) (before 5.3).
const TICK: Duration = Duration::from_millis(50);

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
    /// It took longer than this and was killed, with its process group.
    TimedOut(Duration),
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs a program until it ends, but no longer than `limit`. It gets `input` on stdin, the `PATH` of
/// [`PROGRAM_DIRECTORIES`], `LC_ALL=C` and no other variable, and a process group of its own.
pub(crate) fn run(program: &Path, args: &[&str], input: &[u8], limit: Duration) -> Result<Ended, RunError> {
    let output = output_file()?;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PROGRAM_DIRECTORIES.join(":")).env("LC_ALL", "C").current_dir("/");
    command.stdin(input_file(input)?).stdout(output.try_clone()?).stderr(output.try_clone()?).process_group(0);
    let mut child = command.spawn()?;
    match wait(&mut child, limit) {
        Ok(Some(status)) => Ok(Ended { status, output: one_line(&written(output)?) }),
        Ok(None) => {
            give_up(child);
            Err(RunError::TimedOut(limit))
        }
        Err(error) => {
            give_up(child);
            Err(error.into())
        }
    }
}

/// A file in memory that holds the input. A pipe would have to be written to for as long as the program likes.
fn input_file(input: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    Ok(file)
}

/// A file in memory that cannot grow. A pipe would have to be read for as long as somebody holds it.
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

/// Kills a program with its process group, and leaves it to a thread that reaps it: one that hangs in the kernel does not even die
/// of SIGKILL before that lets it go.
fn give_up(mut child: Child) {
    // An error means that the whole group is gone.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    // Without a thread it stays a zombie until the daemon ends.
    let _ = thread::Builder::new().name("reaper".to_owned()).spawn(move || child.wait());
}

/// Output as part of an error: printable, on one line.
fn one_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().map(|line| line.replace(char::is_control, " ").trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
