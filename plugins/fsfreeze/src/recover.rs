//! The start and the end of the plugin: a freeze that a predecessor left is taken over or undone, and none outlives
//! the daemon.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use guestd_sdk::{CommandError, Ctx, Daemon, LogLevel};

use crate::clock;
use crate::config::Config;
use crate::hooks::Hook;
use crate::journal::{Lock, Record, RecordedHook, RecordedMount, Stage, Store};
use crate::kernel::Kernel;
use crate::lease::{self, First};
use crate::plan;
use crate::plan::mountinfo::{Mount, unescape};
use crate::session::{Cause, Entry, HalfRun, HookEntry, Progress, Session};
use crate::state::{Freezer, Patience, Phase, Shared};

impl Freezer {
    /// Starts the plugin. Where a predecessor died with a complete freeze, that is taken over, with what is left of its
    /// lease; one that was not complete is undone, by a thread of its own.
    ///
    /// Fails on a wrong configuration, unless something may be frozen.
    pub fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        #[cfg(not(test))]
        let surroundings =
            Surroundings { kernel: Arc::new(crate::kernel::Linux), patience: Patience::USUAL, frozen: daemon.frozen() };
        #[cfg(test)]
        let surroundings = crate::tests::surroundings();
        Self::start_in(daemon, surroundings)
    }

    fn start_in(daemon: &Daemon, surroundings: Surroundings) -> Result<Self, CommandError> {
        let Surroundings { kernel, patience, frozen } = surroundings;
        let facts = daemon.facts();
        let store = (!facts.run_dir.as_os_str().is_empty()).then(|| Store::open(&facts.run_dir));
        let store = store.and_then(|store| {
            let warn =
                |why| daemon.log(LogLevel::Warn, format_args!("a freeze will not survive a crash of the agent: {why}"));
            store.map_err(warn).ok()
        });
        let left = left_behind(daemon, store.as_ref(), frozen);
        let config = match Config::read(daemon) {
            Err(error) if left.is_some() => {
                daemon.log(LogLevel::Error, format_args!("{}", error.desc()));
                Config::fallback()
            }
            config => config?,
        };
        let shared = Arc::new(Shared::new(daemon.clone(), kernel, store, config, patience));
        #[cfg(test)]
        crate::tests::started(&shared);
        match left {
            None => {}
            Some(Left::Freeze(record, lock)) => take_over(&shared, &record, lock, frozen),
            Some(Left::Unknown(lock)) => take_over_unknown(&shared, lock),
        }
        Ok(Self { shared, numbers_for_errors: facts.compat == "0.15" })
    }

    /// Thaws, if anything is frozen or about to be, and freezes nothing from then on. Where a file system or a hook
    /// hangs, it takes no longer than is agreed for them; see [`stop_limit`].
    pub fn stop(ctx: &Ctx<Self>) {
        let shared = &ctx.state.shared;
        let (phase, number, limit) = shared.change(|state| {
            state.stopping = true;
            if state.phase == Phase::Planning {
                state.cancelled = Some(Cause::Stop);
            }
            let session = state.session.as_ref();
            let limit = session.map_or(Duration::ZERO, |session| stop_limit(session, shared.patience));
            (state.phase, session.map_or(0, |session| session.number), limit)
        });
        let until = Instant::now() + limit;
        let from = [Phase::Hooks, Phase::Freezing, Phase::Frozen, Phase::Stuck];
        if shared.begin_thaw(Cause::Stop, &from) || phase == Phase::Thawing {
            shared.drive();
            shared.wait_thawed(number, Some(until));
        }
    }
}

/// How long the daemon's end may wait for the thaw: to the end of the lease, for that long everybody was prepared to
/// wait; and for the hooks' thaw halves in any case. A lease that never ends counts as the usual one.
fn stop_limit(session: &Session, patience: Patience) -> Duration {
    let left = match (session.config.lease, session.lease_end) {
        (Some(_), Some(end)) => end.saturating_sub(clock::since_boot()),
        (Some(_), None) => Duration::ZERO,
        (None, _) => Config::fallback().lease.unwrap_or_default(),
    };
    let hooks = u32::try_from(session.hooks.len()).unwrap_or(u32::MAX);
    left.max(patience.settle + session.config.hook_timeout.saturating_mul(hooks))
}

/// What the plugin is started in; tests have their own.
pub struct Surroundings {
    /// The kernel.
    pub kernel: Arc<dyn Kernel>,
    /// How long to wait for what.
    pub patience: Patience,
    /// Whether the daemon found its marker, and has closed its gate.
    pub frozen: bool,
}

/// What a predecessor left.
enum Left {
    /// A freeze with its plan.
    Freeze(Record, Option<Lock>),
    /// A freeze without one: by another agent, or without a directory in memory.
    Unknown(Option<Lock>),
}

fn left_behind(daemon: &Daemon, store: Option<&Store>, frozen: bool) -> Option<Left> {
    let unknown = |lock| frozen.then_some(Left::Unknown(lock));
    let Some(store) = store else { return unknown(None) };
    let lock = match store.lock() {
        Ok(Some(lock)) => Some(lock),
        // Its owner lives, and knows better.
        Ok(None) => return None,
        Err(error) => {
            daemon.log(LogLevel::Warn, format_args!("the plan of the freeze cannot be locked: {error}"));
            None
        }
    };
    let record = match store.read_record() {
        Ok(Some(record)) => record,
        Ok(None) => return unknown(lock),
        Err(error) => {
            daemon.log(LogLevel::Error, format_args!("the plan of a freeze cannot be read: {error}"));
            let _ = store.remove_record();
            return unknown(lock);
        }
    };
    if record.boot_id == clock::boot_id() {
        return Some(Left::Freeze(record, lock));
    }
    daemon.log(LogLevel::Info, format_args!("the guest was started anew since it was frozen: nothing is frozen"));
    if frozen && let Err(error) = daemon.set_frozen(false) {
        daemon.log(LogLevel::Warn, format_args!("{}", error.desc()));
    }
    let _ = store.remove_record();
    None
}

/// A complete freeze is taken over if the daemon's gate is closed; to close it now would be to write a file while
/// file systems are frozen. All others are undone.
fn take_over(shared: &Arc<Shared>, record: &Record, lock: Option<Lock>, gate_closed: bool) {
    let entries = record.mounts.iter().filter_map(entry).collect();
    let hooks = record.hooks.iter().map(hook).collect();
    let mut session = Session::new(shared.config(), entries, hooks);
    session.started = SystemTime::UNIX_EPOCH + Duration::from_secs(record.started);
    session.lease_end = record.lease_end_ms.map(Duration::from_millis);
    session.lock = lock;
    let complete = record.stage == Stage::Frozen && gate_closed;
    if complete {
        shared.warn(format_args!("taking over {} frozen file systems from an agent that died", record.mounts.len()));
    } else {
        shared.warn(format_args!("undoing a freeze whose agent died before it was complete"));
    }
    begin(shared, session, complete);
}

/// Everything that could be frozen is taken for frozen.
fn take_over_unknown(shared: &Arc<Shared>, lock: Option<Lock>) {
    let log = |mount: &Mount, reason: &str| {
        shared.warn(format_args!("{} may be frozen, and cannot be thawed: {reason}", mount.point.display()));
    };
    let found = plan::freezable(&shared.limited(None), log).unwrap_or_else(|error| {
        shared.warn(format_args!("{}", error.desc()));
        Vec::new()
    });
    let entries =
        found.into_iter().map(|(mount, mounted)| Entry::new(mount, Some(mounted), Progress::Frozen)).collect();
    let config = shared.config();
    let mut session = Session::new(Arc::clone(&config), entries, Vec::new());
    session.lease_end = config.lease.map(|lease| clock::since_boot() + lease);
    session.lock = lock;
    shared.warn(format_args!("taking over a freeze of which nothing is known but that it was begun"));
    begin(shared, session, true);
}

fn begin(shared: &Arc<Shared>, mut session: Session, complete: bool) {
    let number = shared.change(|state| {
        state.number += 1;
        session.number = state.number;
        state.session = Some(session);
        state.phase = Phase::Frozen;
        state.number
    });
    let first = if complete { First::Watch } else { First::Drive };
    if complete {
        if let Err(error) = shared.note() {
            shared.warn(format_args!("the plan of the freeze cannot be written: {error}"));
        }
    } else {
        shared.begin_thaw(Cause::Crash, &[Phase::Frozen]);
    }
    if let Err(error) = lease::start(shared, number, first) {
        shared.warn(format_args!("without a thread for the lease, the freeze is undone at once: {error}"));
        shared.begin_thaw(Cause::Crash, &[Phase::Frozen]);
        shared.drive();
    }
}

fn entry(mount: &RecordedMount) -> Option<Entry> {
    let point = path(&mount.point);
    let device = mount.device.parse().ok()?;
    let fstype = mount.fstype.clone();
    let (root, source, options) = (PathBuf::new(), OsString::new(), Vec::new());
    let mount = Mount { id: 0, parent: 0, device, root, point, fstype, source, options };
    Some(Entry::new(mount, None, Progress::Frozen))
}

fn hook(hook: &RecordedHook) -> HookEntry {
    let run = |was: bool| if was { HalfRun::Earlier } else { HalfRun::Waiting };
    let program = Hook { path: path(&hook.path), script: hook.script };
    HookEntry { hook: Arc::new(program), freeze: run(hook.started), started: hook.started, thaw: run(hook.thawed) }
}

fn path(escaped: &str) -> PathBuf {
    OsString::from_vec(unescape(escaped.as_bytes()).into_owned()).into()
}
