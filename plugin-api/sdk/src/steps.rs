//! How much work reading takes, counted in bytes that were looked at, so that tests and fuzz targets can show that it
//! grows with the size of a message and not faster: `reset()`, read, and compare `taken()` with the message's length.
//! Each thread counts for itself. Without the feature `count-steps` nothing is counted, and it costs nothing.

#[cfg(any(test, feature = "count-steps"))]
mod counter {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<u64> = const { Cell::new(0) };
    }

    /// Counts steps.
    pub fn count(steps: usize) {
        STEPS.set(STEPS.get() + steps as u64);
    }

    /// Begins to count from zero.
    pub fn reset() {
        STEPS.set(0);
    }

    /// The steps since the last [`reset`] on this thread.
    pub fn taken() -> u64 {
        STEPS.get()
    }
}

#[cfg(any(test, feature = "count-steps"))]
pub use counter::{count, reset, taken};

/// Counts nothing.
#[cfg(not(any(test, feature = "count-steps")))]
#[inline(always)]
pub fn count(_: usize) {}
