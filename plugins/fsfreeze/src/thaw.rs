//! Thawing: for the host, and on every way out of a freeze.
//!
//! A thaw is a list of things to do: each file system in the reverse order of freezing, then the hooks' thaw halves,
//! then the end. Any number of threads may work on it; each takes on one thing at a time, under the lock, and does it
//! without the lock. So one that hangs in the kernel is passed by.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use guestd_sdk::{CommandError, LogLevel};
use rustix::io::Errno;

use crate::clock;
use crate::hooks::{self, Abort, Half, Hook};
use crate::journal::{Lock, Notice, Record, RecordedHook, RecordedMount, Stage};
use crate::kernel::Kernel;
use crate::plan;
use crate::plan::mountinfo::{Mount, escape};
use crate::session::{Cause, Ended, Failure, HalfRun, HookEntry, Progress, Session, Thawing};
use crate::state::{Phase, Shared, State};
use crate::stop_points::reach;

/// How often FITHAW is repeated on one file system. Kernels that count freezes need one thaw for each; the number
/// only keeps this from going on for ever.
const MOST_THAWS: usize = 1000;

/// A thread of a thaw runs hooks and writes small files.
const STACK: usize = 256 << 10;

/// What a freeze holds on to until its end.
type Rest = (Vec<Arc<OwnedFd>>, Option<Arc<Abort>>);

/// One thing to do.
enum Task {
    Thaw { index: usize, mounted: Option<Arc<OwnedFd>>, mount: Mount },
    LetGo(Box<dyn Send>),
    Hook { index: usize, hook: Arc<Hook>, limit: Duration },
    End,
    Wait(Instant),
    Nothing,
}

impl Shared {
    /// Turns a freeze that is in one of the phases `from` into a thaw. True: it was, and the caller has to
    /// [`Shared::drive`] it.
    pub fn begin_thaw(&self, cause: Cause, from: &[Phase]) -> bool {
        let begun = self.change(|state| {
            if !from.contains(&state.phase) {
                return None;
            }
            let was = std::mem::replace(&mut state.phase, Phase::Thawing);
            let session = state.session.as_mut()?;
            session.begin_thaw(cause, was);
            Some(session.abort.clone())
        });
        let Some(abort) = begun else { return false };
        if let Some(abort) = abort {
            abort.fire();
        }
        if let Err(error) = self.note() {
            self.warn(format_args!("the plan of the freeze cannot be written: {error}"));
        }
        reach("thaw.begun", 0);
        true
    }

    /// Works on the thaw until nothing is left for this thread to do: it has ended, or others are at the rest of it.
    pub fn drive(&self) {
        loop {
            match self.next_task() {
                Task::Thaw { index, mounted, mount } => self.thaw_entry(index, mounted, &mount),
                Task::LetGo(memory) => drop(memory),
                Task::Hook { index, hook, limit } => self.run_thaw_half(index, &hook, limit),
                Task::End => self.end_thaw(),
                Task::Wait(_) | Task::Nothing => return,
            }
        }
    }

    /// Has another thread work on the thaw, so that the caller can stop waiting for it when it wants.
    pub fn drive_elsewhere(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        let work = move || shared.drive();
        if thread::Builder::new().name("fsfreeze-thaw".to_owned()).stack_size(STACK).spawn(work).is_err() {
            self.drive();
        }
    }

    /// Waits until the thaw of the freeze with this number has ended, well or not. `None`: it has not by `until`.
    pub fn wait_thawed(&self, number: u64, until: Option<Instant>) -> Option<Ended> {
        let mut state = self.state();
        loop {
            match &state.session {
                Some(session) if session.number == number && state.phase == Phase::Thawing => {}
                Some(session) if session.number == number => return session.ended.clone(),
                _ => return None,
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return None;
            }
            state = self.wait(state, until);
        }
    }

    fn next_task(&self) -> Task {
        let mut state = self.state();
        loop {
            match state.task(self.patience.settle) {
                Task::Wait(until) => state = self.wait(state, Some(until)),
                task => return task,
            }
        }
    }

    fn thaw_entry(&self, index: usize, mounted: Option<Arc<OwnedFd>>, mount: &Mount) {
        reach("thaw.before", index);
        let started = Instant::now();
        let progress = match mounted {
            Some(mounted) => thaw_own(&*self.kernel, mounted.as_fd()),
            None => self.thaw_by_number(mount),
        };
        let took = started.elapsed();
        reach("thaw.after", index);
        self.change(|state| {
            if let Some(entry) = state.session.as_mut().and_then(|session| session.entries.get_mut(index)) {
                (entry.progress, entry.thawing_took) = (progress, Some(took));
            }
        });
    }

    fn thaw_by_number(&self, mount: &Mount) -> Progress {
        match plan::reopen(&self.limited(None), mount.device, &mount.point) {
            Ok(Some(mounted)) => thaw_fully(&*self.kernel, mounted.as_fd()),
            Ok(None) => Progress::Gone,
            Err(reason) => {
                self.warn(format_args!("failed to open {}: {reason}", mount.point.display()));
                Progress::ThawFailed(Errno::IO)
            }
        }
    }

    fn run_thaw_half(&self, index: usize, hook: &Hook, limit: Duration) {
        reach("thaw.hook.before", index);
        let ended = hooks::run(&self.daemon, &hook.path, Half::Thaw, limit, None);
        let failure = (!ended.succeeded()).then(|| hook.failure(&ended));
        hooks::log(&self.daemon, hook, &ended, failure.as_deref());
        reach("thaw.hook.after", index);
        self.change(|state| {
            if let Some(entry) = state.session.as_mut().and_then(|session| session.hooks.get_mut(index)) {
                entry.thaw = HalfRun::Ended(failure, ended.took);
            }
        });
        // If this fails, a crash makes the next agent run the half once more.
        let _ = self.note();
        reach("thaw.hook.noted", index);
    }

    /// Opens the gate and forgets the plan; or, if something could not be thawed, keeps both as they are.
    fn end_thaw(&self) {
        let Some((cause, tell, ended, stuck)) = self.change(|state| state.session.as_ref().and_then(summary)) else {
            return;
        };
        if stuck {
            let text = ended.failure.as_ref().map_or("", |failure| &failure.text);
            self.daemon.log(LogLevel::Error, format_args!("{text}; it stays frozen, and will be tried again"));
            self.change(|state| {
                state.phase = Phase::Stuck;
                state.end_session(ended);
            });
            return;
        }
        let notice = tell.then(|| notice(&cause)).flatten();
        if let (Some(store), Some(notice)) = (&self.store, &notice)
            && let Err(error) = store.write_notice(notice)
        {
            self.warn(format_args!("what the host is to be told cannot be kept over a restart: {error}"));
        }
        reach("thaw.noticed", 0);
        // In this order: a marker without a plan would be taken for a freeze by another agent.
        if let Err(error) = self.daemon.set_frozen(false) {
            self.warn(format_args!("{}", error.desc()));
        }
        reach("thaw.opened", 0);
        self.forget();
        reach("thaw.forgotten", 0);
        // Before anybody learns that it is over, and begins another freeze.
        drop(self.change(|state| state.session.as_mut().map(Session::take_locks)));
        let level = if cause.own_doing().is_some() { LogLevel::Warn } else { LogLevel::Info };
        let why = cause.own_doing().map(|why| format!(", because {why}")).unwrap_or_default();
        self.daemon.log(level, format_args!("{} file systems thawed{why}", ended.count));
        let rest = self.change(|state| {
            state.phase = Phase::Thawed;
            state.notice = notice.or(state.notice.take());
            state.end_session(ended)
        });
        // Closes descriptors, which may block.
        drop(rest);
    }

    fn forget(&self) {
        let Some(store) = &self.store else { return };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = store.remove_record() {
            self.warn(format_args!("the plan of the freeze cannot be removed: {error}"));
        }
    }

    /// Writes down how far the freeze is, for the next agent, should this one die.
    pub fn note(&self) -> io::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let record = {
            let state = self.state();
            state.stage().zip(state.session.as_ref()).map(|(stage, session)| session.record(stage))
        };
        record.map_or(Ok(()), |record| store.write_record(&record))
    }
}

impl State {
    /// Whether a thread that works on the thaw would find something to do, now or when it has waited a little.
    pub fn has_thaw_work(&self) -> bool {
        let Some(session) = self.session.as_ref().filter(|_| self.phase == Phase::Thawing) else { return false };
        session.entries.iter().any(|entry| entry.progress == Progress::Frozen)
            || session.hooks.iter().any(is_due) && session.hooks.iter().all(|entry| entry.thaw != HalfRun::Running)
    }

    /// Takes on the next thing to do. `settle`: how long the hooks wait for file systems that do not thaw.
    fn task(&mut self, settle: Duration) -> Task {
        if self.phase != Phase::Thawing {
            return Task::Nothing;
        }
        let Some(session) = &mut self.session else { return Task::Nothing };
        let frozen = session.entries.iter().rposition(|entry| entry.progress == Progress::Frozen);
        if let Some(index) = frozen
            && let Some(entry) = session.entries.get_mut(index)
        {
            entry.progress = Progress::Thawing;
            return Task::Thaw { index, mounted: entry.mounted.clone(), mount: entry.mount.clone() };
        }
        let Some(thawing) = &mut session.thawing else { return Task::Nothing };
        let others_at_it = session.busy
            || session.entries.iter().any(|entry| matches!(entry.progress, Progress::Freezing | Progress::Thawing));
        let settled_by = thawing.begun + settle;
        let more = session.memory.is_some() || session.hooks.iter().any(is_due);
        if others_at_it && more && Instant::now() < settled_by {
            return Task::Wait(settled_by);
        }
        if let Some(memory) = session.memory.take() {
            return Task::LetGo(memory);
        }
        if session.hooks.iter().any(|entry| entry.thaw == HalfRun::Running) {
            return Task::Nothing;
        }
        if let Some(index) = session.hooks.iter().rposition(is_due)
            && let Some(entry) = session.hooks.get_mut(index)
        {
            entry.thaw = HalfRun::Running;
            return Task::Hook { index, hook: Arc::clone(&entry.hook), limit: session.config.hook_timeout };
        }
        if others_at_it || std::mem::replace(&mut thawing.ending, true) {
            return Task::Nothing;
        }
        Task::End
    }

    /// Notes how the thaw ended, and hands out what is to be dropped without the lock.
    fn end_session(&mut self, ended: Ended) -> Option<Rest> {
        let stuck = self.phase == Phase::Stuck;
        let session = self.session.as_mut()?;
        session.ended = Some(ended);
        if stuck {
            if let Some(thawing) = &mut session.thawing {
                thawing.ending = false;
            }
            return None;
        }
        session.lease_end = None;
        let mounted: Vec<_> = session.entries.iter_mut().filter_map(|entry| entry.mounted.take()).collect();
        Some((mounted, session.abort.take()))
    }
}

impl Session {
    fn begin_thaw(&mut self, cause: Cause, was: Phase) {
        let others_too = !matches!(cause, Cause::Failed | Cause::Deadline);
        for entry in &mut self.entries {
            match entry.progress {
                Progress::ThawFailed(_) => entry.progress = Progress::Frozen,
                Progress::FoundFrozen if others_too => entry.progress = Progress::Frozen,
                _ => {}
            }
        }
        // The call that freezes is itself answered with an error, if the daemon lives to do it.
        let host_knows = matches!(was, Phase::Hooks | Phase::Freezing) && cause != Cause::Stop;
        let mut tell = cause.own_doing().is_some() && !host_knows;
        let mut cause = cause;
        if let Some(before) = self.thawing.take()
            && before.tell
        {
            (cause, tell) = (before.cause, true);
        }
        let (since, begun) = (SystemTime::now(), Instant::now());
        let found = self.under_way();
        self.thawing = Some(Thawing { cause, tell, since, begun, ending: false, found });
    }

    fn take_locks(&mut self) -> [Option<Lock>; 2] {
        [self.lock.take(), self.trim_lock.take()]
    }

    fn record(&self, stage: Stage) -> Record {
        let mounts = self.entries.iter().map(|entry| RecordedMount {
            point: escape(&entry.mount.point),
            device: entry.mount.device.to_string(),
            fstype: entry.mount.fstype.clone(),
        });
        let hooks = self.hooks.iter().map(|entry| RecordedHook {
            path: escape(&entry.hook.path),
            script: entry.hook.script,
            started: entry.started,
            thawed: matches!(entry.thaw, HalfRun::Ended(..) | HalfRun::Earlier),
        });
        let since_1970 = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Record {
            format: Record::FORMAT,
            boot_id: clock::boot_id(),
            stage,
            started: since_1970.as_secs(),
            lease_end_ms: self.lease_end.map(clock::millis),
            mounts: mounts.collect(),
            hooks: hooks.collect(),
        }
    }
}

/// Whether the thaw half of a hook has to be run.
fn is_due(entry: &HookEntry) -> bool {
    entry.started && entry.thaw == HalfRun::Waiting
}

/// Why it was thawed, whether the host is to be told, what is to be answered, and whether something is still frozen.
fn summary(session: &Session) -> Option<(Cause, bool, Ended, bool)> {
    let thawing = session.thawing.as_ref()?;
    let count = session.entries.iter().filter(|entry| entry.progress == Progress::Thawed).count();
    let stuck = session.entries.iter().find_map(|entry| match entry.progress {
        Progress::ThawFailed(errno) => Some(thaw_failure(&entry.mount, errno)),
        _ => None,
    });
    let is_stuck = stuck.is_some();
    let hook = session.hooks.iter().rev().find_map(|entry| match &entry.thaw {
        HalfRun::Ended(Some(failure), _) => Some(Failure::new(failure.clone())),
        _ => None,
    });
    let hook = hook.filter(|_| session.config.on_hook_failure == crate::config::OnHookFailure::Abort);
    Some((thawing.cause.clone(), thawing.tell, Ended { count, failure: stuck.or(hook) }, is_stuck))
}

fn notice(cause: &Cause) -> Option<Notice> {
    let when = clock::text(SystemTime::now());
    let why = cause.own_doing()?;
    let text = format!(
        "the agent thawed the file systems by itself at {when}, because {why}: \
         a copy that was not complete by then is not consistent"
    );
    Some(Notice { text })
}

/// The failure of a thaw, in the form of qemu-ga's `failed to freeze`.
pub fn thaw_failure(mount: &Mount, errno: Errno) -> Failure {
    let error = CommandError::os(format!("failed to thaw {}", mount.point.display()), &errno.into());
    Failure { text: error.desc().to_owned(), errno: Some(errno) }
}

/// Thaws a file system that this process has frozen. EINVAL of FITHAW says that it is not frozen, but the thaw of a JFS whose
/// device fails says EINVAL as well; only FIFREEZE tells one from the other.
fn thaw_own(kernel: &dyn Kernel, mounted: BorrowedFd<'_>) -> Progress {
    match thaw_fully(kernel, mounted) {
        Progress::Gone => match kernel.freeze(mounted) {
            Err(Errno::BUSY) => Progress::ThawFailed(Errno::INVAL),
            Err(_) => Progress::Gone,
            Ok(()) => match thaw_fully(kernel, mounted) {
                Progress::Thawed => Progress::Gone,
                other => other,
            },
        },
        other => other,
    }
}

/// Thaws a file system until it is not frozen any more, however often it was frozen.
pub fn thaw_fully(kernel: &dyn Kernel, mounted: BorrowedFd<'_>) -> Progress {
    let mut thawed = false;
    for _ in 0..MOST_THAWS {
        match kernel.thaw(mounted) {
            Ok(()) => thawed = true,
            Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::OPNOTSUPP) => break,
            Err(errno) => return Progress::ThawFailed(errno),
        }
    }
    if thawed { Progress::Thawed } else { Progress::Gone }
}
