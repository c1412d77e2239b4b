//! What a plugin may ask of the daemon.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RArc, RResult, RStr, RString};

use crate::CallError;

/// The daemon, seen from one plugin.
///
/// Each plugin gets a handle of its own at its start and may clone it and use it from any thread, at any time,
/// also after [`crate::Plugin::stop`]. No method panics; none blocks unless it says so. The texts are the caller's own.
#[sabi_trait]
pub trait Host: Send + Sync + Clone + 'static {
    /// The least severe level that is logged at the moment, as a [`LogLevel`]; a plugin may spare itself the
    /// making of a message above it.
    fn log_level(&self) -> u8;

    /// Logs one message, without a line break at its end, under the plugin's name. Never waits for a disk: while
    /// file systems are frozen the lines are kept in memory, and the oldest are dropped and counted.
    fn log(&self, level: u8, message: RStr<'_>);

    /// The plugin's section of the configuration, `[plugins.NAME]`, as the text of a JSON object; `{}` where it has none.
    fn config(&self) -> RString;

    /// Facts about the daemon that stay the same for its life, as the text of a JSON object. The sdk's `HostFacts`
    /// lists the members; unknown ones are to be ignored.
    fn facts(&self) -> RString;

    /// A number that changes whenever the answer of [`Host::commands`] may have changed, so that what is made of it
    /// can be kept.
    fn commands_generation(&self) -> u64;

    /// Every command that is known, as the text of a JSON array. The sdk's `CommandInfo` lists the members of its
    /// items; unknown ones are to be ignored.
    fn commands(&self) -> RString;

    /// Whether file systems are frozen, in this daemon's eyes.
    fn frozen(&self) -> bool;

    /// Tells the daemon that file systems are about to be frozen, or that all are thawed again.
    ///
    /// `true` closes the gate before this returns: only commands that are
    /// [`FREEZE_SAFE`](crate::command_flags::FREEZE_SAFE) are answered, log lines wait in memory, and a marker
    /// makes the next daemon start with this plugin and a closed gate, should this one die. Call it before the first file system is frozen
    /// and after the last is thawed; it writes or removes the marker, so it may block. An error means that the marker
    /// could not be written and the gate is open: do not freeze. `false` never fails.
    fn set_frozen(&self, frozen: bool) -> RResult<(), CallError>;

    /// Takes `count` numbers that no daemon of this guest has given out under this name since its state directory was
    /// made, and returns the first. They grow over restarts and crashes. The first ever is `first`. It writes a
    /// file, so it may block; an error says why that failed.
    #[sabi(last_prefix_field)]
    fn take_numbers(&self, name: RStr<'_>, first: u64, count: u32) -> RResult<u64, CallError>;

    /// Waits, at most `wait_ms` milliseconds, for `bytes` of the memory that messages may take together, and says whether there
    /// were as many: for an answer of megabytes, before it is made. Those who have waited for longer come first. Give the same
    /// number back once the call is over: from then on the daemon counts the answer itself. It blocks, so not in the event loop.
    fn take_memory(&self, bytes: u64, wait_ms: u32) -> bool {
        let _ = (bytes, wait_ms);
        true
    }

    /// Gives back what [`Host::take_memory`] has given.
    fn give_memory_back(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// A shared [`Host`] that can cross the boundary.
pub type HostArc = Host_TO<RArc<()>>;

/// How severe a log message is; the numbers are those that cross the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// Something failed, and somebody should know.
    Error = 1,
    /// Something is wrong, and the daemon goes on.
    Warn = 2,
    /// What an administrator wants to read afterwards: a shutdown, a freeze.
    Info = 3,
    /// One line for what happens all the time.
    Debug = 4,
    /// For those who work on the daemon itself.
    Trace = 5,
}

impl LogLevel {
    /// The level of a number that crossed the boundary; what is out of range is the nearest.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 | 1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            _ => Self::Trace,
        }
    }
}
