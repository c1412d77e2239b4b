//! One freeze: what takes part in it, and what has become of each part.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use crate::config::Config;
use crate::hooks::{Abort, Hook};
use crate::journal::Lock;
use crate::plan::mountinfo::Mount;
use crate::plan::{Left, Target};

/// Why file systems are thawed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The host asked for it.
    Host,
    /// The freeze failed, or had nothing to freeze.
    Failed,
    /// The freeze was not complete when the daemon stopped waiting for it.
    Deadline,
    /// The lease is over.
    Lease,
    /// The daemon ends.
    Stop,
    /// An agent before this one died before its freeze was complete, or in the middle of its thaw.
    Crash,
}

impl Cause {
    /// Why the agent thawed on its own, so that the host has to be told; `None`: the host knows.
    pub fn own_doing(&self) -> Option<&'static str> {
        match self {
            Self::Host | Self::Failed | Self::Deadline => None,
            Self::Lease => Some("the lease was over"),
            Self::Stop => Some("the agent was stopped"),
            Self::Crash => Some("the agent had died before the freeze was complete"),
        }
    }
}

/// What has become of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Its turn has not come.
    Planned,
    /// FIFREEZE is under way.
    Freezing,
    /// It is frozen.
    Frozen,
    /// Somebody else had frozen it.
    FoundFrozen,
    /// It implements no freezing.
    CannotFreeze,
    /// Instead of being frozen it is being written back.
    Syncing,
    /// It was written back.
    Synced,
    /// Writing it back failed.
    SyncFailed(Errno),
    /// FIFREEZE failed.
    FreezeFailed(Errno),
    /// FITHAW is under way.
    Thawing,
    /// It was thawed.
    Thawed,
    /// It was not frozen any more, or not mounted any more.
    Gone,
    /// FITHAW failed: it is frozen still.
    ThawFailed(Errno),
}

/// A file system that takes part in a freeze.
pub struct Entry {
    /// The mount that it is known by.
    pub mount: Mount,
    /// What to freeze and thaw it by; `None` where a predecessor froze it, or all is over.
    pub mounted: Option<Arc<OwnedFd>>,
    /// See [`Target`].
    pub only_sync: bool,
    /// See [`Target`].
    pub lies_on_another: bool,
    /// What has become of it.
    pub progress: Progress,
    /// How long FIFREEZE took, or writing it back.
    pub freezing_took: Option<Duration>,
    /// How long FITHAW took.
    pub thawing_took: Option<Duration>,
}

/// How a half of a hook went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HalfRun {
    /// Its turn has not come.
    Waiting,
    /// It is running.
    Running,
    /// An agent before this one ran it.
    Earlier,
    /// It ended: the failure if it failed, and how long it took.
    Ended(Option<String>, Duration),
}

/// A hook in a freeze.
pub struct HookEntry {
    /// The hook.
    pub hook: Arc<Hook>,
    /// Its freeze half.
    pub freeze: HalfRun,
    /// Whether that was started, and a thaw half is due.
    pub started: bool,
    /// Its thaw half.
    pub thaw: HalfRun,
}

/// One freeze, from its plan to its end; the last one is kept for the report.
pub struct Session {
    /// Tells it from the others of this process.
    pub number: u64,
    /// When it was begun.
    pub started: SystemTime,
    /// The file systems in the order of freezing.
    pub entries: Vec<Entry>,
    /// All other mounts.
    pub left: Vec<Left>,
    /// What the request named and is no mount point.
    pub unknown: Vec<String>,
    /// The hooks in the order of freezing.
    pub hooks: Vec<HookEntry>,
    /// The configuration that it was begun with.
    pub config: Arc<Config>,
    /// When it must be complete.
    pub deadline: Option<Instant>,
    /// When it ends, by [`crate::clock::since_boot`]; `None`: it does not end by itself, or nothing is frozen yet.
    pub lease_end: Option<Duration>,
    /// Whether the thread that freezes is in the middle of a step.
    pub busy: bool,
    /// Ends the hook that is running.
    pub abort: Option<Arc<Abort>>,
    /// Keeps the process in memory while dropped by nobody.
    pub memory: Option<Box<dyn Send>>,
    /// Keeps other agents from taking the freeze over.
    pub lock: Option<Lock>,
    /// Keeps file systems from being trimmed.
    pub trim_lock: Option<Lock>,
    /// Why and since when it is being thawed.
    pub thawing: Option<Thawing>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Whether the host has asked for the thaw and was told that it goes on, but not how it ended.
    pub untold: bool,
}

/// A thaw that is under way.
#[derive(Debug, Clone)]
pub struct Thawing {
    /// Why.
    pub cause: Cause,
    /// Whether the host is to be told, since it believes that all is still frozen.
    pub tell: bool,
    /// Since when.
    pub since: SystemTime,
    /// The same by the clock that waits are measured with.
    pub begun: Instant,
    /// Whether somebody is about to end it.
    pub ending: bool,
    /// What the freeze was about when it was undone, and may still be.
    pub found: Option<String>,
}

/// How a thaw ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How many file systems were thawed.
    pub count: usize,
    /// The first failure, with the errno of the kernel if it is its.
    pub failure: Option<Failure>,
}

/// Why a thaw failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The sentence.
    pub text: String,
    /// The kernel's number for it, where it has one.
    pub errno: Option<Errno>,
}

impl Failure {
    /// A failure without a number of the kernel's.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), errno: None }
    }
}

impl Entry {
    /// A file system whose turn has not come.
    pub fn new(mount: Mount, mounted: Option<OwnedFd>, progress: Progress) -> Self {
        Self {
            mount,
            mounted: mounted.map(Arc::new),
            only_sync: false,
            lies_on_another: false,
            progress,
            freezing_took: None,
            thawing_took: None,
        }
    }

    /// A file system of a plan.
    pub fn of(target: Target) -> Self {
        let Target { mount, mounted, only_sync, lies_on_another } = target;
        Self { only_sync, lies_on_another, ..Self::new(mount, Some(mounted), Progress::Planned) }
    }

    /// Whether nothing has to be done to leave it unfrozen.
    pub fn is_settled(&self) -> bool {
        !matches!(self.progress, Progress::Freezing | Progress::Frozen | Progress::Thawing | Progress::ThawFailed(_))
    }
}

impl HookEntry {
    /// A hook whose turn has not come.
    pub fn new(hook: Hook) -> Self {
        Self { hook: Arc::new(hook), freeze: HalfRun::Waiting, started: false, thaw: HalfRun::Waiting }
    }
}

impl Session {
    /// A freeze that is begun now.
    pub fn new(config: Arc<Config>, entries: Vec<Entry>, hooks: Vec<HookEntry>) -> Self {
        Self {
            number: 0,
            started: SystemTime::now(),
            entries,
            left: Vec::new(),
            unknown: Vec::new(),
            untold: false,
            hooks,
            config,
            deadline: None,
            lease_end: None,
            busy: false,
            abort: None,
            memory: None,
            lock: None,
            trim_lock: None,
            thawing: None,
            ended: None,
        }
    }

    /// What the freeze is about at the moment, for people.
    pub fn under_way(&self) -> Option<String> {
        let hook = self.hooks.iter().find(|hook| hook.freeze == HalfRun::Running);
        let entry =
            || self.entries.iter().find(|entry| matches!(entry.progress, Progress::Freezing | Progress::Syncing));
        let hook = hook.map(|hook| format!("the hook {} had not ended", hook.hook.path.display()));
        hook.or_else(|| entry().map(|entry| format!("{} had not answered", entry.mount.point.display())))
    }
}
