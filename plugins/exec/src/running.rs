//! A program that runs.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpid};

use crate::budget::Held;
use crate::jobs::Jobs;
use crate::status;
use crate::stream::Stream;

/// A program from its start until it has been reaped. All its descriptors are non-blocking, but for the first.
pub(crate) struct Running {
    /// The program, and its process group.
    pub pid: Pid,
    /// See [`crate::end`].
    pub end: OwnedFd,
    /// What it has still to read.
    pub input: Option<Input>,
    /// Its stdout, or both streams.
    pub output: Option<Stream>,
    /// Its stderr.
    pub error: Option<Stream>,
    /// When it is to be killed.
    pub kill_at: Option<Instant>,
}

/// A program's input, on its way.
pub(crate) struct Input {
    /// The writing end of its stdin.
    pub pipe: PipeWriter,
    /// All of it.
    pub data: Vec<u8>,
    /// How much of it was written.
    pub written: usize,
    /// The room that it takes.
    pub _room: Held,
}

/// A program that has ended: the answer of `guest-exec-status`, the room of its output, and the pipes that other
/// processes may still hold.
pub(crate) struct Ended {
    pub answer: Vec<u8>,
    pub held: Held,
    pub pipes: Vec<PipeReader>,
}

/// How a program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else has reaped it.
    Unknown,
}

impl Running {
    /// Adds what is to be watched. [`Running::serve`] takes the results in the same order.
    pub(crate) fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.end, PollFlags::IN));
        if let Some(input) = &self.input {
            fds.push(PollFd::new(&input.pipe, PollFlags::OUT));
        }
        for stream in [&self.output, &self.error].into_iter().flatten() {
            if let Some(pipe) = stream.pipe() {
                fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
            }
        }
    }

    /// Does what can be done without waiting. Returns how the program has ended, if it has.
    pub(crate) fn serve(
        &mut self,
        ready: &mut impl Iterator<Item = bool>,
        jobs: &Jobs,
        chunk: &mut [u8],
    ) -> Option<Exit> {
        let mut next = || ready.next().unwrap_or(false);
        let has_ended = next();
        if self.input.is_some() && next() {
            self.write_input();
        }
        for stream in [&mut self.output, &mut self.error].into_iter().flatten() {
            if stream.pipe().is_some() && next() {
                stream.read(jobs, chunk);
            }
        }
        if has_ended { exit_of(self.pid) } else { None }
    }

    fn write_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        match input.pipe.write(input.data.get(input.written..).unwrap_or_default()) {
            Ok(length) if length > 0 => input.written += length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Nobody reads it any more. The daemon, as every Rust program, ignores SIGPIPE.
            Ok(_) | Err(_) => self.input = None,
        }
        if self.input.as_ref().is_some_and(|input| input.written == input.data.len()) {
            self.input = None;
        }
    }

    /// Kills the program and its process group. The number is not another's: it is not reaped yet.
    pub(crate) fn kill(&mut self) {
        self.kill_at = None;
        // An error means that the whole group is gone.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Makes the result of a program that has ended, which is still to be reaped.
    pub(crate) fn finish(self, exit: Exit, jobs: &Jobs, chunk: &mut [u8]) -> Ended {
        let mut ended = Ended { answer: Vec::new(), held: jobs.no_room(), pipes: Vec::new() };
        let [output, error] = [self.output, self.error].map(|stream| {
            let (captured, pipe) = stream?.finish(jobs, chunk);
            ended.pipes.extend(pipe);
            Some(captured)
        });
        ended.answer = status::finished(exit, output.as_ref(), error.as_ref());
        for captured in [output, error].into_iter().flatten() {
            ended.held.absorb(captured.held);
        }
        ended
    }
}

/// How a child has ended, if it has. It is not reaped by that.
fn exit_of(pid: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(pid), options) {
        Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (_, Some(signal)) => Exit::Signal(signal),
            _ => Exit::Unknown,
        }),
        Ok(None) | Err(Errno::INTR) => None,
        Err(_) => Some(Exit::Unknown),
    }
}

/// Reaps a child that has ended, after which the kernel may give its number to another process.
pub(crate) fn reap(pid: Pid) {
    // It fails only where somebody else has done it.
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
}

/// Adds a pipe that is only emptied.
pub(crate) fn watch_pipe<'a>(pipe: &'a PipeReader, fds: &mut Vec<PollFd<'a>>) {
    fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN));
}
