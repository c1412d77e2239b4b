//! Running one half of one hook, for a limited time.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use guestd_sdk::CommandError;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

/// What is kept of a hook's output, in bytes; the rest is read and thrown away.
const KEPT: usize = 64 << 10;
/// How long a killed hook is waited for. One that waits for a dead disk cannot die.
const DYING: Duration = Duration::from_secs(2);
/// How often a hook is looked at on kernels before 5.3, which have no pidfd_open(2).
const GLANCE: Duration = Duration::from_millis(10);

/// The argument that a hook is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Before the freeze.
    Freeze,
    /// After the thaw.
    Thaw,
}

/// How a half ended.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed, with its process group, when its time was over.
    TimedOut(Duration),
    /// Killed, with its process group, when the freeze was undone meanwhile.
    Aborted,
    /// It was never started.
    NotStarted(io::Error),
    /// It ended, and somebody else in this process took its status.
    Lost,
}

/// How a half ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub end: End,
    /// What it wrote to its standard output and error, at most [`KEPT`] bytes.
    pub output: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

/// Ends the hook that is running, if one is, and every one that is run later.
#[derive(Debug)]
pub struct Abort(OwnedFd);

impl Abort {
    /// Not yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Now.
    pub fn fire(&self) {
        // It can only fail when the counter is full, and then it has fired already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Ended {
    /// Whether the half did what it should.
    pub fn succeeded(&self) -> bool {
        matches!(self.end, End::Exited(status) if status.success())
    }

    /// Whether anything of the hook was run.
    pub fn started(&self) -> bool {
        !matches!(self.end, End::NotStarted(_))
    }

    /// Why it failed: its own words if it said any, as qemu-ga has it.
    pub fn failure(&self, path: &Path) -> String {
        match &self.end {
            End::Exited(_) if !self.output.is_empty() => String::from_utf8_lossy(&self.output).into_owned(),
            End::NotStarted(error) => {
                format!("{}\n", CommandError::os(format!("failed to exec '{}'", path.display()), error).desc())
            }
            _ => self.how(),
        }
    }

    /// How it ended, in a few words.
    pub fn how(&self) -> String {
        match &self.end {
            End::Exited(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (_, Some(signal)) => format!("killed by signal {signal}"),
                _ => "ended".to_owned(),
            },
            End::TimedOut(limit) => format!("not done within {} s, and killed", limit.as_secs_f32()),
            End::Aborted => "killed, since the freeze was undone meanwhile".to_owned(),
            End::Lost => "its exit status is lost".to_owned(),
            End::NotStarted(error) => CommandError::os("not started", error).desc().to_owned(),
        }
    }
}

/// Runs one half of a hook in a process group of its own, without standard input, and waits for it.
///
/// A process that it leaves behind, as one that holds a database's lock, goes on. Its standard output is no longer
/// read then.
pub fn run(path: &Path, half: Half, limit: Duration, abort: Option<&Abort>) -> Ended {
    let started = Instant::now();
    let argument = match half {
        Half::Freeze => "freeze",
        Half::Thaw => "thaw",
    };
    let mut output = Vec::new();
    let end = match start(path, argument) {
        Ok((child, pipe)) => wait(child, pipe, limit, abort, &mut output),
        Err(error) => End::NotStarted(error),
    };
    Ended { end, output, took: started.elapsed() }
}

fn start(path: &Path, argument: &str) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let mut command = Command::new(path);
    command.arg(argument).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    Ok((command.spawn()?, reader))
}

fn wait(mut child: Child, mut pipe: PipeReader, limit: Duration, abort: Option<&Abort>, output: &mut Vec<u8>) -> End {
    let started = Instant::now();
    let pid = Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
    loop {
        let still_open = drain(&mut pipe, output);
        match child.try_wait() {
            Ok(Some(status)) => {
                drain(&mut pipe, output);
                return End::Exited(status);
            }
            Ok(None) => {}
            Err(_) => return End::Lost,
        }
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            kill(child, pid);
            return End::TimedOut(limit);
        }
        let wait = if pidfd.is_some() { left } else { left.min(GLANCE) };
        let fds =
            [pidfd.as_ref().map(AsFd::as_fd), abort.map(|abort| abort.0.as_fd()), still_open.then(|| pipe.as_fd())];
        if wait_for(fds, wait).is_some_and(|ready| ready == 1) {
            kill(child, pid);
            return End::Aborted;
        }
    }
}

/// Waits until one of the descriptors can be read; returns the place of the second if it is that one, else any
/// that is ready.
fn wait_for(fds: [Option<BorrowedFd<'_>>; 3], limit: Duration) -> Option<usize> {
    let present = fds.into_iter().enumerate().filter_map(|(place, fd)| Some((place, fd?)));
    let (places, mut polled): (Vec<usize>, Vec<PollFd<'_>>) =
        present.map(|(place, fd)| (place, PollFd::from_borrowed_fd(fd, PollFlags::IN))).unzip();
    let timeout = Timespec::try_from(limit).ok();
    // Interrupted by a signal: the caller looks at everything again.
    poll(&mut polled, timeout.as_ref()).ok()?;
    let ready = |(place, fd): (&usize, &PollFd<'_>)| (!fd.revents().is_empty()).then_some(*place);
    let ready: Vec<usize> = places.iter().zip(&polled).filter_map(ready).collect();
    ready.iter().copied().find(|place| *place == 1).or_else(|| ready.first().copied())
}

/// Reads what there is. False: nothing more will come.
fn drain(pipe: &mut PipeReader, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    // A hook that writes without end must not keep this from looking at the time.
    for _ in 0..256 {
        match pipe.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                let room = KEPT.saturating_sub(output.len());
                output.extend(buffer.iter().take(count.min(room)));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// Kills a hook with all that it has started in its process group.
fn kill(mut child: Child, group: Pid) {
    // The group is the hook's own as long as the hook has not been waited for.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let pidfd = rustix::process::pidfd_open(group, PidfdFlags::empty()).ok();
    let dead = pidfd.is_some_and(|pidfd| wait_for([Some(pidfd.as_fd()), None, None], DYING).is_some());
    if dead {
        let _ = child.wait();
    } else {
        // It waits for a disk. When that answers, or never, this thread ends.
        let _ = std::thread::Builder::new().name("fsfreeze-reaper".to_owned()).spawn(move || child.wait());
    }
}
