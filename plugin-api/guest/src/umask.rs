//! The umask. The daemon's own is 077, so that nothing it makes can be read by others unless it says so. Programs that it
//! starts, and files that a client makes, get the one that the daemon was started with (`HostFacts::umask` of `guestd-sdk`).

use std::io;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

/// The umask of a process that was not given another: new files are readable by all and writable by their owner.
pub const DEFAULT: u32 = 0o022;

/// What the thread needs that makes a system call or two.
const STACK_SIZE: usize = 64 << 10;

/// Gives the process a umask, for all of its threads, and returns the one before.
pub fn set(mask: u32) -> u32 {
    umask(Mode::from_bits_truncate(mask)).bits()
}

/// Runs `work` under another umask than the process has, which is not touched: on a thread that shares it no longer
/// (unshare(2), `CLONE_FS`). What `work` starts inherits it.
///
/// Where a sandbox forbids unshare(2), as Docker's does, `work` runs under the process's own. Fails where there can be no thread.
pub fn with<T: Send>(mask: u32, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let under_mask = || {
        if unshare(CloneFlags::CLONE_FS).is_ok() {
            set(mask);
        }
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("umask".to_owned()).stack_size(STACK_SIZE);
        let thread = thread.spawn_scoped(scope, under_mask)?;
        thread.join().map_err(|_| io::Error::other("a thread has panicked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn what_is_made_and_started_has_it_and_the_process_keeps_its_own() {
        let status = || fs::read_to_string("/proc/self/status").unwrap();
        let own = status().lines().find_map(|line| line.strip_prefix("Umask:\t").map(str::to_owned)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let said = with(0o027, || {
            fs::write(&path, "").unwrap();
            Command::new("sh").args(["-c", "umask"]).output().unwrap().stdout
        });
        assert_eq!(String::from_utf8(said.unwrap()).unwrap(), "0027\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(status().contains(&format!("Umask:\t{own}\n")));
    }
}
