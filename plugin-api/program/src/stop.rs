//! Ending programs from another thread.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use crate::wait::wait;

/// Ends the programs that run with it, and those that are run with it later.
#[derive(Debug)]
pub struct Stop(OwnedFd);

impl Stop {
    /// Not yet. The error is that of eventfd(2).
    #[inline]
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Now, and from now on.
    #[inline]
    pub fn fire(&self) {
        // It can only fail when the counter is full, and then it has fired already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    #[inline]
    pub(crate) fn has_fired(&self) -> bool {
        wait(&mut [self.polled()], Duration::ZERO)
    }

    #[inline]
    pub(crate) fn polled(&self) -> PollFd<'_> {
        PollFd::new(&self.0, PollFlags::IN)
    }
}
