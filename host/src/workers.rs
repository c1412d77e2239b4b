//! The threads on which commands run that may block.
//!
//! tokio's own pool wakes a thread while it holds the lock that the thread wants first, which costs both of them more
//! system calls and a switch back and forth; on one processor that takes longer than most commands. What plugins do when the
//! daemon starts, reads its configuration again or ends is left to tokio's, so that it never waits behind commands that hang.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// The most threads: as many commands can hang before no other is carried out.
const MOST: usize = 64;
/// How long an idle thread is kept for the next command.
const KEPT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce(&Workers) + Send>;

/// The threads, which are started as they are needed.
#[derive(Default)]
pub struct Workers {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// The threads that run no job.
    idle: usize,
}

impl Workers {
    /// Runs a job on a thread. What it returns can be received; nothing can be, if it panics or no thread can be started.
    pub fn run<T: Send + 'static>(self: &Arc<Self>, job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |workers| {
            // A panic has been reported by its hook, and the job's receiver learns of it.
            let result = panic::catch_unwind(AssertUnwindSafe(job));
            // Before the result is told: who gets it may have the next job at once, which needs no other thread.
            workers.state().idle += 1;
            if let Ok(result) = result {
                // Whoever waited may be gone.
                let _ = sender.send(result);
            }
        });
        let mut state = self.state();
        state.jobs.push_back(job);
        if state.jobs.len() <= state.idle {
            drop(state);
            self.more.notify_one();
        } else if state.threads < MOST {
            state.threads += 1;
            state.idle += 1;
            drop(state);
            self.start_thread();
        }
        receiver
    }

    fn start_thread(self: &Arc<Self>) {
        let workers = Arc::clone(self);
        let started = thread::Builder::new().name("worker".to_owned()).spawn(move || workers.work());
        if let Err(error) = started {
            tracing::error!("a worker cannot be started: {error}");
            let mut state = self.state();
            state.threads -= 1;
            state.idle -= 1;
            if state.threads == 0 {
                state.jobs.clear();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job(self);
        }
    }

    /// The next job; `None`: there was none for so long that the thread is to end.
    fn next(&self) -> Option<Job> {
        let waited = self.more.wait_timeout_while(self.state(), KEPT, |state| state.jobs.is_empty());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let job = state.jobs.pop_front();
        state.idle -= 1;
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn workers() -> Arc<Workers> {
        Arc::new(Workers::default())
    }

    #[test]
    fn jobs_run_side_by_side_and_threads_are_used_again() {
        let workers = workers();
        let (first, second) = (mpsc::channel::<()>(), mpsc::channel::<()>());
        let one = workers.run(move || (first.0.send(()), second.1.recv()).1);
        let two = workers.run(move || (second.0.send(()), first.1.recv()).1);
        assert_eq!((one.blocking_recv().unwrap(), two.blocking_recv().unwrap()), (Ok(()), Ok(())));
        for number in 0..1000 {
            assert_eq!(workers.run(move || number).blocking_recv(), Ok(number));
        }
        assert_eq!(workers.state().threads, 2);
    }

    #[test]
    fn more_jobs_than_threads_wait_their_turn() {
        let workers = workers();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let receivers: Vec<_> = (0..MOST * 2)
            .map(|number| {
                let gate = Arc::clone(&gate);
                workers.run(move || {
                    let open = gate.0.lock().unwrap();
                    drop(gate.1.wait_while(open, |open| !*open).unwrap());
                    number
                })
            })
            .collect();
        assert_eq!(workers.state().threads, MOST);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        let numbers: Vec<_> = receivers.into_iter().map(|receiver| receiver.blocking_recv().unwrap()).collect();
        assert_eq!(numbers, (0..MOST * 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_is_told_and_the_thread_goes_on() {
        let workers = workers();
        assert!(workers.run(|| panic!("on purpose")).blocking_recv().is_err());
        assert_eq!(workers.run(|| 7).blocking_recv(), Ok(7));
    }
}
