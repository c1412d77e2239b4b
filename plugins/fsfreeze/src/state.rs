//! What commands, the lease and recovery share: how far the freeze is, and what it did so far.
//!
//! The lock is taken for moments of pure computing. Whoever freezes, thaws, runs a hook or writes a file marks in the
//! state what it has taken on, does it without the lock, and notes the result. So a call that never comes back keeps
//! nobody else from thawing the rest.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guestd_sdk::helpers::Helpers;
use guestd_sdk::{CommandError, Daemon, LogLevel};

use crate::config::Config;
use crate::journal::{Notice, Stage, Store};
use crate::kernel::Kernel;
use crate::kernel::limited::{Asked, Limited};
use crate::session::{Cause, Ended, Entry, Session};

/// How far the freeze is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is under way.
    Thawed,
    /// The plan is being made.
    Planning,
    /// The hooks' freeze halves are run.
    Hooks,
    /// File systems are being frozen.
    Freezing,
    /// All are frozen.
    Frozen,
    /// File systems are being thawed, and the hooks' thaw halves run.
    Thawing,
    /// Some could not be thawed.
    Stuck,
}

/// Behind the lock.
pub struct State {
    /// How far the freeze is.
    pub phase: Phase,
    /// The freeze that is under way, or the last one.
    pub session: Option<Session>,
    /// Why a freeze that is being planned is not to be carried out.
    pub cancelled: Option<Cause>,
    /// What the host has not been told.
    pub notice: Option<Notice>,
    /// Whether the daemon ends.
    pub stopping: bool,
    /// The number of the last freeze.
    pub number: u64,
    /// Grows with every step of a thaw, so that one that makes none is seen.
    pub steps: u64,
}

/// How long to wait for what should not take long.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before a second thread helps with a thaw that makes no step.
    pub stall: Duration,
    /// Before the hooks' thaw halves are run though a file system has not thawed.
    pub settle: Duration,
    /// Before a mount, a device or a directory that does not answer when it is asked for is done without.
    pub answer: Duration,
    /// Before file systems that could not be thawed are tried again; doubled each time, up to 32 times.
    pub retry: Duration,
}

impl Patience {
    /// For guests.
    #[cfg(not(test))]
    pub const USUAL: Self = Self {
        stall: Duration::from_secs(2),
        settle: Duration::from_secs(5),
        answer: Duration::from_secs(10),
        retry: Duration::from_secs(10),
    };
}

/// What all threads share.
pub struct Shared {
    /// The daemon.
    pub daemon: Daemon,
    /// The kernel, or a double.
    pub kernel: Arc<dyn Kernel>,
    /// Where plans outlive a crash; `None`: nowhere.
    pub store: Option<Store>,
    /// How long to wait for what.
    pub patience: Patience,
    helpers: Arc<Helpers<Asked>>,
    config: Mutex<Arc<Config>>,
    state: Mutex<State>,
    /// Told of changes of the state; see [`Shared::change`].
    pub changed: Condvar,
    /// Held while the plan is written, so that the last one written is the latest.
    pub writing: Mutex<()>,
    status: AtomicU8,
}

/// The state of the plugin.
pub struct Freezer {
    /// What commands share with the lease and with recovery.
    pub shared: Arc<Shared>,
    /// Whether a failed thaw is answered with a number, as in version 0.15 of the protocol.
    pub numbers_for_errors: bool,
}

/// `GuestFsfreezeStatus`, with the third state of version 0.15 of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Status {
    /// Nothing is frozen.
    Thawed,
    /// Something is frozen.
    Frozen,
    /// Something could not be thawed.
    Error,
}

impl Shared {
    /// Nothing frozen yet.
    pub fn new(
        daemon: Daemon,
        kernel: Arc<dyn Kernel>,
        store: Option<Store>,
        config: Config,
        patience: Patience,
    ) -> Self {
        let notice = store.as_ref().and_then(Store::read_notice);
        let state = State {
            phase: Phase::Thawed,
            session: None,
            cancelled: None,
            notice,
            stopping: false,
            number: 0,
            steps: 0,
        };
        Self {
            daemon,
            kernel,
            store,
            patience,
            helpers: Arc::default(),
            config: Mutex::new(Arc::new(config)),
            state: Mutex::new(state),
            changed: Condvar::new(),
            writing: Mutex::new(()),
            status: AtomicU8::new(Status::Thawed as u8),
        }
    }

    /// The kernel, asked with a limit for each answer, and for all, until `until`.
    pub fn limited(&self, until: Option<Instant>) -> Limited {
        Limited::new(Arc::clone(&self.kernel), Arc::clone(&self.helpers), self.patience.answer, until)
    }

    /// Takes the lock. Nothing that can block may be done while it is held.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells everybody who waits for a change: of the phase, or of anything in a thaw. The steps
    /// of a freeze are of interest to nobody but the thread that takes them, and would be held up by those that look.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let before = state.phase;
        let result = change(&mut state);
        state.steps += 1;
        self.status.store(state.status() as u8, Ordering::Release);
        let tell = state.phase != before || state.phase == Phase::Thawing;
        drop(state);
        if tell {
            self.changed.notify_all();
        }
        result
    }

    /// Waits for a change, until `until` at the latest.
    pub fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// What is frozen, without taking the lock.
    pub fn status(&self) -> Status {
        match self.status.load(Ordering::Acquire) {
            0 => Status::Thawed,
            1 => Status::Frozen,
            _ => Status::Error,
        }
    }

    /// The configuration at the moment.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration in place, for the next freeze.
    pub fn set_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Logs what has no command to report it.
    pub fn warn(&self, message: std::fmt::Arguments<'_>) {
        self.daemon.log(LogLevel::Warn, message);
    }
}

impl State {
    fn status(&self) -> Status {
        let settled = || self.session.as_ref().is_none_or(|session| session.entries.iter().all(Entry::is_settled));
        match self.phase {
            Phase::Thawed | Phase::Planning | Phase::Hooks => Status::Thawed,
            Phase::Freezing | Phase::Frozen => Status::Frozen,
            Phase::Thawing if settled() => Status::Thawed,
            Phase::Thawing => Status::Frozen,
            Phase::Stuck => Status::Error,
        }
    }

    /// How a thaw ended that the host has asked for and was not told the end of.
    pub fn take_untold(&mut self) -> Option<Ended> {
        let session = self.session.as_mut()?;
        let untold = std::mem::take(&mut session.untold);
        session.ended.clone().filter(|_| untold)
    }

    /// The stage to note in the plan; `None`: there is nothing to note.
    pub fn stage(&self) -> Option<Stage> {
        match self.phase {
            Phase::Thawed | Phase::Planning => None,
            Phase::Hooks => Some(Stage::Hooks),
            Phase::Freezing => Some(Stage::Freezing),
            Phase::Frozen => Some(Stage::Frozen),
            Phase::Thawing | Phase::Stuck => Some(Stage::Thawing),
        }
    }
}

impl Freezer {
    /// Puts another configuration in place; the freeze that is under way keeps its own.
    pub fn reload(ctx: &guestd_sdk::Ctx<Self>) -> Result<(), CommandError> {
        ctx.state.shared.set_config(Config::read(ctx)?);
        Ok(())
    }
}
