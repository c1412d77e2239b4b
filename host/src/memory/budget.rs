//! The memory that messages take between a client and a command: requests being read, requests that wait or are being carried
//! out, replies that nobody has read yet. What is small is not counted.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::{Keeper, LARGE};

/// What is counted, in bytes: a permit each.
const UNIT: usize = 1 << 10;

/// What all channels share.
pub(super) struct Budget {
    free: Semaphore,
    /// What was taken though it was not there, and is given back first.
    debt: Mutex<usize>,
    size: usize,
}

impl Budget {
    /// A budget of that many bytes.
    pub fn new(bytes: usize) -> Self {
        let size = (bytes / UNIT).min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Self { free: Semaphore::new(size), debt: Mutex::new(0), size }
    }

    fn take_at_once(&self, units: usize) {
        let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        *debt += units - self.free.forget_permits(units);
    }

    fn give_back(&self, units: usize) {
        let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = units.min(*debt);
        *debt -= paid;
        self.free.add_permits(units - paid);
    }
}

/// A share of the budget. Whoever drops it has given up the memory; so, where it was much, the heap gives back what it
/// keeps once there is quiet.
#[derive(Default)]
pub struct Lease {
    keeper: Option<Arc<Keeper>>,
    units: usize,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} KiB)", self.units)
    }
}

impl Lease {
    /// Whether it is for nothing.
    pub fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let units = units(bytes);
        if let Some(keeper) = &self.keeper
            && units < self.units
        {
            keeper.budget.give_back(self.units - units);
            self.units = units;
            keeper.note_use();
        }
    }

    /// Leaves it to somebody who will give it back by [`Keeper::lent`].
    pub fn lend(mut self) {
        self.units = 0;
    }

    /// Joins another to this one.
    pub fn add(&mut self, mut other: Self) {
        if let Some(keeper) = other.keeper.take() {
            self.units += std::mem::take(&mut other.units);
            self.keeper = Some(keeper);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

fn units(bytes: usize) -> usize {
    if bytes < LARGE { 0 } else { bytes.div_ceil(UNIT) }
}

impl Keeper {
    /// A share for what is there already; large messages wait until it was given back, if it was not free.
    pub fn lease(self: &Arc<Self>, bytes: usize) -> Lease {
        let units = units(bytes);
        if units == 0 {
            return Lease::default();
        }
        self.budget.take_at_once(units);
        Lease { keeper: Some(Arc::clone(self)), units }
    }

    /// Waits for a share, behind those who have waited for longer. What is larger than the budget gets all of it.
    pub async fn turn(self: Arc<Self>, bytes: usize) -> Lease {
        let units = units(bytes).min(self.budget.size);
        // The semaphore is never closed.
        if let Ok(permits) = self.budget.free.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await {
            permits.forget();
        }
        Lease { keeper: Some(self), units }
    }

    /// The same on a thread that may block, at most that long.
    pub fn turn_within(self: &Arc<Self>, bytes: usize, wait: Duration) -> Option<Lease> {
        if units(bytes) == 0 {
            return Some(Lease::default());
        }
        let until = Instant::now() + wait;
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut turn = pin!(Arc::clone(self).turn(bytes));
        loop {
            if let Poll::Ready(lease) = turn.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Some(lease);
            }
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            thread::park_timeout(left);
        }
    }

    /// What was lent out of a turn for as many bytes.
    pub fn lent(self: &Arc<Self>, bytes: usize) -> Lease {
        Lease { keeper: Some(Arc::clone(self)), units: units(bytes).min(self.budget.size) }
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn keeper(bytes: usize) -> Arc<Keeper> {
        Arc::new(Keeper::new(bytes))
    }

    #[test]
    fn large_ones_wait_in_order_and_small_ones_pass() {
        let keeper = keeper(100 << 20);
        let first = keeper.lease(60 << 20);
        let (mut second, mut third) =
            (pin!(Arc::clone(&keeper).turn(60 << 20)), pin!(Arc::clone(&keeper).turn(10 << 20)));
        assert!(poll(second.as_mut()).is_none());
        assert!(poll(third.as_mut()).is_none(), "it has overtaken one that has waited for longer");
        assert!(keeper.lease(LARGE - 1).is_empty());
        drop(first);
        let second = poll(second.as_mut()).expect("its turn has come");
        let third = poll(third.as_mut()).expect("there is room for it too");
        assert_eq!(keeper.budget.free.available_permits(), 30 << 10);
        drop((second, third));
        assert_eq!(keeper.budget.free.available_permits(), 100 << 10);
    }

    #[test]
    fn what_is_there_already_is_counted_even_above_the_budget() {
        let keeper = keeper(10 << 20);
        let (one, mut two) = (keeper.lease(8 << 20), keeper.lease(8 << 20));
        let mut waiting = pin!(Arc::clone(&keeper).turn(4 << 20));
        assert!(poll(waiting.as_mut()).is_none());
        two.shrink_to(2 << 20);
        assert!(poll(waiting.as_mut()).is_none(), "nothing is free yet");
        drop(one);
        let lease = poll(waiting.as_mut()).expect("its turn has come");
        drop((two, lease));
        assert_eq!(keeper.budget.free.available_permits(), 10 << 10);
    }

    #[test]
    fn a_thread_waits_for_its_share_but_not_for_ever() {
        let keeper = keeper(10 << 20);
        let first = keeper.lease(8 << 20);
        assert!(keeper.turn_within(8 << 20, Duration::from_millis(1)).is_none());
        let waiting = {
            let keeper = Arc::clone(&keeper);
            thread::spawn(move || keeper.turn_within(8 << 20, Duration::from_secs(60)).map(Lease::lend))
        };
        drop(first);
        assert!(waiting.join().unwrap().is_some());
        assert!(keeper.turn_within(8 << 20, Duration::ZERO).is_none(), "it is lent");
        drop(keeper.lent(8 << 20));
        assert!(keeper.turn_within(8 << 20, Duration::ZERO).is_some());
    }

    #[test]
    fn who_no_longer_waits_keeps_nothing_and_more_than_all_is_all() {
        let keeper = keeper(10 << 20);
        let all = poll(pin!(Arc::clone(&keeper).turn(1 << 30))).expect("all is free");
        {
            let mut waiting = pin!(Arc::clone(&keeper).turn(4 << 20));
            assert!(poll(waiting.as_mut()).is_none());
        }
        let mut more = keeper.lease(1 << 20);
        more.add(all);
        drop(more);
        assert_eq!(keeper.budget.free.available_permits(), 10 << 10);
    }
}
