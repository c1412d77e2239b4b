//! A descriptor that tells of a process' end.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

/// A descriptor on which poll(2) reports something once the child `pid` has ended, which is not reaped by that: a
/// pidfd, or before Linux 5.3 a pipe whose other end is held by a thread that waits for the child.
pub(crate) fn watch(pid: Pid) -> io::Result<OwnedFd> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(pidfd),
        Err(Errno::NOSYS | Errno::PERM) => watch_by_thread(pid),
        Err(error) => Err(error.into()),
    }
}

fn watch_by_thread(pid: Pid) -> io::Result<OwnedFd> {
    let (end, held) = io::pipe()?;
    let wait = move || {
        while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
        drop(held);
    };
    thread::Builder::new().name(format!("wait {pid}")).stack_size(64 << 10).spawn(wait)?;
    Ok(end.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn reports(end: &OwnedFd, seconds: i64) -> bool {
        poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn both_kinds_report_the_end_and_leave_the_status() {
        for watch in [watch, watch_by_thread] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
            let end = watch(Pid::from_child(&child)).unwrap();
            assert!(!reports(&end, 0));
            let mut input = child.stdin.take().unwrap();
            input.write_all(b"x").unwrap();
            drop(input);
            assert!(reports(&end, 60));
            assert!(child.wait().unwrap().success());
        }
    }
}
