//! What a command gets besides its arguments.

use std::fmt::Arguments;
use std::ops::Deref;

use guestd_abi::LogLevel;

use crate::Daemon;

/// The plugin's state and the daemon. Commands run on several threads at once, so the state is shared.
///
/// It dereferences to the [`Daemon`].
pub struct Ctx<S> {
    /// What the plugin's `state:` expression made.
    pub state: S,
    daemon: Daemon,
}

impl<S> Ctx<S> {
    pub(crate) fn new(state: S, daemon: Daemon) -> Self {
        Self { state, daemon }
    }

    /// Logs that something failed and somebody should know.
    pub fn error(&self, message: Arguments<'_>) {
        self.daemon.log(LogLevel::Error, message);
    }

    /// Logs that something is wrong and the plugin goes on.
    pub fn warn(&self, message: Arguments<'_>) {
        self.daemon.log(LogLevel::Warn, message);
    }

    /// Logs what an administrator wants to read afterwards.
    pub fn info(&self, message: Arguments<'_>) {
        self.daemon.log(LogLevel::Info, message);
    }

    /// Logs what happens all the time.
    pub fn debug(&self, message: Arguments<'_>) {
        self.daemon.log(LogLevel::Debug, message);
    }
}

impl<S> Deref for Ctx<S> {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}
