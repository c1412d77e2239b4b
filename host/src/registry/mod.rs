//! The command sets: found, judged, opened when they are first needed.

mod elf;
mod names;
mod open;
mod scan;
mod set;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use guestd_abi::command_flags;
use guestd_abi::manifest::BY_NAME;

use crate::config::PluginSettings;

pub use elf::read_manifest;
pub use scan::Refusal;
pub use set::Set;
#[cfg(test)]
pub(crate) use set::tests::set as test_set;

/// The time limit of a command that the configuration defines, where it names none, in seconds.
const USUAL_TIMEOUT: u64 = 10;
/// How much longer the daemon waits for it, in seconds: the set keeps the limit itself, and says better what was not done in time.
const GRACE: u64 = 5;

/// Every command that can be called, by its name.
#[derive(Default)]
pub struct Registry {
    /// The enabled sets in the order in which they were found.
    pub sets: Vec<Arc<Set>>,
    /// The commands. Sorted, so that lists come out the same every time.
    pub commands: BTreeMap<String, Command>,
    /// The sets that the configuration disables.
    pub disabled: Vec<Found>,
    /// The files that are not used, and why.
    pub refused: Vec<Refusal>,
}

pub use scan::Found;

/// A command and the set that carries it out.
#[derive(Clone)]
pub struct Command {
    /// The set.
    pub set: Arc<Set>,
    /// Its place in the set's table, or [`BY_NAME`].
    pub index: u32,
    /// A set of [`guestd_abi::command_flags`].
    pub flags: u32,
    /// How long its set wants the daemon to wait, in milliseconds; 0: the daemon's default.
    pub deadline_ms: u32,
}

impl Command {
    /// Whether the command has a flag.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Why a call would not be begun at the moment, if its set is busy with calls that are past their deadline: a sentence. What
    /// runs in place is called all the same, and so is a command that has a thread of its own.
    pub fn is_busy(&self) -> Option<String> {
        let called_anyway =
            command_flags::OWN_THREAD | if self.set.started().is_some() { command_flags::INSTANT } else { 0 };
        if self.has(called_anyway) {
            return None;
        }
        let (running, for_how_long) = self.set.busy_with()?;
        let (set, seconds) = (self.set.name(), for_how_long.as_secs());
        Some(format!("The command set '{set}' is busy: {running} has been running for {seconds} s"))
    }
}

impl Registry {
    /// Reads the manifests of the plugins and builds the table of commands; opens none. Sets of `before` whose file is
    /// still the same are kept as they are, started or not.
    pub fn read(settings: &PluginSettings, before: &Self) -> Self {
        let (found, refused) = scan::scan(&settings.directories);
        let mut registry = Self { refused, ..Self::default() };
        let overrides = |name: &str| settings.overrides.iter().any(|entry| entry == name);
        // Those that may take names from others come first.
        let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|one| overrides(&one.manifest.name));
        let mut names: HashMap<String, PathBuf> = HashMap::new();
        for one in first.into_iter().chain(second) {
            if let Some(other) = names.get(&one.manifest.name) {
                let reason = format!("is a second set {:?}; {} is the first", one.manifest.name, other.display());
                registry.refused.push(Refusal { path: one.path, reason });
                continue;
            }
            names.insert(one.manifest.name.clone(), one.path.clone());
            if let Err(reason) = names::check(&one.manifest, overrides(&one.manifest.name)) {
                registry.refused.push(Refusal { path: one.path, reason });
            } else if settings.enables(&one.manifest.name) {
                registry.add(one, before, settings, &overrides);
            } else {
                registry.disabled.push(one);
            }
        }
        registry
    }

    fn add(&mut self, found: Found, before: &Self, settings: &PluginSettings, overrides: &dyn Fn(&str) -> bool) {
        let mut taken = found.manifest.commands.iter().filter_map(|command| {
            let other = &self.commands.get(&command.name)?.set;
            (!overrides(other.name())).then(|| (command.name.clone(), other.path.clone()))
        });
        if let Some((command, other)) = taken.next() {
            let reason = format!("claims {command:?}, which {} has claimed", other.display());
            drop(taken);
            self.refused.push(Refusal { path: found.path, reason });
            return;
        }
        drop(taken);
        let kept = before.sets.iter().find(|set| set.is_same(&found));
        let set = kept.map_or_else(|| Arc::new(Set::new(found)), Arc::clone);
        for (index, command) in set.manifest.commands.iter().enumerate() {
            let entry = Command {
                set: Arc::clone(&set),
                index: index as u32,
                flags: command.flags,
                deadline_ms: command.deadline_ms,
            };
            // Where an overriding set has the name already, this one's command is not reached.
            self.commands.entry(command.name.clone()).or_insert(entry);
        }
        self.add_configured(&set, settings);
        self.sets.push(set);
    }

    /// Adds the commands that the configuration defines for a set.
    fn add_configured(&mut self, set: &Arc<Set>, settings: &PluginSettings) {
        let Some(key) = &set.manifest.commands_from else { return };
        let section = settings.sections.get(set.name());
        let Some(table) = section.and_then(|section| section.get(key)?.as_object()) else { return };
        for (name, entry) in table {
            let taken = self.commands.get(name).map(|other| other.set.path.clone());
            let problem = match (names::check_configured(name), taken) {
                (Err(problem), _) => Some(problem),
                (_, Some(other)) => Some(format!("claims {name:?}, which {} has claimed", other.display())),
                _ => None,
            };
            if let Some(problem) = problem {
                let reason = format!("is not given a command: [plugins.{}.{key}] {problem}", set.name());
                self.refused.push(Refusal { path: set.path.clone(), reason });
                continue;
            }
            let timeout = entry.get("timeout").and_then(serde_json::Value::as_u64).unwrap_or(USUAL_TIMEOUT);
            let deadline_ms = u32::try_from(timeout.saturating_add(GRACE).saturating_mul(1000)).unwrap_or(u32::MAX);
            let command = Command { set: Arc::clone(set), index: BY_NAME, flags: 0, deadline_ms };
            self.commands.insert(name.clone(), command);
        }
    }

    /// The command of that name.
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.commands.get(name)
    }

    /// The set of that name.
    pub fn set(&self, name: &str) -> Option<&Arc<Set>> {
        self.sets.iter().find(|set| set.name() == name)
    }

    /// Logs what is not used, a line a file.
    pub fn log_refusals(&self) {
        for refusal in &self.refused {
            tracing::warn!("{} {}", refusal.path.display(), refusal.reason);
        }
    }
}
