//! A process that runs: waiting for its end, and killing it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::wait::{GLANCE, wait};

/// How long a killed process is waited for. One that waits for a dead disk does not die before that answers.
const DYING: Duration = Duration::from_secs(2);

/// A child that leads its own process group.
pub(crate) struct Process {
    child: Child,
    /// Can be read when it has ended; `None` on kernels that have no pidfd_open(2).
    end: Option<OwnedFd>,
}

impl Process {
    #[inline]
    pub(crate) fn new(child: Child) -> Self {
        let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).ok();
        Self { child, end }
    }

    /// How it has ended, if it has.
    #[inline]
    pub(crate) fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it may have ended, or something has happened to one of `polled`, but no longer than `limit`.
    #[inline]
    pub(crate) fn wait<'a>(&'a self, mut polled: Vec<PollFd<'a>>, limit: Duration) {
        let limit = if let Some(end) = &self.end {
            polled.push(PollFd::new(end, PollFlags::IN));
            limit
        } else {
            limit.min(GLANCE)
        };
        wait(&mut polled, limit);
    }

    /// Kills it, with all in its process group, unless it has ended.
    #[inline]
    pub(crate) fn kill(mut self) {
        // The group's number is the child's own only as long as the child has not been waited for.
        if !matches!(self.status(), Ok(None)) {
            return;
        }
        // An error means that all are gone.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let since = Instant::now();
        while let Ok(None) = self.status() {
            let left = DYING.saturating_sub(since.elapsed());
            if left.is_zero() {
                return self.leave();
            }
            self.wait(Vec::new(), left);
        }
    }

    /// Leaves it to a thread that waits for it, so that it is no zombie when it has ended.
    #[inline]
    pub(crate) fn leave(mut self) {
        // Without a thread it stays one until the daemon ends.
        let _ = thread::Builder::new().name("reaper".to_owned()).spawn(move || self.child.wait());
    }
}
