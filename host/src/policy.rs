//! Who may call what: one function, used by dispatch, by `guest-info` and by `guestd explain`.

use std::collections::BTreeMap;
use std::fmt;

use guestd_abi::command_flags;

use crate::config::{CommandSettings, ListEntry};
use crate::registry::Command;

/// The commands that answer while file systems are frozen whatever the lists say, as in qemu-ga: a host that froze must be able
/// to find its place, to ask, and to thaw. No other command is exempt, whatever its manifest says of it.
const EXEMPT_WHILE_FROZEN: [&str; 6] =
    ["guest-fsfreeze-status", "guest-fsfreeze-thaw", "guest-info", "guest-ping", "guest-sync", "guest-sync-delimited"];

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
    /// Its set could not be started, or is switched off: a sentence.
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
    /// While file systems are frozen only commands that are safe then are carried out, and the lists do not count for those
    /// that qemu-ga exempts from them.
    pub fn decide(&self, name: &str, command: Option<&Command>, frozen: bool) -> Verdict {
        let Some(command) = command else { return Verdict::Unknown };
        if frozen && !command.has(command_flags::FREEZE_SAFE) {
            return Verdict::Disabled(Reason::Frozen);
        }
        let exempt = frozen && EXEMPT_WHILE_FROZEN.contains(&name);
        if !exempt {
            if let Some(source) = self.block.get(name) {
                return Verdict::Disabled(Reason::Blocked(source.clone()));
            }
            if self.allow.as_ref().is_some_and(|allow| !allow.contains_key(name)) {
                return Verdict::Disabled(Reason::NotAllowed);
            }
        }
        match command.set.reason(exempt) {
            Some(why) => Verdict::Disabled(Reason::Unusable(why)),
            None => Verdict::Answered,
        }
    }

    /// The place that allows a command by name, if there is a list.
    pub fn allowed_by(&self, name: &str) -> Option<&str> {
        self.allow.as_ref()?.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::test_set;
    use std::sync::Arc;

    const VENDORS: &str = "__com.example_x";

    fn command(flags: u32) -> Command {
        Command { set: Arc::new(test_set(1)), index: 0, flags, deadline_ms: 0 }
    }

    fn policy(allow: &[&str], block: &[&str]) -> Policy {
        let list = |names: &[&str]| {
            names.iter().map(|name| ListEntry { name: (*name).to_owned(), source: "a file".to_owned() }).collect()
        };
        Policy::new(&CommandSettings { allow: list(allow), block: list(block), ..CommandSettings::default() })
    }

    #[test]
    fn the_lists_decide_and_blocking_wins() {
        let any = command(0);
        let (lists, none) = (policy(&["guest-a", "guest-b"], &["guest-b"]), policy(&[], &[]));
        let decide = |policy: &Policy, name| policy.decide(name, Some(&any), false);
        assert_eq!(decide(&lists, "guest-a"), Verdict::Answered);
        assert_eq!(decide(&lists, "guest-b"), Verdict::Disabled(Reason::Blocked("a file".to_owned())));
        assert_eq!(decide(&lists, "guest-c"), Verdict::Disabled(Reason::NotAllowed));
        assert_eq!(decide(&none, "guest-c"), Verdict::Answered);
        assert_eq!(lists.decide("guest-a", None, false), Verdict::Unknown);
        assert_eq!((lists.allowed_by("guest-a"), lists.allowed_by("guest-c")), (Some("a file"), None));
    }

    #[test]
    fn no_list_keeps_a_frozen_guest_from_being_thawed() {
        let safe = command(command_flags::FREEZE_SAFE);
        let lists = [policy(&[], &EXEMPT_WHILE_FROZEN), policy(&["guest-get-time"], &[])];
        for name in EXEMPT_WHILE_FROZEN {
            for lists in &lists {
                assert_eq!(lists.decide(name, Some(&safe), true), Verdict::Answered, "{name}");
                assert_ne!(lists.decide(name, Some(&safe), false), Verdict::Answered, "{name}");
            }
        }
    }

    #[test]
    fn a_freeze_opens_nothing_that_a_list_closes() {
        let (safe, unsafe_) = (command(command_flags::FREEZE_SAFE), command(0));
        let (blocks, allows) = (policy(&[], &[VENDORS]), policy(&["guest-ping"], &[]));
        for frozen in [false, true] {
            let blocked = Verdict::Disabled(Reason::Blocked("a file".to_owned()));
            assert_eq!(blocks.decide(VENDORS, Some(&safe), frozen), blocked);
            assert_eq!(allows.decide(VENDORS, Some(&safe), frozen), Verdict::Disabled(Reason::NotAllowed));
        }
        let none = policy(&[], &[]);
        assert_eq!(none.decide(VENDORS, Some(&safe), true), Verdict::Answered);
        for name in [VENDORS, "guest-file-open", "guest-ping"] {
            let frozen = Verdict::Disabled(Reason::Frozen);
            assert_eq!(none.decide(name, Some(&unsafe_), true), frozen, "the manifest must say that it is safe");
        }
    }

    #[test]
    fn a_set_that_is_switched_off_still_thaws() {
        let safe = command(command_flags::FREEZE_SAFE);
        assert!(safe.set.note_fault("x has panicked", 1));
        let none = policy(&[], &[]);
        let is_off = |name, frozen| matches!(none.decide(name, Some(&safe), frozen), Verdict::Disabled(_));
        assert!(is_off("guest-fsfreeze-thaw", false) && is_off(VENDORS, true));
        assert!(!is_off("guest-fsfreeze-thaw", true) && !is_off("guest-fsfreeze-status", true));
    }
}
