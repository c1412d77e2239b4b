//! The threads on which commands run that may block.
//!
//! A call that hangs keeps its thread, so nobody may have all of them: neither a set nor a client. A call above the quota of
//! its set or its client waits, and is withdrawn at its deadline. Commands that must always get a thread, as a thaw, have
//! threads of their own and wait for none of these quotas.
//!
//! tokio's own pool wakes a thread while it holds the lock that the thread wants first, which costs both of them more
//! system calls and a switch back and forth; on one processor that takes longer than most commands. What plugins do when the
//! daemon starts, reads its configuration again or ends is left to tokio's, so that it never waits behind commands that hang.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::memory::Keeper;

/// The most calls at once, without those that have a thread of their own.
pub const MAX_CALLS: usize = 64;
/// The most calls of a set at once.
pub const MAX_PER_SET: usize = 16;
/// The most calls of a client at once: the calls that its syncs have overtaken go on.
pub const MAX_PER_CLIENT: usize = 32;
/// The threads that are kept for a command with a thread of its own: for a call that hangs, and for the next one.
pub const MAX_PER_COMMAND: usize = 2;
/// How long an idle thread is kept for the next call.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a call counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The set: a number that no other has.
    pub set: usize,
    /// The client.
    pub client: u64,
    /// The command, if threads are kept for it.
    pub own_thread: Option<u32>,
}

/// Which limit keeps a call from being begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`MAX_CALLS`]
    All,
    /// [`MAX_PER_SET`]
    Set,
    /// [`MAX_PER_CLIENT`]
    Client,
    /// [`MAX_PER_COMMAND`]
    Command,
    /// The system has no thread to give.
    Threads,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(f, "{MAX_CALLS} calls are under way"),
            Self::Set => write!(f, "{MAX_PER_SET} calls of its command set are under way"),
            Self::Client => write!(f, "{MAX_PER_CLIENT} calls of this client are under way"),
            Self::Command => write!(f, "{MAX_PER_COMMAND} calls of it are under way"),
            Self::Threads => f.write_str("the system has no thread for it"),
        }
    }
}

/// A job that was handed over, to withdraw it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

struct Job {
    ticket: Ticket,
    claim: Claim,
    run: Box<dyn FnOnce(&Workers) + Send>,
}

/// The threads, which are started as they are needed.
#[derive(Default)]
pub struct Workers {
    state: Mutex<State>,
    more: Condvar,
    memory: Option<Arc<Keeper>>,
}

#[derive(Default)]
struct State {
    /// The jobs that no limit holds back, and that no thread has taken yet.
    ready: VecDeque<Job>,
    /// Those that one does.
    waiting: VecDeque<Job>,
    /// The claims of what runs and of what is ready: as many as there are threads at most.
    claims: Vec<Claim>,
    threads: usize,
    /// The threads that run no job.
    idle: usize,
    tickets: u64,
}

impl State {
    /// What holds a call back, if anything does.
    fn limit(&self, claim: &Claim) -> Option<Limit> {
        let count = |counts: &dyn Fn(&Claim) -> bool| self.claims.iter().filter(|other| counts(other)).count();
        if claim.own_thread.is_some() {
            let same = |other: &Claim| (other.set, other.own_thread) == (claim.set, claim.own_thread);
            return (count(&same) >= MAX_PER_COMMAND).then_some(Limit::Command);
        }
        let shared = |other: &Claim| other.own_thread.is_none();
        if count(&|other| shared(other) && other.set == claim.set) >= MAX_PER_SET {
            Some(Limit::Set)
        } else if count(&|other| shared(other) && other.client == claim.client) >= MAX_PER_CLIENT {
            Some(Limit::Client)
        } else if count(&shared) >= MAX_CALLS {
            Some(Limit::All)
        } else {
            None
        }
    }

    fn release(&mut self, claim: &Claim) {
        if let Some(place) = self.claims.iter().position(|other| other == claim) {
            self.claims.swap_remove(place);
        }
    }

    /// Makes ready what no limit holds back any more.
    fn admit(&mut self) {
        let mut place = 0;
        while let Some(job) = self.waiting.get(place) {
            if self.limit(&job.claim).is_some() {
                place += 1;
            } else if let Some(job) = self.waiting.remove(place) {
                self.claims.push(job.claim);
                self.ready.push_back(job);
            }
        }
    }
}

impl Workers {
    /// Threads whose memory is given back when they have ended.
    pub fn new(memory: Arc<Keeper>) -> Self {
        Self { memory: Some(memory), ..Self::default() }
    }

    /// Runs a job on a thread, as soon as the limits allow. What it returns can be received; nothing can be, if it panics.
    pub fn run<T: Send + 'static>(
        self: &Arc<Self>,
        claim: Claim,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> (Ticket, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let run: Box<dyn FnOnce(&Self) + Send> = Box::new(move |workers| {
            // A panic has been reported by its hook, and the job's receiver learns of it.
            let result = panic::catch_unwind(AssertUnwindSafe(job));
            // Before the result is told: who gets it may have the next job at once, which needs no other thread.
            workers.end(&claim);
            if let Ok(result) = result {
                // Whoever waited may be gone.
                let _ = sender.send(result);
            }
        });
        let mut state = self.state();
        state.tickets += 1;
        let ticket = Ticket(state.tickets);
        let job = Job { ticket, claim, run };
        if state.limit(&claim).is_some() {
            state.waiting.push_back(job);
        } else {
            state.claims.push(claim);
            state.ready.push_back(job);
            self.provide(state);
        }
        (ticket, receiver)
    }

    /// Takes back a job that was not begun, and returns what has held it back; `None`: it was begun.
    pub fn withdraw(&self, ticket: Ticket) -> Option<Limit> {
        let mut state = self.state();
        if let Some(place) = state.waiting.iter().position(|job| job.ticket == ticket) {
            let job = state.waiting.remove(place)?;
            let limit = state.limit(&job.claim);
            drop(state);
            // With it goes its request, which may be large.
            drop(job);
            return Some(limit.unwrap_or(Limit::All));
        }
        let place = state.ready.iter().position(|job| job.ticket == ticket)?;
        let job = state.ready.remove(place)?;
        state.release(&job.claim);
        drop(state);
        drop(job);
        Some(Limit::Threads)
    }

    /// Sees to it that there is a thread for each job that is ready.
    fn provide(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.ready.is_empty() {
            return;
        }
        if state.ready.len() <= state.idle {
            drop(state);
            self.more.notify_one();
            return;
        }
        state.threads += 1;
        state.idle += 1;
        drop(state);
        self.start_thread();
    }

    fn start_thread(self: &Arc<Self>) {
        let workers = Arc::clone(self);
        let started = thread::Builder::new().name("worker".to_owned()).spawn(move || workers.work());
        if let Err(error) = started {
            // The job is left to the next thread that is free, or is withdrawn at its deadline.
            tracing::error!("a worker cannot be started: {error}");
            let mut state = self.state();
            state.threads -= 1;
            state.idle -= 1;
        }
    }

    /// A thread has done its job.
    fn end(&self, claim: &Claim) {
        let mut state = self.state();
        state.idle += 1;
        state.release(claim);
        state.admit();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(self: &Arc<Self>) {
        while let Some(job) = self.next() {
            (job.run)(self);
        }
        // A thread keeps some of the memory that it has freed for itself until it ends.
        if let Some(memory) = &self.memory {
            memory.note_use();
        }
    }

    /// The next job; `None`: there was none for so long that the thread is to end.
    fn next(self: &Arc<Self>) -> Option<Job> {
        let waited = self.more.wait_timeout_while(self.state(), IDLE_TIMEOUT, |state| state.ready.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let job = state.ready.pop_front();
        state.idle -= 1;
        if job.is_none() {
            state.threads -= 1;
        }
        // The end of one call may have made several ready.
        self.provide(state);
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers() -> Arc<Workers> {
        Arc::default()
    }

    fn claim(set: usize, client: u64) -> Claim {
        Claim { set, client, own_thread: None }
    }

    /// Jobs that stay until they are let go.
    #[derive(Default)]
    struct Gate {
        open: Mutex<bool>,
        changed: Condvar,
    }

    impl Gate {
        fn pass(&self) {
            drop(self.changed.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
        }

        fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.changed.notify_all();
        }
    }

    fn hang(workers: &Arc<Workers>, gate: &Arc<Gate>, claim: Claim) -> (Ticket, oneshot::Receiver<()>) {
        let gate = Arc::clone(gate);
        workers.run(claim, move || gate.pass())
    }

    /// Waits until threads have taken all that is ready.
    fn settle(workers: &Arc<Workers>) {
        while !workers.state().ready.is_empty() {
            thread::yield_now();
        }
    }

    #[test]
    fn jobs_run_side_by_side_and_threads_are_used_again() {
        use std::sync::mpsc;
        let workers = workers();
        let (first, second) = (mpsc::channel::<()>(), mpsc::channel::<()>());
        let (_, one) = workers.run(claim(1, 1), move || (first.0.send(()), second.1.recv()).1);
        let (_, two) = workers.run(claim(1, 1), move || (second.0.send(()), first.1.recv()).1);
        assert_eq!((one.blocking_recv().unwrap(), two.blocking_recv().unwrap()), (Ok(()), Ok(())));
        for number in 0..1000 {
            assert_eq!(workers.run(claim(1, 1), move || number).1.blocking_recv(), Ok(number));
        }
        assert_eq!(workers.state().threads, 2);
    }

    #[test]
    fn nobody_has_all_threads_and_a_command_with_its_own_waits_for_nobody() {
        let (workers, gate) = (workers(), Arc::new(Gate::default()));
        let mut hung: Vec<_> = (0..2 * MAX_PER_SET).map(|_| hang(&workers, &gate, claim(1, 1))).collect();
        assert_eq!(workers.state().claims.len(), MAX_PER_SET, "a set has no more than its quota");
        assert_eq!(workers.run(claim(2, 1), || 5).1.blocking_recv(), Ok(5), "another set of the same client");
        hung.extend((0..MAX_PER_SET).map(|_| hang(&workers, &gate, claim(2, 1))));
        let (mut held, mut receiver) = workers.run(claim(3, 1), || 6);
        assert!(receiver.try_recv().is_err());
        assert_eq!(workers.withdraw(held), Some(Limit::Client), "a client has no more than its quota");
        assert!(receiver.blocking_recv().is_err(), "a job that was withdrawn is not run");
        assert_eq!(workers.run(claim(3, 2), || 7).1.blocking_recv(), Ok(7), "another client");
        for set in 3..5 {
            hung.extend((0..MAX_PER_SET).map(|_| hang(&workers, &gate, claim(set, 2))));
        }
        (held, receiver) = workers.run(claim(9, 9), || 8);
        assert!(receiver.try_recv().is_err());
        assert_eq!(workers.withdraw(held), Some(Limit::All));
        settle(&workers);
        let own = Claim { own_thread: Some(0), ..claim(1, 1) };
        let other = Claim { own_thread: Some(1), ..own };
        hung.push(hang(&workers, &gate, own));
        assert_eq!(workers.run(own, || 9).1.blocking_recv(), Ok(9));
        hung.extend((1..MAX_PER_COMMAND).map(|_| hang(&workers, &gate, own)));
        assert_eq!(workers.run(other, || 10).1.blocking_recv(), Ok(10));
        let (ticket, _) = workers.run(own, || 11);
        assert_eq!(workers.withdraw(ticket), Some(Limit::Command));
        settle(&workers);
        assert_eq!(hung.iter().find_map(|(ticket, _)| workers.withdraw(*ticket)), Some(Limit::Set));
        gate.open();
        // The one that was just withdrawn is the only one that never ends.
        let ended = hung.into_iter().filter_map(|(_, receiver)| receiver.blocking_recv().ok()).count();
        assert_eq!(ended, 2 * MAX_PER_SET - 1 + 3 * MAX_PER_SET + MAX_PER_COMMAND);
        let state = workers.state();
        assert!(state.claims.is_empty() && state.waiting.is_empty() && state.ready.is_empty());
    }

    #[test]
    fn what_was_begun_cannot_be_withdrawn() {
        let (workers, gate) = (workers(), Arc::new(Gate::default()));
        let (ticket, receiver) = hang(&workers, &gate, claim(1, 1));
        settle(&workers);
        assert_eq!(workers.withdraw(ticket), None);
        gate.open();
        assert_eq!(receiver.blocking_recv(), Ok(()));
        assert_eq!(workers.withdraw(ticket), None);
    }

    #[test]
    fn a_panic_is_told_and_the_thread_goes_on() {
        let workers = workers();
        assert!(workers.run(claim(1, 1), || panic!("on purpose")).1.blocking_recv().is_err());
        assert_eq!(workers.run(claim(1, 1), || 7).1.blocking_recv(), Ok(7));
    }
}
