//! The steps of a freeze: hooks, file systems, one after the other; each can find that the freeze was undone meanwhile.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use guestd_sdk::CommandError;
use rustix::io::Errno;

use crate::clock;
use crate::config::{OnError, OnHookFailure};
use crate::freeze::with_remedy;
use crate::hooks::{self, Half};
use crate::lease::{self, First};
use crate::plan::mountinfo::Mount;
use crate::report;
use crate::session::{Cause, HalfRun, Progress, Session};
use crate::state::{Phase, Shared};
use crate::stop_points::reach;

/// Why a freeze stopped.
pub enum Stopped {
    /// This went wrong, and everything is to be undone.
    Failed(CommandError),
    /// Another thread is undoing it, or has.
    Undone,
}

impl From<CommandError> for Stopped {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

/// Carries out the freeze that is under way, and returns how many file systems are frozen.
pub fn carry_out(shared: &Arc<Shared>) -> Result<usize, Stopped> {
    let number = step(
        shared,
        Phase::Hooks,
        |session| session.number,
        |number| {
            reach("freeze.planned", 0);
            // In this order: a marker without a plan would be taken for a freeze by another agent.
            shared.note().map_err(|error| CommandError::os("failed to write the plan", &error))?;
            reach("freeze.noted", 0);
            shared.daemon.set_frozen(true)?;
            reach("freeze.marked", 0);
            let context = |error| CommandError::os("failed to start the thread of the lease", &error);
            lease::start(shared, number, First::Watch).map_err(context)?;
            Ok(number)
        },
    )?;
    let hooks = step(shared, Phase::Hooks, |session| session.hooks.len(), Ok)?;
    for index in 0..hooks {
        run_freeze_half(shared, index)?;
    }
    let memory = shared.kernel.hold_memory();
    step(shared, Phase::Hooks, |session| session.memory = Some(memory), Ok)?;
    let entries = enter_freezing(shared)?;
    for index in 0..entries {
        if !freeze_entry(shared, index)? {
            continue;
        }
        // Later it could wait for what is frozen by then. Of zfs nobody knows what it lies on.
        let at_once = |session: &mut Session| {
            session.entries.get(index).is_some_and(|entry| entry.lies_on_another || entry.only_sync)
        };
        if step(shared, Phase::Freezing, at_once, Ok)? {
            sync_entry(shared, index)?;
        }
    }
    // As late as can be: what was written to it while others were being frozen is in the copy as well.
    for index in 0..entries {
        sync_entry(shared, index)?;
    }
    complete(shared, number)
}

/// Does one step of a freeze that nobody has undone so far: `take` from the state, then `work` without the lock.
/// While it works, nobody ends the thaw that may have begun meanwhile.
fn step<T, R>(
    shared: &Shared,
    phase: Phase,
    take: impl FnOnce(&mut Session) -> T,
    work: impl FnOnce(T) -> Result<R, CommandError>,
) -> Result<R, Stopped> {
    let taken = shared.change(|state| {
        let session = state.session.as_mut().filter(|_| state.phase == phase)?;
        session.busy = true;
        Some(take(session))
    });
    let result = work(taken.ok_or(Stopped::Undone)?);
    let still = shared.change(|state| {
        if let Some(session) = &mut state.session {
            session.busy = false;
        }
        state.phase == phase
    });
    if still { result.map_err(Stopped::Failed) } else { Err(Stopped::Undone) }
}

fn run_freeze_half(shared: &Shared, index: usize) -> Result<(), Stopped> {
    let start = |session: &mut Session| {
        let entry = session.hooks.get_mut(index)?;
        (entry.started, entry.freeze) = (true, HalfRun::Running);
        Some((Arc::clone(&entry.hook), session.config.clone(), session.abort.clone()))
    };
    step(shared, Phase::Hooks, start, |taken| {
        let Some((hook, config, abort)) = taken else { return Ok(()) };
        shared.note().map_err(|error| CommandError::os("failed to write the plan", &error))?;
        reach("freeze.hook.before", index);
        let ended = hooks::run(&shared.daemon, &hook.path, Half::Freeze, config.hook_timeout, abort.as_deref());
        reach("freeze.hook.after", index);
        let failure = (!ended.succeeded()).then(|| hook.failure(&ended));
        hooks::log(&shared.daemon, &hook, &ended, failure.as_deref());
        shared.change(|state| {
            if let Some(entry) = state.session.as_mut().and_then(|session| session.hooks.get_mut(index)) {
                entry.started = ended.started();
                entry.freeze = HalfRun::Ended(failure.clone(), ended.took);
            }
        });
        match failure {
            Some(failure) if config.on_hook_failure == OnHookFailure::Abort => Err(CommandError::new(failure)),
            _ => Ok(()),
        }
    })
}

/// From here on the lease runs: nobody's writing is halted for longer.
fn enter_freezing(shared: &Shared) -> Result<usize, Stopped> {
    let entries = shared.change(|state| {
        let session = state.session.as_mut().filter(|_| state.phase == Phase::Hooks)?;
        session.lease_end = session.config.lease.map(|lease| clock::since_boot() + lease);
        state.phase = Phase::Freezing;
        Some(session.entries.len())
    });
    let entries = entries.ok_or(Stopped::Undone)?;
    step(
        shared,
        Phase::Freezing,
        |_| (),
        |()| {
            reach("freeze.freezing", 0);
            shared.note().map_err(|error| CommandError::os("failed to write the plan", &error))?;
            reach("freeze.freezing.noted", 0);
            Ok(entries)
        },
    )
}

/// Freezes a file system. True: it cannot be, and is to be written back instead.
fn freeze_entry(shared: &Shared, index: usize) -> Result<bool, Stopped> {
    let take = |session: &mut Session| {
        let entry = session.entries.get_mut(index)?;
        let mounted = entry.mounted.clone()?;
        if entry.only_sync {
            entry.progress = Progress::CannotFreeze;
            return None;
        }
        entry.progress = Progress::Freezing;
        Some((entry.mount.clone(), mounted, session.config.on_error))
    };
    step(shared, Phase::Freezing, take, |taken| {
        let Some((mount, mounted, on_error)) = taken else { return Ok(true) };
        reach("freeze.before", index);
        let started = Instant::now();
        let progress = freeze_one(shared, mounted.as_fd());
        let took = started.elapsed();
        reach("freeze.after", index);
        shared.change(|state| {
            if let Some(entry) = state.session.as_mut().and_then(|session| session.entries.get_mut(index)) {
                (entry.progress, entry.freezing_took) = (progress, Some(took));
            }
        });
        match progress {
            Progress::FreezeFailed(errno) => failed(shared, "freeze", &mount, errno, on_error).map(|()| false),
            progress => Ok(progress == Progress::CannotFreeze),
        }
    })
}

/// Writes a file system back that cannot be frozen, unless that is done, or nobody can write to it. It hangs within the same
/// limits as a freeze.
fn sync_entry(shared: &Shared, index: usize) -> Result<(), Stopped> {
    let take = |session: &mut Session| {
        let entry = session.entries.get_mut(index)?;
        if entry.progress != Progress::CannotFreeze || entry.mount.is_read_only() {
            return None;
        }
        entry.progress = Progress::Syncing;
        Some((entry.mount.clone(), entry.mounted.clone()?, session.config.on_error))
    };
    step(shared, Phase::Freezing, take, |taken| {
        let Some((mount, mounted, on_error)) = taken else { return Ok(()) };
        let started = Instant::now();
        let result = shared.kernel.sync(mounted.as_fd());
        let took = started.elapsed();
        let progress = result.map_or_else(Progress::SyncFailed, |()| Progress::Synced);
        shared.change(|state| {
            if let Some(entry) = state.session.as_mut().and_then(|session| session.entries.get_mut(index)) {
                (entry.progress, entry.freezing_took) = (progress, Some(took));
            }
        });
        result.or_else(|errno| failed(shared, "write back", &mount, errno, on_error))
    })
}

/// Freezes one file system. What somebody else has frozen, and what implements no freezing, is passed over, as qemu-ga
/// does.
fn freeze_one(shared: &Shared, mounted: BorrowedFd<'_>) -> Progress {
    loop {
        match shared.kernel.freeze(mounted) {
            Ok(()) => return Progress::Frozen,
            Err(Errno::INTR) => {}
            Err(Errno::BUSY) => return Progress::FoundFrozen,
            Err(Errno::OPNOTSUPP) => return Progress::CannotFreeze,
            Err(errno) => return Progress::FreezeFailed(errno),
        }
    }
}

fn failed(shared: &Shared, what: &str, mount: &Mount, errno: Errno, on_error: OnError) -> Result<(), CommandError> {
    let error = CommandError::os(format!("failed to {what} {}", mount.point.display()), &errno.into());
    if on_error == OnError::Fail {
        return Err(with_remedy(error.desc(), &mount.point));
    }
    shared.warn(format_args!("{}; it is skipped", error.desc()));
    Ok(())
}

fn complete(shared: &Shared, number: u64) -> Result<usize, Stopped> {
    let count = shared.change(|state| {
        let session = state.session.as_mut().filter(|_| state.phase == Phase::Freezing)?;
        if session.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(Err(()));
        }
        let count = session.entries.iter().filter(|entry| entry.progress == Progress::Frozen).count();
        if count > 0 {
            state.phase = Phase::Frozen;
        }
        Some(Ok(count))
    });
    match count {
        None => Err(Stopped::Undone),
        // The lease's thread is about to find the same.
        Some(Err(())) => {
            shared.begin_thaw(Cause::Deadline, &[Phase::Freezing]);
            Err(Stopped::Undone)
        }
        Some(Ok(0)) => Ok(0),
        Some(Ok(count)) => {
            reach("freeze.complete", 0);
            if let Err(error) = shared.note() {
                shared.warn(format_args!("after a crash this freeze would be undone: {error}"));
            }
            reach("freeze.complete.noted", 0);
            report::log(shared, number);
            Ok(count)
        }
    }
}
