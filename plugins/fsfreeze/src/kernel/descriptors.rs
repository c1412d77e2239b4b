//! Room for as many open file systems as there are.
//!
//! The soft limit on descriptors is 1024 as a rule, for programs that use select(2) (getrlimit(2), RLIMIT_NOFILE); a
//! guest may have more file systems. The limit holds for new numbers only, so a descriptor that was moved beyond it
//! stays, and programs that are started meanwhile, as hooks, have the limit that the agent was given.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Held while the limit is raised, so that nobody takes the raised one for the one to go back to.
static RAISED: Mutex<()> = Mutex::new(());

/// Moves a descriptor beyond the soft limit, if it lies in the upper half below it; the lower half is for all others.
/// Where that cannot be done it stays where it is.
pub fn out_of_the_way(fd: OwnedFd) -> OwnedFd {
    let _one_at_a_time = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = getrlimit(Resource::Nofile);
    let Some((limit, first)) = before.current.and_then(|limit| Some((limit, i32::try_from(limit).ok()?))) else {
        return fd;
    };
    if fd.as_raw_fd() < first / 2 || before.maximum.is_some_and(|maximum| maximum <= limit) {
        return fd;
    }
    if setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before }).is_err() {
        return fd;
    }
    let moved = rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), first);
    // Going back to a lower limit is never refused.
    let _ = setrlimit(Resource::Nofile, before);
    moved.unwrap_or(fd)
}
