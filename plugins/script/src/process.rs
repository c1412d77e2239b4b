//! Running one program: without a shell, in a process group of its own, as another user where that is wanted, with limits for its time
//! and its output, and no zombie.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fchown, fcntl_add_seals, fcntl_setfl, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, getppid, kill_process_group, pidfd_open};

use crate::identity::Identity;

/// How much a program may write to its standard output, in bytes; for more it is killed.
pub(crate) const OUTPUT_LIMIT: usize = 4 << 20;
/// How much of its standard error is kept, in bytes; the rest is read and thrown away.
const ERROR_LIMIT: usize = 64 << 10;
/// How much is read at a time, in bytes.
const CHUNK: usize = 64 << 10;
/// How many chunks are read before the time is looked at again.
const CHUNKS: usize = 16;
/// How long a killed program is waited for. One that waits for a dead disk does not die before that answers.
const DYING: Duration = Duration::from_secs(2);
/// How often a program is looked at on kernels before 5.3, which have no pidfd_open(2).
const GLANCE: Duration = Duration::from_millis(10);

/// A program to run.
pub(crate) struct Job<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its parameters.
    pub parameters: Vec<OsString>,
    /// Its standard input; `None`: nothing.
    pub input: Option<&'a [u8]>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory that it runs in.
    pub directory: &'a Path,
    /// The user that it runs as; `None`: the daemon's.
    pub user: Option<&'a Identity>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed, when its time was over.
    TimedOut,
    /// Killed, when it had written more than [`OUTPUT_LIMIT`].
    TooMuchOutput,
    /// Killed, since the daemon ends.
    Stopped,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How.
    pub end: End,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// Ends the programs that run, and those that are started later.
#[derive(Debug)]
pub(crate) struct Stop(OwnedFd);

impl Stop {
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

/// Runs a program until it ends, but no longer than `until`; then it is killed with its whole process group. What a
/// program that ends in time leaves running goes on; nobody reads its output any more.
pub(crate) fn run(job: &Job<'_>, until: Instant, stop: &Stop) -> io::Result<Ended> {
    if until <= Instant::now() {
        return Ok(Ended { end: End::TimedOut, stdout: Vec::new(), stderr: Vec::new() });
    }
    let mut running = Running::start(job)?;
    let watched = running.watch(until, stop);
    if !matches!(watched, Ok(End::Exited(_))) {
        running.kill();
    }
    Ok(Ended { end: watched?, stdout: running.stdout.text, stderr: running.stderr.text })
}

struct Running {
    child: Option<Child>,
    group: Pid,
    stdout: Stream,
    stderr: Stream,
    chunk: Vec<u8>,
}

/// What comes out of a program.
struct Stream {
    pipe: PipeReader,
    open: bool,
    /// What is kept of it.
    text: Vec<u8>,
    /// How much of it is kept.
    limit: usize,
}

impl Running {
    fn start(job: &Job<'_>) -> io::Result<Self> {
        let (stdout, to_stdout) = Stream::new(OUTPUT_LIMIT + 1, job.user)?;
        let (stderr, to_stderr) = Stream::new(ERROR_LIMIT, job.user)?;
        let mut command = Command::new(job.program);
        command.args(&job.parameters).env_clear().envs(job.environment.iter().map(|(key, value)| (key, value)));
        command.current_dir(job.directory).process_group(0).stdout(to_stdout).stderr(to_stderr);
        command.stdin(job.input.map_or_else(|| Ok(Stdio::null()), |input| input_file(input).map(Stdio::from))?);
        let (user, daemon) = (job.user.cloned(), getpid());
        // SAFETY: `prepare` makes system calls only, by functions that neither allocate nor lock; what it reads was
        // copied before the fork.
        unsafe { command.pre_exec(move || prepare(user.as_ref(), daemon)) };
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        Ok(Self { child: Some(child), group, stdout, stderr, chunk: vec![0; CHUNK] })
    }

    /// Reads what comes until the program ends, or has to be killed.
    fn watch(&mut self, until: Instant, stop: &Stop) -> io::Result<End> {
        let pidfd = pidfd_open(self.group, PidfdFlags::empty()).ok();
        loop {
            // Looked at first: what a program has written before its end is there when it has ended.
            let status = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            self.stdout.drain(&mut self.chunk);
            self.stderr.drain(&mut self.chunk);
            if self.stdout.text.len() > OUTPUT_LIMIT {
                return Ok(End::TooMuchOutput);
            }
            if let Some(status) = status {
                return Ok(End::Exited(status));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::TimedOut);
            }
            let wait = if pidfd.is_some() { left } else { left.min(GLANCE) };
            let streams = [&self.stdout, &self.stderr].into_iter().filter(|stream| stream.open);
            let fds = pidfd.iter().map(AsFd::as_fd).chain(streams.map(|stream| stream.pipe.as_fd()));
            if wait_for(stop.0.as_fd(), fds, wait) {
                return Ok(End::Stopped);
            }
        }
    }

    /// Kills the program, with all in its process group.
    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The group is the program's own as long as it has not been waited for. An error means that all are gone.
        let _ = kill_process_group(self.group, Signal::KILL);
        let pidfd = pidfd_open(self.group, PidfdFlags::empty()).ok();
        if pidfd.is_some_and(|pidfd| is_ready(pidfd.as_fd(), DYING)) {
            let _ = child.wait();
        } else {
            // It waits for a disk. When that answers, or never, this thread ends.
            let _ = std::thread::Builder::new().name("script-reaper".to_owned()).spawn(move || child.wait());
        }
    }
}

/// What a program's process does before it becomes the program.
fn prepare(user: Option<&Identity>, daemon: Pid) -> io::Result<()> {
    /// From linux/close_range.h: marks descriptors instead of closing them.
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // Descriptors of the daemon and of other plugins that lack the mark; an error means a kernel before 5.11.
    // SAFETY: marks descriptors in this process, which is about to be replaced, and touches no memory.
    unsafe { nix::libc::syscall(nix::libc::SYS_close_range, 3, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    if let Some(user) = user {
        rustix::thread::set_thread_groups(&user.groups)?;
        rustix::thread::set_thread_res_gid(user.gid, user.gid, user.gid)?;
        rustix::thread::set_thread_res_uid(user.uid, user.uid, user.uid)?;
    }
    // Without the daemon there is nobody to end it in time. To become another user undoes this, so it comes after that.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() == Some(daemon) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}

/// A file in memory that holds the input. A pipe would have to be written to for as long as the program likes.
fn input_file(input: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(input)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

impl Stream {
    fn new(limit: usize, user: Option<&Identity>) -> io::Result<(Self, Stdio)> {
        let (pipe, writer) = io::pipe()?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        if let Some(user) = user {
            // /dev/stdout and /dev/stderr are opened anew, for which the pipe has to be the user's.
            fchown(&writer, Some(user.uid), Some(user.gid))?;
        }
        Ok((Self { pipe, open: true, text: Vec::new(), limit }, writer.into()))
    }

    /// Reads what there is, and throws away what is not kept.
    fn drain(&mut self, chunk: &mut [u8]) {
        for _ in 0..CHUNKS {
            if !self.open {
                return;
            }
            match self.pipe.read(chunk) {
                Ok(0) => self.open = false,
                Ok(count) => {
                    let room = self.limit.saturating_sub(self.text.len());
                    self.text.extend(chunk.iter().take(count.min(room)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.open &= error.kind() == io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }
}

/// Waits until one of the descriptors can be read. Returns whether `stop` is one.
fn wait_for<'a>(stop: BorrowedFd<'a>, fds: impl Iterator<Item = BorrowedFd<'a>>, limit: Duration) -> bool {
    let all = std::iter::once(stop).chain(fds);
    let mut polled: Vec<PollFd<'a>> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(limit).ok();
    // Interrupted by a signal: the caller looks at everything again.
    poll(&mut polled, timeout.as_ref()).is_ok() && polled.first().is_some_and(|stop| !stop.revents().is_empty())
}

fn is_ready(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    wait_for(fd, std::iter::empty(), limit)
}
