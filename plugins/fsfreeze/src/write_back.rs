//! Writing file systems back while nobody is halted, so that little is left to do when everybody is.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use guestd_sdk::CommandError;

use crate::kernel::limited::Limited;
use crate::plan::mountinfo::Mount;

/// What is less than this, in bytes, is left to the freeze, which takes some tenths of a second for it on a slow disk.
const LITTLE: u64 = 32 << 20;
/// So is what is less than this for each file system: a disk writes that while it would be flushed once more, which
/// writing back beforehand costs each of them.
const LITTLE_EACH: u64 = 256 << 10;
/// So many file systems are written back at a time: most of it is waiting for disks, and each thread has a stack.
const AT_ONCE: usize = 8;
/// A thread waits for one system call after the other.
const STACK: usize = 64 << 10;

/// Writes all of them back, several at a time, unless there is little to write. What cannot be is left to the freeze,
/// which will tell; what does not come back is an error that names it.
pub fn write_back(kernel: &Limited, targets: &[(Mount, Arc<OwnedFd>)]) -> Result<(), CommandError> {
    let little = LITTLE_EACH.saturating_mul(u64::try_from(targets.len()).unwrap_or(u64::MAX)).max(LITTLE);
    if kernel.kernel().dirty().is_some_and(|bytes| bytes < little) {
        return Ok(());
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    let work = || {
        while let Some((mount, mounted)) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(no_answer) = kernel.sync(mount.device, mounted) {
                let text = format!("failed to write {} back: {no_answer}", mount.point.display());
                let error = crate::freeze::with_remedy(&text, &mount.point);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..targets.len().min(AT_ONCE) {
            let builder = thread::Builder::new().name("fsfreeze-sync".to_owned()).stack_size(STACK);
            if builder.spawn_scoped(scope, work).is_err() {
                // Without memory for one more, those that there are do its work.
                break;
            }
        }
        work();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
