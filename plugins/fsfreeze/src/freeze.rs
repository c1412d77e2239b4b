//! A freeze from its request to its answer: what is prepared before anybody is halted, and what is answered when.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use glob::Pattern;
use guestd_sdk::CommandError;

use crate::config::Config;
use crate::hooks::{self, Abort, Hook};
use crate::kernel::limited::Asked;
use crate::limits::freeze_limit;
use crate::plan;
use crate::session::{Cause, Entry, HookEntry, Progress, Session, Thawing};
use crate::state::{Phase, Shared};
use crate::steps::{self, Stopped};
use crate::write_back::write_back;

/// How much later than its own limit a freeze is given up that has not even noticed it, for something hangs: within the margin
/// that the limit has.
const GRACE: Duration = Duration::from_millis(500);
/// The thread plans, runs hooks and writes one small file.
const STACK: usize = 512 << 10;

/// Freezes all file systems, or those of `names`, and returns how many were. `deadline_ms`: how long the daemon
/// waits, in milliseconds; 0: without limit.
///
/// The work is done on a thread of its own, since it can hang in the kernel; who asked for it is answered in time all the same.
pub fn freeze(shared: &Arc<Shared>, names: Option<Vec<String>>, deadline_ms: u32) -> Result<usize, CommandError> {
    begin(shared)?;
    let undo = Undo(Some(Arc::clone(shared)));
    let config = shared.config();
    let (hooks, passed_over) = {
        let config = Arc::clone(&config);
        let listed = shared.limited(None).ask(Asked::Hooks, move |_| hooks::list(&config));
        listed.map_err(|no_answer| CommandError::new(format!("failed to list the hooks: {no_answer}")))??
    };
    passed_over.iter().for_each(|why| shared.warn(format_args!("{why}")));
    let limit = freeze_limit(&config, hooks.len(), deadline_ms);
    let asked = Asking { names, config, hooks, limit, deadline: limit.map(|limit| Instant::now() + limit) };
    let deadline = asked.deadline;
    let (sender, outcome) = sync_channel(1);
    let work = {
        let shared = Arc::clone(shared);
        move || {
            let result = asked.carry_out(&shared, undo);
            let _ = sender.send(result);
        }
    };
    let thread = thread::Builder::new().name("fsfreeze".to_owned()).stack_size(STACK).spawn(work);
    thread.map_err(|error| CommandError::os("failed to start the thread of the freeze", &error))?;
    let result = match deadline {
        Some(deadline) => outcome.recv_timeout((deadline + GRACE).saturating_duration_since(Instant::now())),
        None => outcome.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    result.unwrap_or_else(|_| Err(CommandError::new(given_up(shared, limit))))
}

/// An error with a file system, and how to go on without it.
pub fn with_remedy(text: &str, point: &Path) -> CommandError {
    CommandError::new(format!("{text}; {}", remedy(point)))
}

/// How to go on without a file system.
pub fn remedy(point: &Path) -> String {
    let pattern = Pattern::escape(&point.to_string_lossy());
    format!("exclude = [{pattern:?}] or on-error = \"skip\" in [plugins.fsfreeze] freezes all others")
}

/// What a freeze that is begun is to do.
struct Asking {
    names: Option<Vec<String>>,
    config: Arc<Config>,
    hooks: Vec<Hook>,
    limit: Option<Duration>,
    deadline: Option<Instant>,
}

impl Asking {
    /// Everything that can fail before anything is changed.
    fn prepare(self, shared: &Shared) -> Result<Session, CommandError> {
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
        let kernel = shared.limited(self.deadline);
        let plan = plan::make(&kernel, &self.config, self.names.as_deref())?;
        for name in &plan.unknown {
            shared.warn(format_args!("{name:?} is not a mount point: the request names it in vain"));
        }
        let abort = Abort::new().map_err(|error| CommandError::os("failed to make an eventfd", &error))?;
        let entries: Vec<Entry> = plan.targets.into_iter().map(Entry::of).collect();
        let frozen = entries.iter().filter(|entry| !entry.only_sync);
        let targets = frozen.filter_map(|entry| Some((entry.mount.clone(), entry.mounted.clone()?)));
        write_back(&kernel, &targets.collect::<Vec<_>>())?;
        let hooks = self.hooks.into_iter().map(HookEntry::new).collect();
        let session = Session::new(self.config, entries, hooks);
        let (left, unknown, deadline) = (plan.left, plan.unknown, self.deadline);
        Ok(Session { left, unknown, deadline, abort: Some(Arc::new(abort)), lock, trim_lock, ..session })
    }

    fn carry_out(self, shared: &Arc<Shared>, undo: Undo) -> Result<usize, CommandError> {
        let (limit, deadline) = (self.limit, self.deadline);
        let session = self.prepare(shared)?;
        let number = install(shared, session, limit)?;
        let result = steps::carry_out(shared);
        let why = match result {
            Ok(count) if count > 0 => {
                undo.forget();
                return Ok(count);
            }
            // The hooks' thaw halves are due though nothing was frozen.
            Ok(_) => None,
            Err(why) => Some(why),
        };
        shared.begin_thaw(Cause::Failed, &[Phase::Hooks, Phase::Freezing]);
        shared.drive();
        undo.forget();
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
}

/// Gives up a freeze whose thread hangs, and says what in.
fn given_up(shared: &Shared, limit: Option<Duration>) -> String {
    let number = shared.change(|state| {
        if state.phase == Phase::Planning {
            state.cancelled = Some(Cause::Deadline);
            return None;
        }
        state.session.as_ref().map(|session| session.number)
    });
    match number {
        None => text_of(&Cause::Deadline, limit, None, None),
        Some(number) => undone(shared, number, limit),
    }
}

/// Undoes a freeze whose thread panics.
struct Undo(Option<Arc<Shared>>);

impl Undo {
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(shared) = &self.0 else { return };
        let planning = shared.change(|state| {
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
        if !planning && shared.begin_thaw(Cause::Failed, &[Phase::Hooks, Phase::Freezing]) {
            shared.drive();
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

/// Makes a planned freeze the one that is under way.
fn install(shared: &Shared, mut session: Session, limit: Option<Duration>) -> Result<u64, CommandError> {
    shared.change(|state| {
        if session.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            state.cancelled = Some(Cause::Deadline);
        }
        if let Some(cause) = state.cancelled.take() {
            return Err(CommandError::new(text_of(&cause, limit, None, None)));
        }
        state.number += 1;
        session.number = state.number;
        state.session = Some(session);
        state.phase = Phase::Hooks;
        Ok(state.number)
    })
}

fn undone(shared: &Shared, number: u64, limit: Option<Duration>) -> String {
    let state = shared.state();
    let session = state.session.as_ref().filter(|session| session.number == number);
    let thawing = session.and_then(|session| session.thawing.as_ref());
    let lease = session.and_then(|session| session.config.lease);
    let text = |thawing: &Thawing| text_of(&thawing.cause, limit, lease, thawing.found.as_deref());
    thawing.map_or("the freeze was undone".to_owned(), text)
}

fn text_of(cause: &Cause, limit: Option<Duration>, lease: Option<Duration>, found: Option<&str>) -> String {
    // Of a limit counts what is left when the call begins; nobody wants to read its milliseconds.
    let seconds = |time: Option<Duration>| match time.unwrap_or_default().as_secs_f32() {
        few if few < 5.0 => few,
        many => many.round(),
    };
    let found = found.map(|found| format!(" ({found})")).unwrap_or_default();
    match cause {
        Cause::Deadline => format!("not frozen within {} s{found}; the freeze was undone", seconds(limit)),
        Cause::Lease => format!("not frozen within the lease of {} s{found}; the freeze was undone", seconds(lease)),
        Cause::Host => "the freeze was undone by a thaw".to_owned(),
        Cause::Stop => "the agent is about to end; the freeze was undone".to_owned(),
        Cause::Failed | Cause::Crash => "the freeze was undone".to_owned(),
    }
}
