//! The state of the set.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use guestd_sdk::prelude::*;

use crate::attempt::Trouble;
use crate::config::Config;
use crate::machine::Machine;
use crate::rehearsal;
use crate::syslog;

/// How long a command may take where the daemon sets no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(45);

/// What the daemon's configuration made of the set.
struct Setup {
    config: Config,
    machine: Machine,
}

/// The state of the set.
pub struct Power {
    setup: RwLock<Arc<Setup>>,
    /// Whether the daemon is to answer as the protocol of 0.15, where a shutdown's success is not silent.
    answers_shutdown: bool,
    /// Held by the command at work.
    busy: Mutex<()>,
}

/// One command at work.
pub(crate) struct Turn<'a> {
    setup: Arc<Setup>,
    /// When the client is told that the command has failed; nothing is begun after it.
    until: Instant,
    _busy: MutexGuard<'a, ()>,
}

impl Power {
    pub(crate) fn start(daemon: &Daemon) -> Result<Self, CommandError> {
        Ok(Self {
            setup: RwLock::new(Arc::new(Setup::read(daemon)?)),
            answers_shutdown: daemon.facts().compat == "0.15",
            busy: Mutex::new(()),
        })
    }

    pub(crate) fn reload(ctx: &Ctx<Self>) -> Result<(), CommandError> {
        let setup = Arc::new(Setup::read(ctx)?);
        *ctx.state.setup.write().unwrap_or_else(PoisonError::into_inner) = setup;
        Ok(())
    }

    /// Begins a command. Fails while another one is at work: two that try to end the guest would only disturb each
    /// other.
    pub(crate) fn begin(&self, deadline_ms: u32) -> Result<Turn<'_>, CommandError> {
        let busy = match self.busy.try_lock() {
            Ok(busy) => busy,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(CommandError::new("another shutdown or suspend command is still at work"));
            }
        };
        let limit = if deadline_ms == 0 { NO_DEADLINE } else { Duration::from_millis(deadline_ms.into()) };
        let setup = Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner));
        Ok(Turn { setup, until: Instant::now() + limit, _busy: busy })
    }

    /// Writes a line to the guest's syslog.
    pub(crate) fn write_syslog(&self, line: &str) -> std::io::Result<()> {
        let setup = Arc::clone(&self.setup.read().unwrap_or_else(PoisonError::into_inner));
        syslog::write(&setup.machine, line)
    }

    /// Whether `guest-shutdown` answers its success.
    pub(crate) fn answers_shutdown(&self) -> bool {
        self.answers_shutdown
    }
}

impl Setup {
    fn read(daemon: &Daemon) -> Result<Self, CommandError> {
        let config = Config::read(daemon)?;
        let machine = match &config.rehearsal {
            Some(root) => {
                daemon.log(
                    guestd_sdk::LogLevel::Warn,
                    format_args!("only rehearses in {}: nothing is shut down or suspended", root.display()),
                );
                Machine::rehearsal(root)
            }
            None if rehearsal::is_test(daemon) => {
                return Err(CommandError::new("a test must not act on its own machine: configure `rehearsal`"));
            }
            None => Machine::real(),
        };
        Ok(Self { config, machine })
    }
}

impl Turn<'_> {
    /// The configuration at the time when the command began.
    pub(crate) fn config(&self) -> &Config {
        &self.setup.config
    }

    /// How long the client still waits.
    pub(crate) fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Fails where the client has been told that the command failed: what it gave up must not happen later.
    pub(crate) fn check_time(&self) -> Result<(), Trouble> {
        if self.time_left().is_zero() { Err(Trouble::Failed("no time is left".to_owned())) } else { Ok(()) }
    }

    /// The guest to act on.
    pub(crate) fn machine(&self) -> &Machine {
        &self.setup.machine
    }
}
