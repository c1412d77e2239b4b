//! What memory the daemon keeps while nobody asks it for anything.
//!
//! What messages take is counted, and bounded by one budget (`budget.rs`). A burst of work is followed by some quiet, and then what it took is given back: free memory of the heap, and program
//! text that will not be run again for long, as that of the daemon's start.

mod budget;
mod heap;
mod text;

pub use budget::Lease;
pub use heap::tune;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::sync::Notify;

use crate::channel::watch;
use budget::Budget;

/// Messages of at least this many bytes take memory that is worth counting and giving back.
pub const LARGE: usize = 256 << 10;
/// How long after the last use memory is kept for the next one. Fresh memory costs more than all else that is done with
/// a large message: the kernel clears it and maps it page by page.
const KEPT_FOR: Duration = Duration::from_millis(500);

/// Gives out memory for messages, and gives it back once it is no longer in use.
pub struct Keeper {
    /// Wakes the one that gives back; once, until it has done so.
    used: Notify,
    to_do: AtomicBool,
    last_use: Mutex<Instant>,
    budget: Budget,
}

impl Keeper {
    /// One that lets messages take that many bytes together.
    pub fn new(budget: usize) -> Self {
        Self {
            used: Notify::new(),
            to_do: AtomicBool::new(false),
            last_use: Mutex::new(Instant::now()),
            budget: Budget::new(budget),
        }
    }

    /// Notes that much memory is in use no more: that of a large message, or of the opening of a plugin.
    pub fn note_use(&self) {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if !self.to_do.swap(true, Ordering::AcqRel) {
            self.used.notify_one();
        }
    }

    /// How long what was used last is still kept.
    fn left(&self) -> Option<Duration> {
        let last_use = *self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        KEPT_FOR.checked_sub(last_use.elapsed()).filter(|left| !left.is_zero())
    }

    /// Gives memory back whenever it has not been used for a while; sleeps, without a timer, for as long as there is none to
    /// give back. Returns only if the kernel has no timer for it.
    ///
    /// The timer is the kernel's own (timerfd_create(2)): one of the runtime's would make each wait for a request one with a
    /// time limit, which costs a ping a tenth of its time.
    pub async fn serve(&self) -> io::Result<()> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let events = watch(timer.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        loop {
            self.used.notified().await;
            while let Some(left) = self.left() {
                timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty())?;
                events.readable().await?.clear_ready();
            }
            self.to_do.store(false, Ordering::Release);
            heap::give_back();
            text::give_back();
        }
    }
}
