//! Calls that may hang for ever, such as the look-up of a path below a network mount whose server is dead.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Such a call is a system call or a few.
const STACK: usize = 128 << 10;

/// Makes calls that may hang for ever, each on a thread of its own, which is left behind if it does.
///
/// `K` names what is asked, such as the number of a mount. What has not answered is not asked again before it has, so
/// however often a client asks, one thread is left behind for each.
pub struct Helpers<K> {
    /// What hangs.
    hanging: Arc<Mutex<BTreeSet<K>>>,
}

/// Why a call has no result.
#[derive(Debug)]
pub enum NoAnswer {
    /// It has not come back within this time.
    Late(Duration),
    /// One before it has not come back yet.
    Hanging,
    /// It could not be made, or panicked.
    Failed(io::Error),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "no answer within {} s", (limit.as_secs_f32() * 10.0).round() / 10.0),
            Self::Hanging => f.write_str("no answer since an earlier request"),
            Self::Failed(error) => write!(f, "{}", crate::errno_text(error)),
        }
    }
}

impl<K> Default for Helpers<K> {
    fn default() -> Self {
        Self { hanging: Arc::default() }
    }
}

impl<K: Ord + Clone + Send + 'static> Helpers<K> {
    /// Makes a call and waits for it, but no longer than `limit`. A call that comes back later is forgotten, and its
    /// result dropped by its own thread.
    pub fn run<T: Send + 'static>(
        &self,
        key: K,
        limit: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        if lock(&self.hanging).contains(&key) {
            return Err(NoAnswer::Hanging);
        }
        let (sender, receiver) = sync_channel(1);
        let (hanging, name) = (Arc::clone(&self.hanging), key.clone());
        let work = move || {
            let result = panic::catch_unwind(AssertUnwindSafe(call)).ok();
            // Under the lock, so that who has just stopped waiting finds the result or is found by this thread.
            let mut hanging = lock(&hanging);
            if sender.send(result).is_err() {
                hanging.remove(&name);
            }
        };
        let builder = thread::Builder::new().name("helper".to_owned()).stack_size(STACK);
        builder.spawn(work).map_err(NoAnswer::Failed)?;
        let result = receiver.recv_timeout(limit).or_else(|_| {
            let mut hanging = lock(&self.hanging);
            receiver.try_recv().map_err(|_| {
                hanging.insert(key);
                // Before the lock is given back: then the thread finds nobody to send to.
                drop(receiver);
                NoAnswer::Late(limit)
            })
        })?;
        result.ok_or_else(|| NoAnswer::Failed(io::Error::other("the call panicked")))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_comes_back_is_returned() {
        let helpers = Helpers::default();
        assert_eq!(helpers.run(1, LONG, || 42).unwrap(), 42);
        assert_eq!(helpers.run(1, LONG, || 43).unwrap(), 43);
    }

    #[test]
    fn what_hangs_is_left_behind_and_not_asked_again_before_it_has_come_back() {
        let helpers = Helpers::default();
        let (release, hang) = channel::<()>();
        let hung = helpers.run("a", Duration::from_millis(5), move || {
            let _ = hang.recv();
        });
        assert!(matches!(hung, Err(NoAnswer::Late(_))));
        assert!(matches!(helpers.run("a", LONG, || ()), Err(NoAnswer::Hanging)));
        helpers.run("b", LONG, || ()).unwrap();
        drop(release);
        let give_up = Instant::now() + LONG;
        while helpers.run("a", LONG, || ()).is_err() {
            assert!(Instant::now() < give_up, "it is never asked again");
            thread::yield_now();
        }
    }

    #[test]
    fn a_call_that_panics_is_an_error() {
        let helpers = Helpers::default();
        let result: Result<(), _> = helpers.run(1, LONG, || std::panic::panic_any(()));
        assert!(matches!(result, Err(NoAnswer::Failed(_))));
        helpers.run(1, LONG, || ()).unwrap();
    }
}
