//! The thread that ends a freeze in time: when the daemon has stopped waiting for it, or when its lease is over.
//!
//! It is started before the first hook of a freeze and ends with the thaw. Between it only sleeps. It needs nothing
//! that a call which hangs could hold, so it does its work whatever hangs: a hook, a file system, the client.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::session::{Cause, Entry, Progress, Session};
use crate::state::{Phase, Shared, State};

/// The thread runs hooks and writes one small file.
const STACK: usize = 256 << 10;
/// Thaws are tried again at intervals that grow by this factor, twice each time, at most.
const LONGEST_RETRY: u32 = 32;

/// What the thread is to do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Wait.
    Watch,
    /// Work on the thaw that is under way.
    Drive,
}

/// Starts the thread for the freeze with this number.
pub fn start(shared: &Arc<Shared>, number: u64, first: First) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let work = move || {
        if first == First::Drive {
            shared.drive();
        }
        watch(&shared, number);
    };
    thread::Builder::new().name("fsfreeze-lease".to_owned()).stack_size(STACK).spawn(work)?;
    Ok(())
}

/// What the state asks for.
enum Due {
    Over,
    Thaw(Cause),
    Wait(Option<Instant>),
    /// The thaw that others work on has taken this many steps, and there is more to do.
    Help(u64),
    Retry,
}

fn watch(shared: &Arc<Shared>, number: u64) {
    let mut retries = 0;
    let mut state = shared.state();
    loop {
        match due(&state, number) {
            Due::Over => return,
            Due::Wait(until) => state = shared.wait(state, until),
            Due::Thaw(cause) => {
                drop(state);
                if shared.begin_thaw(cause, &[Phase::Hooks, Phase::Freezing, Phase::Frozen]) {
                    // Somebody has to watch this thread, too. Without memory for one more it goes alone.
                    let _ = start(shared, number, First::Watch);
                    shared.drive();
                }
                state = shared.state();
            }
            Due::Help(steps) => {
                state = shared.wait(state, Some(Instant::now() + shared.patience.stall));
                if state.steps != steps || !state.has_thaw_work() {
                    continue;
                }
                drop(state);
                // This thread may hang as well.
                let _ = start(shared, number, First::Watch);
                shared.drive();
                let hanging = hanging(&shared.state());
                hanging.iter().for_each(|line| shared.warn(format_args!("{line}")));
                state = shared.state();
            }
            Due::Retry => {
                let until = Instant::now() + shared.patience.retry * (1_u32 << retries).min(LONGEST_RETRY);
                while state.phase == Phase::Stuck && is_of(&state, number) && Instant::now() < until {
                    state = shared.wait(state, Some(until));
                }
                if state.phase != Phase::Stuck {
                    continue;
                }
                retries = (retries + 1).min(5);
                drop(state);
                if shared.begin_thaw(Cause::Failed, &[Phase::Stuck]) {
                    shared.drive();
                }
                state = shared.state();
            }
        }
    }
}

fn is_of(state: &State, number: u64) -> bool {
    state.session.as_ref().is_some_and(|session| session.number == number)
}

/// A line for each file system that the kernel does not come back from.
fn hanging(state: &State) -> Vec<String> {
    let entries = state.session.iter().flat_map(|session| &session.entries);
    let line = |entry: &Entry| match entry.progress {
        Progress::Freezing => Some(format!("{} hangs while it is being frozen", entry.mount.point.display())),
        Progress::Thawing => Some(format!("{} hangs while it is being thawed", entry.mount.point.display())),
        _ => None,
    };
    entries.filter_map(line).collect()
}

fn due(state: &State, number: u64) -> Due {
    let Some(session) = state.session.as_ref().filter(|session| session.number == number) else { return Due::Over };
    match state.phase {
        Phase::Thawed | Phase::Planning => Due::Over,
        Phase::Hooks | Phase::Freezing => {
            first_of(&[(session.deadline, Cause::Deadline), (lease_end(session), Cause::Lease)])
        }
        Phase::Frozen => first_of(&[(lease_end(session), Cause::Lease)]),
        Phase::Thawing if state.has_thaw_work() => Due::Help(state.steps),
        Phase::Thawing => Due::Wait(None),
        Phase::Stuck => Due::Retry,
    }
}

/// The end of the lease by the clock that waits are measured with.
fn lease_end(session: &Session) -> Option<Instant> {
    let left: Duration = session.lease_end?.saturating_sub(clock::since_boot());
    Some(Instant::now() + left)
}

fn first_of(ends: &[(Option<Instant>, Cause)]) -> Due {
    let first = ends.iter().filter_map(|(end, cause)| Some(((*end)?, cause))).min_by_key(|(end, _)| *end);
    match first {
        Some((end, cause)) if end <= Instant::now() => Due::Thaw(cause.clone()),
        Some((end, _)) => Due::Wait(Some(end)),
        None => Due::Wait(None),
    }
}
