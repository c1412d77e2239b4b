//! The table of jobs: the programs that `guest-exec-status` can be asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guestd_sdk::CommandError;

use crate::budget::{Budget, Held};
use crate::config::Limits;

/// All jobs. Its lock is held for a look into the table only, never while anything waits.
pub(crate) struct Jobs {
    table: Mutex<Table>,
    budget: Arc<Budget>,
}

struct Table {
    limits: Limits,
    /// Programs that are being started.
    starting: usize,
    entries: HashMap<i64, Entry>,
}

enum Entry {
    Running,
    Finished(Finished),
}

/// The result of a program that has ended.
struct Finished {
    /// The answer of `guest-exec-status`.
    answer: Vec<u8>,
    since: Instant,
    /// The room of its output, for as long as it waits.
    _held: Held,
}

/// What `guest-exec-status` is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// The answer. It is told once.
    Finished(Vec<u8>),
    Unknown,
}

/// A place in the table for a program that is being started; given back when it is dropped.
pub(crate) struct Place<'a>(&'a Jobs);

impl Jobs {
    pub(crate) fn new(limits: Limits) -> Self {
        let table = Table { limits, starting: 0, entries: HashMap::new() };
        Self { budget: Budget::new(limits.bytes), table: Mutex::new(table) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.budget.set_limit(limits.bytes);
        self.table().limits = limits;
    }

    pub(crate) fn run_time(&self) -> Option<Duration> {
        self.table().limits.run_time
    }

    /// Takes a place for a program. Fails if all are taken by programs that run, or by results that must still be
    /// kept.
    pub(crate) fn place(&self) -> Result<Place<'_>, CommandError> {
        // Freed when the lock is free again.
        let _stale;
        let mut table = self.table();
        if !table.has_place() {
            _stale = table.take_stale();
        }
        if !table.has_place() {
            let count = table.limits.jobs;
            return Err(CommandError::new(format!(
                "too many programs: {count} are running or have not been asked for (max-jobs)"
            )));
        }
        table.starting += 1;
        Ok(Place(self))
    }

    /// Adds up to `bytes` of room to `held`, at the expense of results that need not be kept any more, and returns
    /// how many bytes that was.
    pub(crate) fn grow(&self, held: &mut Held, bytes: usize) -> usize {
        let granted = held.grow(bytes);
        if granted == bytes {
            return granted;
        }
        let stale = self.table().take_stale();
        drop(stale);
        granted + held.grow(bytes - granted)
    }

    /// No room yet.
    pub(crate) fn no_room(&self) -> Held {
        self.budget.nothing()
    }

    /// A program has ended: `answer` is what `guest-exec-status` is to say, `held` the room of its output. It is reaped
    /// by `reap` under the lock, so that its number is not another program's in the table before the result is there.
    pub(crate) fn finish(&self, pid: i64, answer: Vec<u8>, held: Held, reap: impl FnOnce()) {
        let finished = Finished { answer, since: Instant::now(), _held: held };
        let mut table = self.table();
        reap();
        table.entries.insert(pid, Entry::Finished(finished));
    }

    /// What is to be said about a program; a result is taken out of the table.
    pub(crate) fn take(&self, pid: i64) -> State {
        let mut table = self.table();
        if let Some(Entry::Running) = table.entries.get(&pid) {
            return State::Running;
        }
        match table.entries.remove(&pid) {
            Some(Entry::Finished(finished)) => State::Finished(finished.answer),
            Some(Entry::Running) | None => State::Unknown,
        }
    }
}

impl Table {
    fn has_place(&self) -> bool {
        self.starting + self.entries.len() < self.limits.jobs
    }

    /// Takes the results out that have been kept long enough.
    fn take_stale(&mut self) -> Vec<Entry> {
        let keep = self.limits.keep;
        let is_stale = |entry: &Entry| matches!(entry, Entry::Finished(result) if result.since.elapsed() >= keep);
        self.entries.extract_if(|_, entry| is_stale(entry)).map(|(_, entry)| entry).collect()
    }
}

impl Place<'_> {
    /// Gives the place to a program that runs. A result that waits under the same process number, which the kernel
    /// has given out again, is lost.
    pub(crate) fn give_to(self, pid: i64) {
        self.0.table().entries.insert(pid, Entry::Running);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.table().starting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(jobs: usize, keep: Duration) -> Jobs {
        Jobs::new(Limits { jobs, bytes: 10, run_time: None, keep })
    }

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn a_result_is_told_once() {
        let jobs = jobs(9, LONG);
        assert_eq!(jobs.take(7), State::Unknown);
        jobs.place().unwrap().give_to(7);
        assert_eq!((jobs.take(7), jobs.take(7)), (State::Running, State::Running));
        jobs.finish(7, b"x".to_vec(), jobs.no_room(), || {});
        assert_eq!((jobs.take(7), jobs.take(7)), (State::Finished(b"x".to_vec()), State::Unknown));
    }

    #[test]
    fn places_are_bounded() {
        let jobs = jobs(2, LONG);
        let first = jobs.place().unwrap();
        jobs.place().unwrap().give_to(1);
        let error = jobs.place().err().unwrap();
        assert_eq!(error.desc(), "too many programs: 2 are running or have not been asked for (max-jobs)");
        drop(first);
        jobs.place().unwrap().give_to(2);
        jobs.finish(1, Vec::new(), jobs.no_room(), || {});
        assert!(jobs.place().is_err());
        jobs.take(1);
        assert!(jobs.place().is_ok());
    }

    #[test]
    fn a_result_that_need_not_be_kept_makes_room() {
        let jobs = jobs(1, Duration::ZERO);
        jobs.place().unwrap().give_to(1);
        assert!(jobs.place().is_err());
        let mut held = jobs.no_room();
        assert_eq!(jobs.grow(&mut held, 8), 8);
        jobs.finish(1, Vec::new(), held, || {});
        let mut other = jobs.no_room();
        assert_eq!(jobs.grow(&mut other, 8), 8);
        assert_eq!(jobs.grow(&mut other, 8), 2);
        assert_eq!(jobs.take(1), State::Unknown);
        assert!(jobs.place().is_ok());
    }

    #[test]
    fn output_waits_in_its_room() {
        let jobs = jobs(9, LONG);
        let mut held = jobs.no_room();
        jobs.grow(&mut held, 10);
        jobs.finish(1, Vec::new(), held, || {});
        assert_eq!(jobs.grow(&mut jobs.no_room(), 1), 0);
        jobs.take(1);
        assert_eq!(jobs.grow(&mut jobs.no_room(), 1), 1);
    }
}
