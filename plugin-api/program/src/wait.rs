//! Waiting for descriptors.

use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

/// How often a program is looked at where nothing can be waited for, as on kernels before 5.3, which have no
/// pidfd_open(2).
pub(crate) const GLANCE: Duration = Duration::from_millis(10);

/// Waits until something has happened to one of the descriptors, but no longer than `limit`. Returns whether something
/// has; `false` may also mean that a signal has come in between.
#[inline]
pub(crate) fn wait(polled: &mut [PollFd<'_>], limit: Duration) -> bool {
    // What is too long for the kernel is without end.
    match poll(polled, Timespec::try_from(limit).ok().as_ref()) {
        Ok(ready) => ready > 0,
        Err(Errno::INTR) => false,
        Err(_) => {
            thread::sleep(limit.min(GLANCE));
            false
        }
    }
}
