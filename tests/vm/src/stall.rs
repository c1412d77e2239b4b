//! Guests whose processors stop: under emulation that happens when one is taken offline, once in a few dozen times.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::note;

/// What the guest's kernel says of it (Documentation/admin-guide/lockup-watchdogs.rst, Documentation/RCU/stallwarn.rst).
const WORDS: [&str; 2] = ["soft lockup - CPU#", "rcu_preempt detected stalls"];

/// Whether a guest of this process has failed its test and said so.
static SEEN: AtomicBool = AtomicBool::new(false);

/// Takes note of a failed guest's console.
pub(crate) fn look_at(console: &str) {
    if WORDS.iter().any(|words| console.contains(words)) {
        SEEN.store(true, Ordering::Release);
    }
}

/// Runs a test in which processors go offline, and once more if it fails in a guest whose processors have stopped: that
/// is the emulator's doing, not the agent's. Any other failure is one at once.
pub fn despite_stalls(test: fn()) {
    let Err(failure) = catch_unwind(AssertUnwindSafe(test)) else { return };
    if !SEEN.swap(false, Ordering::AcqRel) {
        resume_unwind(failure);
    }
    note("the guest's processors have stopped; once more");
    test();
}
