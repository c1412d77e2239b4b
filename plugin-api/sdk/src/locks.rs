//! Locks by a key, for work that may hang.
//!
//! A call that works on a file of a server that is gone does not come back before the server does. Whoever works on the same
//! thing afterwards would hang as well, and in the end the whole set: so each takes a lock under the name of that thing, which is
//! not waited for any longer than work takes that does not hang. A set that keeps apart in this way what hangs says so by
//! `overdue_limit` in its [`plugin!`](crate::plugin) block.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a lock is held by work that does not hang.
const PATIENCE: Duration = Duration::from_secs(2);

/// Locks by a key: a user's number, or that of a mount.
#[derive(Debug)]
pub struct Locks<K> {
    holders: usize,
    held: Mutex<Vec<(K, Instant)>>,
    given_back: Condvar,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock<'l, K: PartialEq> {
    locks: &'l Locks<K>,
    key: K,
    since: Instant,
}

/// A lock was not to be had: its holder hangs, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How long the one that holds it longest has done so.
    pub for_how_long: Duration,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "has been running for {} s", self.for_how_long.as_secs())
    }
}

impl<K: PartialEq + Clone> Locks<K> {
    /// Locks each of which may be held by so many calls at a time.
    pub fn new(holders: usize) -> Self {
        Self { holders, held: Mutex::new(Vec::new()), given_back: Condvar::new() }
    }

    /// Takes the lock under a key. Waits for its holders for two seconds at most, and not at all for those that have held it for so
    /// long already.
    pub fn take(&self, key: K) -> Result<Lock<'_, K>, Held> {
        let begin = Instant::now();
        let mut held = self.held();
        loop {
            let now = Instant::now();
            let holders: Vec<Instant> =
                held.iter().filter(|(other, _)| *other == key).map(|(_, since)| *since).collect();
            let (Some(oldest), Some(youngest)) = (holders.iter().min(), holders.iter().max()) else {
                return Ok(self.hold(held, key, now));
            };
            if holders.len() < self.holders {
                return Ok(self.hold(held, key, now));
            }
            let left = (begin.min(*youngest) + PATIENCE).saturating_duration_since(now);
            if left.is_zero() {
                return Err(Held { for_how_long: now.saturating_duration_since(*oldest) });
            }
            held = self.given_back.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hold(&self, mut held: MutexGuard<'_, Vec<(K, Instant)>>, key: K, since: Instant) -> Lock<'_, K> {
        held.push((key.clone(), since));
        Lock { locks: self, key, since }
    }

    fn held(&self) -> MutexGuard<'_, Vec<(K, Instant)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: PartialEq> Drop for Lock<'_, K> {
    fn drop(&mut self) {
        let mut held = self.locks.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.iter().position(|(key, since)| (key, since) == (&self.key, &self.since)) {
            held.swap_remove(place);
        }
        drop(held);
        self.locks.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_lock_of_its_own_and_one_that_hangs_is_not_waited_for() {
        let locks = Locks::new(1);
        let first = locks.take("a").unwrap();
        drop(locks.take("b").unwrap());
        let held = locks.take("a").unwrap_err();
        assert!(held.for_how_long >= PATIENCE);
        assert_eq!(Held { for_how_long: Duration::from_millis(12_999) }.to_string(), "has been running for 12 s");
        drop(first);
        drop(locks.take("a").unwrap());
        assert!(locks.held().is_empty());
    }

    #[test]
    fn who_waits_gets_the_lock_that_is_given_back() {
        let locks = Locks::new(2);
        let (first, second) = (locks.take(1).unwrap(), locks.take(1).unwrap());
        // One of the two is given back when the third waits already, or before; it gets it either way.
        std::thread::scope(|scope| {
            let third = scope.spawn(|| locks.take(1).is_ok());
            drop(first);
            assert!(third.join().unwrap());
        });
        drop(second);
        assert!(locks.held().is_empty());
    }
}
