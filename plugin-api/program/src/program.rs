//! What is run, and how.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use guestd_guest::{descriptors, umask};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{Gid, Uid};

use crate::confine::{User, confine};
use crate::ended::{End, Ended};
use crate::output::{Ends, Memory, Output, Together};
use crate::process::Process;
use crate::stop::Stop;

/// A program to run.
#[derive(Debug)]
#[must_use = "it is not run before `run` is called"]
pub struct Program<'a, O = Together> {
    command: Command,
    input: io::Result<Stdio>,
    output: O,
    /// Whom it runs as, if it is another user.
    user: Option<(Uid, Gid)>,
    stop: Option<&'a Stop>,
    left_at_limit: bool,
    /// `None`: the process sees to it itself.
    umask: Option<u32>,
}

impl<'a> Program<'a> {
    /// The program, parameters, environment and directory of `command`. Its standard streams and its process group are
    /// set here: the input is empty, the output [`Together::default`], and the group the program's own.
    #[inline]
    pub fn new(command: Command) -> Self {
        Self {
            command,
            input: Ok(Stdio::null()),
            output: Together::default(),
            user: None,
            stop: None,
            left_at_limit: false,
            umask: Some(umask::DEFAULT),
        }
    }

    /// Where its output goes, and how much of it may be.
    #[inline]
    pub fn output<O: Output>(self, output: O) -> Program<'a, O> {
        let Self { command, input, output: _, user, stop, left_at_limit, umask } = self;
        Program { command, input, output, user, stop, left_at_limit, umask }
    }
}

impl Program<'_, Memory> {
    /// At its limit it is not killed but goes on, and is waited for by a thread.
    #[inline]
    pub fn left_at_limit(self) -> Self {
        Self { left_at_limit: true, ..self }
    }
}

impl<'a, O: Output> Program<'a, O> {
    /// What it can read from its standard input. It need not. If there is no memory for it, [`run`](Program::run) fails.
    #[inline]
    pub fn input(self, input: &[u8]) -> Self {
        Self { input: input_file(input).map(Stdio::from), ..self }
    }

    /// Its umask, instead of 022.
    #[inline]
    pub fn umask(self, mask: u32) -> Self {
        Self { umask: Some(mask), ..self }
    }

    /// What ends it before its time.
    #[inline]
    pub fn stop(self, stop: &'a Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// It gets nothing of the daemon's: no descriptors but the standard three (from Linux 5.11 on), the umask 022, and,
    /// with `user`, that user's rights alone. It is killed when the daemon ends, whatever ends that: more exactly, when the thread
    /// ends that has called `run` (PR_SET_PDEATHSIG(2const)).
    #[inline]
    pub fn confined(mut self, user: Option<User>) -> Self {
        self.user = confine(&mut self.command, user);
        self.umask = None;
        self
    }

    /// Runs it until it ends, but no longer than `limit`. Then it is killed with its process group; one that waits for a dead
    /// disk does not die of that, and is left to a thread after two seconds.
    ///
    /// An error means that nothing was run: that of execve(2), of the limits of this process, or of becoming another user.
    #[inline]
    pub fn run(self, limit: Duration) -> io::Result<Ended> {
        let since = Instant::now();
        let (stop, left_at_limit) = (self.stop, self.left_at_limit);
        let not_started = |end| Ok(Ended { end, output: Vec::new(), errors: Vec::new() });
        if limit.is_zero() {
            return not_started(End::TimedOut(limit));
        }
        if stop.is_some_and(Stop::has_fired) {
            return not_started(End::Stopped);
        }
        let (mut process, mut ends) = self.start()?;
        let end = watch(&mut process, &mut ends, stop, since, limit);
        match end {
            End::Exited(_) | End::Lost => {}
            End::TimedOut(_) if left_at_limit => process.leave(),
            End::TimedOut(_) | End::TooMuchOutput | End::Stopped => process.kill(),
        }
        let (output, errors) = ends.into_texts();
        Ok(Ended { end, output, errors })
    }

    /// Starts it. The command ends here, as it holds the program's ends of pipes, which would never be closed.
    #[inline]
    fn start(mut self) -> io::Result<(Process, O::Ends)> {
        self.command.stdin(self.input?).process_group(0);
        descriptors::give_back(&mut self.command);
        let ends = self.output.connect(&mut self.command, self.user)?;
        let mut spawn = || self.command.spawn();
        let child = match self.umask {
            Some(mask) => umask::with(mask, spawn)??,
            None => spawn()?,
        };
        Ok((Process::new(child), ends))
    }
}

/// Reads what comes until the program has ended or has to be ended.
#[inline]
fn watch(process: &mut Process, ends: &mut impl Ends, stop: Option<&Stop>, since: Instant, limit: Duration) -> End {
    loop {
        // Looked at first: what a program has written before its end is there when it has ended.
        let status = process.status();
        ends.drain();
        if ends.is_too_much() {
            return End::TooMuchOutput;
        }
        match status {
            Ok(None) => {}
            Ok(Some(status)) => return End::Exited(status),
            Err(_) => return End::Lost,
        }
        if stop.is_some_and(Stop::has_fired) {
            return End::Stopped;
        }
        let left = limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            return End::TimedOut(limit);
        }
        let mut polled = Vec::new();
        if let Some(stop) = stop {
            polled.push(stop.polled());
        }
        ends.poll(&mut polled);
        process.wait(polled, left);
    }
}

/// A file in memory that holds the input. A pipe would have to be written to for as long as the program likes.
#[inline]
fn input_file(input: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(input)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}
