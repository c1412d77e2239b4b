//! A process that gets nothing of the daemon's.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{Gid, Pid, Signal, Uid, getpid, getppid, set_parent_process_death_signal, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The user that a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// The numbers of all groups that the user is a member of (getgrouplist(3)).
    pub groups: Vec<u32>,
}

/// Has the process that becomes the program give up what is the daemon's, and end with the daemon. Returns whom it runs
/// as, if it is another user.
#[inline]
pub(crate) fn confine(command: &mut Command, user: Option<User>) -> Option<(Uid, Gid)> {
    let rights = user.map(|user| Rights {
        uid: Uid::from_raw(user.uid),
        gid: Gid::from_raw(user.gid),
        groups: user.groups.into_iter().map(Gid::from_raw).collect(),
    });
    let owner = rights.as_ref().map(|rights| (rights.uid, rights.gid));
    let daemon = getpid();
    // SAFETY: `prepare` makes system calls only, by functions that neither allocate nor lock; what it reads was made before
    // the fork.
    unsafe { command.pre_exec(move || prepare(rights.as_ref(), daemon)) };
    owner
}

/// A user's rights as system calls take them.
struct Rights {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// What a program's process does before it becomes the program.
#[inline]
fn prepare(rights: Option<&Rights>, daemon: Pid) -> io::Result<()> {
    // Descriptors of the daemon and of other plugins that lack the mark; an error means a kernel before 5.11.
    // SAFETY: marks descriptors in this process, which is about to be replaced, and touches no memory.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    umask(Mode::WGRP | Mode::WOTH);
    if let Some(rights) = rights {
        set_thread_groups(&rights.groups)?;
        set_thread_res_gid(rights.gid, rights.gid, rights.gid)?;
        set_thread_res_uid(rights.uid, rights.uid, rights.uid)?;
    }
    // To become another user undoes this, so it comes after that.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The daemon may have ended before.
    if getppid() == Some(daemon) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}
