//! The thread that watches over all programs.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guestd_sdk::{Daemon, LogLevel};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::jobs::Jobs;
use crate::running::{Exit, Running, reap, watch_pipe};
use crate::stream::CHUNK;

/// How many pipes of programs that have ended are emptied for those who still write to them.
const LEFT_PIPES: usize = 64;

/// How long the thread waits where poll(2) itself fails, as for want of memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to the thread.
pub(crate) struct Watcher(Mutex<Option<Arc<Inbox>>>);

/// Programs on their way to the thread.
struct Inbox {
    started: Mutex<Vec<Running>>,
    /// An eventfd, readable when there are some.
    bell: OwnedFd,
}

impl Watcher {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Starts the thread, unless it runs.
    pub(crate) fn start(&self, jobs: &Arc<Jobs>, daemon: &Daemon) -> io::Result<()> {
        let mut inbox = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.is_none() {
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let made = Arc::new(Inbox { started: Mutex::new(Vec::new()), bell });
            let watch = Watch {
                inbox: Arc::clone(&made),
                jobs: Arc::clone(jobs),
                daemon: daemon.clone(),
                running: Vec::new(),
                left: VecDeque::new(),
            };
            thread::Builder::new().name("exec".to_owned()).spawn(move || watch.run())?;
            *inbox = Some(made);
        }
        Ok(())
    }

    /// Hands a program to the thread, which [`Watcher::start`] has started.
    pub(crate) fn watch(&self, running: Running) {
        let inbox = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inbox) = &*inbox {
            inbox.started.lock().unwrap_or_else(PoisonError::into_inner).push(running);
            // It fails only where it has been rung 2^64 times.
            let _ = rustix::io::write(&inbox.bell, &1u64.to_ne_bytes());
        }
    }
}

/// What the thread works on.
struct Watch {
    inbox: Arc<Inbox>,
    jobs: Arc<Jobs>,
    daemon: Daemon,
    running: Vec<Running>,
    /// Pipes of programs that have ended, the oldest first.
    left: VecDeque<PipeReader>,
}

impl Watch {
    fn run(mut self) {
        let mut chunk = vec![0; CHUNK];
        loop {
            match self.wait() {
                Ok(ready) => self.serve(&ready, &mut chunk),
                Err(error) => {
                    self.daemon.log(LogLevel::Error, format_args!("poll(2): {error}"));
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Waits until there is something to do, and returns for each descriptor whether it is that.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let mut fds = Vec::with_capacity(1 + 4 * self.running.len() + self.left.len());
        fds.push(PollFd::new(&self.inbox.bell, PollFlags::IN));
        self.running.iter().for_each(|running| running.watch(&mut fds));
        self.left.iter().for_each(|pipe| watch_pipe(pipe, &mut fds));
        let kill_at = self.running.iter().filter_map(|running| running.kill_at).min();
        let timeout = kill_at.and_then(|at| Timespec::try_from(at.saturating_duration_since(Instant::now())).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(error) => Err(error.into()),
        }
    }

    fn serve(&mut self, ready: &[bool], chunk: &mut [u8]) {
        let mut ready = ready.iter().copied();
        let has_more = ready.next().unwrap_or(false);
        let serve = |running: &mut Running| running.serve(&mut ready, &self.jobs, chunk);
        let exits: Vec<Option<Exit>> = self.running.iter_mut().map(serve).collect();
        self.left.retain_mut(|pipe| !ready.next().unwrap_or(false) || is_open(pipe, chunk));
        for (running, exit) in std::mem::take(&mut self.running).into_iter().zip(exits) {
            match exit {
                Some(exit) => self.finish(running, exit, chunk),
                None => self.running.push(running),
            }
        }
        self.kill_late();
        if has_more {
            self.take_in();
        }
    }

    fn finish(&mut self, running: Running, exit: Exit, chunk: &mut [u8]) {
        let pid = running.pid;
        let ended = running.finish(exit, &self.jobs, chunk);
        self.daemon.log(LogLevel::Debug, format_args!("process {pid} has ended: {exit:?}"));
        self.jobs.finish(pid.as_raw_pid().into(), ended.answer, ended.held, || reap(pid));
        self.left.extend(ended.pipes);
        while self.left.len() > LEFT_PIPES {
            self.left.pop_front();
        }
    }

    fn kill_late(&mut self) {
        let now = Instant::now();
        for running in &mut self.running {
            if running.kill_at.is_some_and(|at| at <= now) {
                self.daemon.log(LogLevel::Warn, format_args!("process {} is killed at its timeout", running.pid));
                running.kill();
            }
        }
    }

    fn take_in(&mut self) {
        let mut count = [0; 8];
        // The bell is silenced first: who rings it after this is heard again.
        let _ = rustix::io::read(&self.inbox.bell, &mut count);
        self.running.append(&mut self.inbox.started.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Empties a pipe, a chunk of it, and returns whether anybody may still write to it.
fn is_open(pipe: &mut PipeReader, chunk: &mut [u8]) -> bool {
    match pipe.read(chunk) {
        Ok(length) => length > 0,
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}
