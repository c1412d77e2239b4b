//! `guest-exec`: starts a program.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestd_guest::umask;
use guestd_sdk::answer::Answer;
use guestd_sdk::prelude::*;
use guestd_sdk::{args, base64};
use rustix::io::ioctl_fionbio;
use rustix::process::{Signal, WaitOptions, kill_process_group, waitpid};

use crate::arguments::{Capture, ExecArgs};
use crate::budget::Held;
use crate::config::Config;
use crate::end;
use crate::jobs::Jobs;
use crate::running::{Input, Running};
use crate::spawn::Program;
use crate::stream::Stream;
use crate::watcher::Watcher;

/// The state of the set.
pub struct Exec {
    pub(crate) jobs: Arc<Jobs>,
    watcher: Watcher,
    /// The umask of programs.
    umask: u32,
}

/// QEMU's `GuestExec`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Started {
    /// The process number.
    pid: i32,
}

impl Exec {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        Ok(Self {
            jobs: Arc::new(Jobs::new(Config::read(daemon)?)),
            watcher: Watcher::new(),
            umask: daemon.facts().umask,
        })
    }

    pub(crate) fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        ctx.state.jobs.set_limits(Config::read(ctx)?);
        Ok(())
    }
}

/// `guest-exec`: starts a program and answers its process number. What becomes of it, `guest-exec-status` tells.
///
/// Fails where the program cannot be started, in qemu-ga's words, and where a limit of the configuration is reached.
pub fn exec(ctx: &Ctx<Exec>, request: Request) -> Result<Reply, CommandError> {
    let begin = Instant::now();
    let args: ExecArgs<'_> = args::parse(args::text_of(&request)?)?;
    let input = base64::decode(args.input_data.as_deref().unwrap_or_default())?;
    let name = args.path;
    let not_started = |error: io::Error| {
        let text = error.to_string();
        let reason = text.split(" (os error ").next().unwrap_or_default();
        CommandError::new(format!("Failed to execute child process \u{201c}{name}\u{201d} ({reason})"))
    };
    let jobs = &ctx.state.jobs;
    let place = jobs.place()?;
    let room = room_for(&input, jobs)?;
    ctx.state.watcher.start(jobs, ctx).map_err(not_started)?;
    let program = Program::new(&name, args.arg.unwrap_or_default(), args.env).map_err(not_started)?;
    let mut running = start(&program, input, room, args.capture_output, &ctx.state).map_err(not_started)?;

    let pid = running.pid.as_raw_pid();
    ctx.info(format_args!("guest-exec: process {pid} is {name}"));
    let deadline = Duration::from_millis(request.deadline_ms.into());
    if !deadline.is_zero() && begin.elapsed() >= deadline {
        ctx.warn(format_args!("process {pid} is killed: it was started too late, the client does not know of it"));
        running.kill();
    } else {
        running.kill_at = jobs.run_time().and_then(|limit| begin.checked_add(limit));
    }
    place.give_to(pid.into());
    ctx.state.watcher.watch(running);
    Started { pid }.into_reply()
}

/// Room for input that nobody has read yet.
fn room_for(input: &[u8], jobs: &Jobs) -> Result<Held, CommandError> {
    let mut room = jobs.no_room();
    if jobs.grow(&mut room, input.len()) < input.len() {
        return Err(CommandError::new("too much output and input of programs is waiting (max-output)"));
    }
    Ok(room)
}

/// Starts a program with the pipes that it needs. What it shall not read or write is /dev/null.
fn start(program: &Program, input: Vec<u8>, room: Held, capture: Capture, state: &Exec) -> io::Result<Running> {
    let jobs = &state.jobs;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (stdin, input) = match input.is_empty() {
        true => (None, None),
        false => {
            let (theirs, ours) = io::pipe()?;
            ioctl_fionbio(&ours, true)?;
            (Some(theirs), Some(Input { pipe: ours, data: input, written: 0, _room: room }))
        }
    };
    let (stdout, output) = pipe_if(matches!(capture, Capture::Stdout | Capture::Separated | Capture::Merged), jobs)?;
    let (stderr, error) = pipe_if(matches!(capture, Capture::Stderr | Capture::Separated), jobs)?;
    let merged = if capture == Capture::Merged { stdout.as_ref() } else { None };
    let stdio = [
        stdin.as_ref().map_or(null.as_fd(), AsFd::as_fd),
        stdout.as_ref().map_or(null.as_fd(), AsFd::as_fd),
        stderr.as_ref().or(merged).map_or(null.as_fd(), AsFd::as_fd),
    ];
    let pid = umask::with(state.umask, || program.spawn(stdio))??;
    match end::watch(pid) {
        Ok(end) => Ok(Running { pid, end, input, output, error, kill_at: None }),
        Err(error) => {
            // A program that nobody watches must not run. An error here means that it has ended already.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            Err(error)
        }
    }
}

/// A pipe, if one is wanted: the end to write to, and the stream that is read from the other.
fn pipe_if(wanted: bool, jobs: &Jobs) -> io::Result<(Option<PipeWriter>, Option<Stream>)> {
    if !wanted {
        return Ok((None, None));
    }
    let (ours, theirs) = io::pipe()?;
    ioctl_fionbio(&ours, true)?;
    Ok((Some(theirs), Some(Stream::new(ours, jobs))))
}
