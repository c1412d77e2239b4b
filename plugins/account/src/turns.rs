//! One change at a time to what belongs to a user.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use guestd_sdk::CommandError;

/// The users whose files are being changed. A change that hangs, as on the home directory of a dead server, keeps
/// nobody else waiting.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Mutex<HashSet<u32>>,
    given_back: Condvar,
}

/// The right to change one user's files, until it is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    uid: u32,
}

impl Turns {
    /// Waits for the turn of a user, no longer than `until`.
    pub(crate) fn take(&self, uid: u32, until: Instant) -> Result<Turn<'_>, CommandError> {
        let mut taken = self.lock();
        while !taken.insert(uid) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CommandError::new("another change to the keys of this user is still under way"));
            }
            let waited = self.given_back.wait_timeout(taken, left);
            (taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Turn { turns: self, uid })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.uid);
        self.turns.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_user_has_a_turn_of_their_own() {
        let turns = Turns::default();
        let now = Instant::now();
        let first = turns.take(1, now).unwrap();
        let _other = turns.take(2, now).unwrap();
        assert!(turns.take(1, now).is_err());
        drop(first);
        drop(turns.take(1, now).unwrap());
        assert!(turns.take(1, now).is_ok());
    }

    #[test]
    fn who_waits_gets_the_turn_that_is_given_back() {
        let turns = Turns::default();
        let first = turns.take(1, Instant::now()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.take(1, Instant::now() + Duration::from_secs(60)).is_ok());
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }
}
