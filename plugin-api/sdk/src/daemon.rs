//! The daemon as a plugin sees it.

use std::fmt::Arguments;
use std::path::PathBuf;
use std::time::Duration;

use guestd_abi::{HostArc, LogLevel, RResult};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::CommandError;

/// A handle to the daemon. Clones are the same handle; it works on any thread, for the life of the process.
#[derive(Clone)]
pub struct Daemon(HostArc);

/// Facts about the daemon that stay the same for its life.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct HostFacts {
    /// guestd's version.
    pub version: String,
    /// The version that `guest-info` is to report.
    pub reported_version: String,
    /// The protocol whose answers the configuration asks for, as `"0.15"`; empty: today's.
    pub compat: String,
    /// Where state is kept that outlives the daemon; empty: nowhere.
    pub state_dir: PathBuf,
    /// A directory in memory, which can be written while file systems are frozen, for state that outlives the
    /// daemon but not the guest's boot; empty: there is none.
    pub run_dir: PathBuf,
    /// The umask that the daemon was started with: for programs, and for files that others are to use. Its own is 077.
    pub umask: u32,
}

impl Default for HostFacts {
    fn default() -> Self {
        Self {
            version: String::new(),
            reported_version: String::new(),
            compat: String::new(),
            state_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            umask: 0o022,
        }
    }
}

/// A command, as `guest-info` and people want to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct CommandInfo {
    /// The name on the wire.
    pub name: String,
    /// The set that it belongs to.
    pub set: String,
    /// Whether a request would be carried out now.
    pub enabled: bool,
    /// Whether a success is answered.
    pub success_response: bool,
}

impl Daemon {
    pub(crate) fn new(host: HostArc) -> Self {
        Self(host)
    }

    /// Logs a message under the plugin's name. It is not put together if nobody would see it.
    pub fn log(&self, level: LogLevel, message: Arguments<'_>) {
        if self.0.log_level() < level as u8 {
            return;
        }
        match message.as_str() {
            Some(text) => self.0.log(level as u8, text.into()),
            None => self.0.log(level as u8, message.to_string().as_str().into()),
        }
    }

    /// The plugin's section of the configuration, `[plugins.NAME]`. Derive `Deserialize` with
    /// `deny_unknown_fields`, so that a misspelt key is an error, and with `default`, so that none is required.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, CommandError> {
        serde_json::from_str(self.0.config().as_str()).map_err(|error| {
            // The position is one in the JSON text, which nobody has written.
            let text = error.to_string();
            let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
            CommandError::new(format!("configuration: {what}"))
        })
    }

    /// Facts about the daemon.
    pub fn facts(&self) -> HostFacts {
        serde_json::from_str(self.0.facts().as_str()).unwrap_or_default()
    }

    /// A number that changes whenever [`Daemon::commands`] may give another answer.
    pub fn commands_generation(&self) -> u64 {
        self.0.commands_generation()
    }

    /// Every command that the daemon knows.
    pub fn commands(&self) -> Vec<CommandInfo> {
        serde_json::from_str(self.0.commands().as_str()).unwrap_or_default()
    }

    /// Whether file systems are frozen, in the daemon's eyes.
    pub fn frozen(&self) -> bool {
        self.0.frozen()
    }

    /// Closes or opens the daemon's gate around a freeze; see [`guestd_abi::Host::set_frozen`] for the order.
    pub fn set_frozen(&self, frozen: bool) -> Result<(), CommandError> {
        result(self.0.set_frozen(frozen))
    }

    /// Takes `count` numbers that were never given out under this name, and returns the first of them; see
    /// [`guestd_abi::Host::take_numbers`].
    pub fn take_numbers(&self, name: &str, first: u64, count: u32) -> Result<u64, CommandError> {
        result(self.0.take_numbers(name.into(), first, count))
    }
}

impl Daemon {
    /// Waits, at most that long, until an answer of so many bytes may be made beside all other messages: for answers of
    /// megabytes, on a worker thread. Keep what it returns until the answer is there. Fails where there is not so much memory in time.
    pub fn take_memory(&self, bytes: usize, wait: Duration) -> Result<MemoryShare, CommandError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        if self.0.take_memory(bytes as u64, wait_ms) {
            return Ok(MemoryShare { daemon: self.clone(), bytes: bytes as u64 });
        }
        Err(CommandError::new(format!("there is no memory for {bytes} bytes beside all other messages")))
    }
}

/// Memory that may be taken as long as this is there.
#[must_use]
pub struct MemoryShare {
    daemon: Daemon,
    bytes: u64,
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.daemon.0.give_memory_back(self.bytes);
    }
}

fn result<T>(answer: RResult<T, guestd_abi::CallError>) -> Result<T, CommandError> {
    match answer {
        RResult::ROk(value) => Ok(value),
        RResult::RErr(error) => Err(CommandError::new(error.desc.as_str())),
    }
}
