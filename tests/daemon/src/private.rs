//! A mount namespace of a test's own.

use guestd_sdk::testkit;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Puts the calling thread, and what it starts from now on, into a mount namespace of its own, where nothing that is mounted
/// reaches the machine. A test's thread ends with the test, and the namespace with its last process. Where this needs root
/// and there is none, says that the test is skipped and returns false.
#[must_use]
pub fn enter() -> bool {
    if !nix::unistd::geteuid().is_root() {
        testkit::skip("mounting needs root");
        return false;
    }
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own");
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).expect("private mounts");
    true
}
