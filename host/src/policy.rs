//! Who may call what: one function, used by dispatch, by `guest-info` and by `guestd explain`.

use std::collections::BTreeMap;
use std::fmt;

use guestd_abi::command_flags;

use crate::config::{CommandSettings, ListEntry};
use crate::registry::Command;

/// The lists of the configuration.
#[derive(Debug, Default)]
pub struct Policy {
    /// The names that are allowed, with the place that says so; `None`: all.
    allow: Option<BTreeMap<String, String>>,
    block: BTreeMap<String, String>,
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried out.
    Answered,
    /// No set has such a command.
    Unknown,
    /// It is refused.
    Disabled(Reason),
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A list of blocked commands, read from this place, names it.
    Blocked(String),
    /// There is a list of allowed commands, and it is not in it.
    NotAllowed,
    /// File systems are frozen.
    Frozen,
    /// Its set could not be started: a sentence.
    Unusable(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked(source) => write!(f, "blocked by {source}"),
            Self::NotAllowed => f.write_str("not in the list of allowed commands"),
            Self::Frozen => f.write_str("file systems are frozen"),
            Self::Unusable(why) => f.write_str(why),
        }
    }
}

impl Policy {
    /// The policy of a configuration.
    pub fn new(settings: &CommandSettings) -> Self {
        let collect = |entries: &[ListEntry]| -> BTreeMap<String, String> {
            entries.iter().map(|entry| (entry.name.clone(), entry.source.clone())).collect()
        };
        Self { allow: (!settings.allow.is_empty()).then(|| collect(&settings.allow)), block: collect(&settings.block) }
    }

    /// Judges a call of `name`, which is `command` if any set has it.
    ///
    /// While file systems are frozen the lists do not count: a host that froze must be able to thaw
    /// (recorded behaviour of qemu-ga).
    pub fn decide(&self, name: &str, command: Option<&Command>, frozen: bool) -> Verdict {
        let Some(command) = command else { return Verdict::Unknown };
        if frozen {
            if !command.has(command_flags::FREEZE_SAFE) {
                return Verdict::Disabled(Reason::Frozen);
            }
        } else if let Some(source) = self.block.get(name) {
            return Verdict::Disabled(Reason::Blocked(source.clone()));
        } else if self.allow.as_ref().is_some_and(|allow| !allow.contains_key(name)) {
            return Verdict::Disabled(Reason::NotAllowed);
        }
        match command.set.started() {
            Some(Err(error)) => Verdict::Disabled(Reason::Unusable(error.desc.to_string())),
            _ => Verdict::Answered,
        }
    }

    /// The place that allows a command by name, if there is a list.
    pub fn allowed_by(&self, name: &str) -> Option<&str> {
        self.allow.as_ref()?.get(name).map(String::as_str)
    }
}
