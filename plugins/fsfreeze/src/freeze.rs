//! Freezing: plan, hooks, file systems, one step after the other; each can find that the freeze was undone meanwhile.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestd_sdk::CommandError;
use rustix::io::Errno;

use crate::clock;
use crate::config::{OnError, OnHookFailure};
use crate::hooks::{self, Abort, Half};
use crate::lease::{self, First};
use crate::plan;
use crate::plan::mountinfo::Mount;
use crate::report;
use crate::session::{Cause, Entry, HalfRun, HookEntry, Progress, Session};
use crate::state::{Phase, Shared};
use crate::stop_points::reach;
use crate::write_back::write_back;

/// How long before the daemon's deadline a freeze must be complete, so that its reply is not late: a tenth of the
/// time, and no more than this.
const MARGIN: Duration = Duration::from_secs(2);

/// Why a freeze stopped.
enum Stopped {
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

/// Freezes all file systems, or those of `names`, and returns how many were. `deadline_ms`: how long the daemon
/// waits, in milliseconds; 0: without limit.
pub fn freeze(shared: &Arc<Shared>, names: Option<&[&str]>, deadline_ms: u32) -> Result<usize, CommandError> {
    let limit = Duration::from_millis(deadline_ms.into());
    let limit = (deadline_ms > 0).then(|| limit.saturating_sub(MARGIN.min(limit / 10)));
    let deadline = limit.map(|limit| Instant::now() + limit);
    begin(shared)?;
    let undo = Undo(shared);
    let number = match prepare(shared, names, deadline) {
        Ok(session) => install(shared, session, limit)?,
        Err(error) => return Err(error),
    };
    let result = carry_out(shared);
    let why = match result {
        Ok(count) if count > 0 => {
            std::mem::forget(undo);
            return Ok(count);
        }
        // The hooks' thaw halves are due though nothing was frozen.
        Ok(_) => None,
        Err(why) => Some(why),
    };
    shared.begin_thaw(Cause::Failed, &[Phase::Hooks, Phase::Freezing]);
    shared.drive();
    std::mem::forget(undo);
    match why {
        None => Ok(0),
        Some(Stopped::Undone) => Err(CommandError::new(undone(shared, number, limit))),
        Some(Stopped::Failed(error)) => {
            let ended = shared.wait_thawed(number, deadline);
            let stuck = ended.and_then(|ended| ended.failure).filter(|failure| failure.errno.is_some());
            Err(stuck.map_or(error.clone(), |more| CommandError::new(format!("{}; {}", error.desc(), more.text))))
        }
    }
}

/// Undoes a freeze whose thread panics.
struct Undo<'a>(&'a Arc<Shared>);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        let planning = self.0.change(|state| {
            let planning = state.phase == Phase::Planning;
            if planning {
                state.phase = Phase::Thawed;
            } else if let Some(session) = &mut state.session {
                session.busy = false;
                // Whether it was frozen is not known; thawing what is not frozen does nothing.
                let open = session.entries.iter_mut().filter(|entry| entry.progress == Progress::Freezing);
                open.for_each(|entry| entry.progress = Progress::Frozen);
            }
            planning
        });
        if !planning && self.0.begin_thaw(Cause::Failed, &[Phase::Hooks, Phase::Freezing]) {
            self.0.drive();
        }
    }
}

/// How long a freeze waits for a trim to end; trimming a large disk takes minutes, and a host wants to know sooner.
const TRIM_PATIENCE: Duration = Duration::from_secs(3);

fn begin(shared: &Shared) -> Result<(), CommandError> {
    let had_notice = shared.change(|state| {
        if state.stopping {
            return Err(CommandError::new("the agent is about to end"));
        }
        match state.phase {
            Phase::Thawed => {}
            Phase::Planning | Phase::Hooks | Phase::Freezing => {
                return Err(CommandError::new("a freeze is under way already"));
            }
            Phase::Thawing => return Err(CommandError::new("a thaw is under way")),
            Phase::Frozen | Phase::Stuck => return Err(CommandError::new("file systems are frozen already")),
        }
        state.phase = Phase::Planning;
        state.cancelled = None;
        // It is about a freeze that nobody will ask about any more.
        Ok(state.notice.take().is_some())
    })?;
    if had_notice && let Some(store) = &shared.store {
        // Were it to stay, it would be told once more after a restart.
        let _ = store.remove_notice();
    }
    Ok(())
}

/// Everything that can fail before anything is changed.
fn prepare(shared: &Shared, names: Option<&[&str]>, deadline: Option<Instant>) -> Result<Session, CommandError> {
    let config = shared.config();
    let lock = match &shared.store {
        None => None,
        Some(store) => match store.lock().map_err(|error| CommandError::os("failed to lock the plan", &error))? {
            Some(lock) => Some(lock),
            None => return Err(CommandError::new("another agent has a freeze under way")),
        },
    };
    let trim_lock = match &shared.store {
        None => None,
        Some(store) => {
            let waited = store.lock_out_trim(TRIM_PATIENCE);
            match waited.map_err(|error| CommandError::os("failed to wait for guest-fstrim", &error))? {
                Some(lock) => Some(lock),
                None => return Err(CommandError::new("file systems are being trimmed by guest-fstrim")),
            }
        }
    };
    let hooks = hooks::list(&config)?;
    let plan = plan::make(&*shared.kernel, &config, names)?;
    let abort = Abort::new().map_err(|error| CommandError::os("failed to make an eventfd", &error))?;
    write_back(&*shared.kernel, &plan.targets);
    let entries = plan.targets.into_iter();
    let entries = entries.map(|target| Entry::new(target.mount, Some(target.mounted), Progress::Planned)).collect();
    let hooks = hooks.into_iter().map(HookEntry::new).collect();
    let synced = plan.synced.into_iter().map(|target| {
        let failure = shared.kernel.sync(target.mounted.as_fd()).err();
        (target.mount, failure)
    });
    let synced = synced.collect();
    let session = Session::new(config, entries, hooks);
    Ok(Session { left: plan.left, synced, deadline, abort: Some(Arc::new(abort)), lock, trim_lock, ..session })
}

/// Makes a planned freeze the one that is under way.
fn install(shared: &Shared, mut session: Session, limit: Option<Duration>) -> Result<u64, CommandError> {
    shared.change(|state| {
        if session.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            state.cancelled = Some(Cause::Deadline);
        }
        if let Some(cause) = state.cancelled.take() {
            return Err(CommandError::new(text_of(&cause, limit, None)));
        }
        state.number += 1;
        session.number = state.number;
        state.session = Some(session);
        state.phase = Phase::Hooks;
        Ok(state.number)
    })
}

fn carry_out(shared: &Arc<Shared>) -> Result<usize, Stopped> {
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
        freeze_entry(shared, index)?;
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
        let ended = hooks::run(&hook.path, Half::Freeze, config.hook_timeout, abort.as_deref());
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

fn freeze_entry(shared: &Shared, index: usize) -> Result<(), Stopped> {
    let take = |session: &mut Session| {
        let entry = session.entries.get_mut(index)?;
        let mounted = entry.mounted.clone()?;
        entry.progress = Progress::Freezing;
        Some((entry.mount.clone(), mounted, session.config.on_error))
    };
    step(shared, Phase::Freezing, take, |taken| {
        let Some((mount, mounted, on_error)) = taken else { return Ok(()) };
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
            Progress::FreezeFailed(errno) => failed(shared, &mount, errno, on_error),
            _ => Ok(()),
        }
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

fn failed(shared: &Shared, mount: &Mount, errno: Errno, on_error: OnError) -> Result<(), CommandError> {
    let error = CommandError::os(format!("failed to freeze {}", mount.point.display()), &errno.into());
    if on_error == OnError::Fail {
        return Err(error);
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

fn undone(shared: &Shared, number: u64, limit: Option<Duration>) -> String {
    let state = shared.state();
    let session = state.session.as_ref().filter(|session| session.number == number);
    let cause = session.and_then(|session| Some(&session.thawing.as_ref()?.cause));
    let lease = session.and_then(|session| session.config.lease);
    cause.map_or("the freeze was undone".to_owned(), |cause| text_of(cause, limit, lease))
}

fn text_of(cause: &Cause, limit: Option<Duration>, lease: Option<Duration>) -> String {
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f32();
    match cause {
        Cause::Deadline => format!("not frozen within {} s; the freeze was undone", seconds(limit)),
        Cause::Lease => format!("not frozen within the lease of {} s; the freeze was undone", seconds(lease)),
        Cause::Host => "the freeze was undone by a thaw".to_owned(),
        Cause::Stop => "the agent is about to end; the freeze was undone".to_owned(),
        Cause::Failed | Cause::Crash => "the freeze was undone".to_owned(),
    }
}
