//! Writing file systems back while nobody is halted, so that little is left to do when everybody is.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::kernel::Kernel;
use crate::plan::Target;

/// What is less than this, in bytes, is left to the freeze, which takes some tenths of a second for it on a slow disk.
const LITTLE: u64 = 32 << 20;
/// So is what is less than this for each file system: a disk writes that while it would be flushed once more, which
/// writing back beforehand costs each of them.
const LITTLE_EACH: u64 = 256 << 10;
/// So many file systems are written back at a time: most of it is waiting for disks, and each thread has a stack.
const AT_ONCE: usize = 8;
/// A thread makes one system call after the other.
const STACK: usize = 64 << 10;

/// Writes all of them back, several at a time, unless there is little to write. What cannot be is left to the freeze,
/// which will tell.
pub fn write_back(kernel: &dyn Kernel, targets: &[Target]) {
    let little = LITTLE_EACH.saturating_mul(u64::try_from(targets.len()).unwrap_or(u64::MAX)).max(LITTLE);
    if kernel.dirty().is_some_and(|bytes| bytes < little) {
        return;
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let _ = kernel.sync(target.mounted.as_fd());
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
}
