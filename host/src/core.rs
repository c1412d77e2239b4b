//! What all threads of the daemon share: the table of commands, the policy, the gate around a freeze, the state.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use guestd_abi::command_flags;
use guestd_guest::trust::Trust;
use serde_json::json;

use crate::config::{ListEntry, Settings, suggestion};
use crate::logging::log;
use crate::memory;
use crate::policy::{Policy, Verdict};
use crate::registry::{Command, Registry};
use crate::state::State;

/// How long the daemon waits for a command whose set does not say: somewhat longer than libvirt's own patience
/// with an agent, which is 5 s by default.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// The daemon's shared part.
pub struct Core {
    view: RwLock<Arc<View>>,
    generation: AtomicU64,
    frozen: AtomicBool,
    /// Held while the gate is opened or closed.
    gate: Mutex<()>,
    state: State,
    memory: Arc<memory::Keeper>,
    facts: String,
}

/// The configuration in force, and what follows from it. Replaced as a whole when it is read again.
pub struct View {
    /// The settings.
    pub settings: Settings,
    /// The command sets.
    pub registry: Registry,
    /// The lists.
    pub policy: Policy,
}

impl View {
    /// Reads the plugins' manifests for these settings; started sets of `before` are kept.
    pub fn new(settings: Settings, before: &Registry) -> Self {
        let registry = Registry::read(&settings.plugins, before);
        let policy = Policy::new(&settings.commands);
        Self { settings, registry, policy }
    }

    /// Whether any set that is installed has a command of this name, enabled or not.
    pub fn has_name(&self, name: &str) -> bool {
        let disabled = || self.registry.disabled.iter().flat_map(|found| &found.manifest.commands);
        self.registry.command(name).is_some() || disabled().any(|command| command.name == name)
    }

    /// What the list of blocked commands names in vain: a sentence each. Such a name may be misspelt, and what is meant by
    /// it stays open.
    pub fn unknown_blocked(&self) -> Vec<String> {
        self.unknown("blocked", &self.settings.commands.block)
    }

    /// What the list of allowed commands names in vain: a sentence each. Lists are written for many versions of an agent,
    /// and for other systems: RHEL's names a command of Windows.
    pub fn unknown_allowed(&self) -> Vec<String> {
        self.unknown("allowed", &self.settings.commands.allow)
    }

    fn unknown(&self, list: &str, entries: &[ListEntry]) -> Vec<String> {
        // An empty name is what stands beside a surplus comma.
        let unknown = entries.iter().filter(|entry| !entry.name.is_empty() && !self.has_name(&entry.name));
        let sentence = |ListEntry { name, source }: &ListEntry| {
            let hint = suggestion(name, self.registry.commands.keys().map(String::as_str));
            format!("{source}: the list of {list} commands names {name:?}, which no set has{hint}")
        };
        unknown.map(sentence).collect()
    }

    /// Logs what is doubtful or not used, a line each.
    pub fn log_warnings(&self) {
        let (blocked, allowed) = (self.unknown_blocked(), self.unknown_allowed());
        for warning in self.settings.warnings.iter().chain(&blocked).chain(&allowed) {
            tracing::warn!("{warning}");
        }
        self.registry.log_refusals();
    }

    /// How long to wait for a command; `None`: without limit.
    pub fn deadline(&self, name: &str, command: &Command) -> Option<Duration> {
        match self.settings.commands.deadline.get(name) {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(u64::from(*seconds))),
            None if command.deadline_ms == 0 => Some(DEFAULT_DEADLINE),
            None => Some(Duration::from_millis(u64::from(command.deadline_ms))),
        }
    }
}

impl Core {
    /// The shared part for these settings and this state. `umask` is the one that the daemon was started with.
    pub fn new(view: View, state: State, umask: u32) -> Self {
        let protocol = &view.settings.protocol;
        let version = env!("CARGO_PKG_VERSION");
        let reported = if protocol.reported_version.is_empty() { version } else { &protocol.reported_version };
        let memory = Arc::new(memory::Keeper::new(protocol.memory_limit));
        let facts = json!({
            "version": version,
            "reported-version": reported,
            "compat": protocol.compat,
            "state-dir": state.dir(),
            "run-dir": memory_dir(state.dir()),
            "umask": umask,
        });
        Self {
            facts: facts.to_string(),
            view: RwLock::new(Arc::new(view)),
            generation: AtomicU64::new(1),
            frozen: AtomicBool::new(false),
            gate: Mutex::new(()),
            state,
            memory,
        }
    }

    /// The configuration in force.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another configuration in force.
    pub fn replace_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.commands_changed();
    }

    /// The state directory.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What gives back memory that is no longer used.
    pub fn memory(&self) -> &Arc<memory::Keeper> {
        &self.memory
    }

    /// Facts for plugins, as JSON.
    pub fn facts(&self) -> &str {
        &self.facts
    }

    /// Changes whenever the list of commands may have.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Says that the list of commands may have changed.
    pub fn commands_changed(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether file systems are frozen.
    pub fn frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Closes the gate before a freeze, or opens it after a thaw, for the set called `owner`.
    pub fn set_frozen(&self, owner: &str, frozen: bool) -> Result<(), String> {
        let _one_at_a_time = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if frozen {
            self.state.mark_frozen(owner)?;
            log().hold(true);
        }
        self.frozen.store(frozen, Ordering::Release);
        self.commands_changed();
        if !frozen {
            // The freeze had all memory in place that the thaw might need.
            self.memory.note_use();
            log().hold(false);
            if let Err(error) = self.state.unmark_frozen() {
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }

    /// Closes the gate for a freeze that a daemon before this one began.
    pub fn take_over_freeze(&self) {
        log().hold(true);
        self.frozen.store(true, Ordering::Release);
        self.commands_changed();
    }

    /// What each set is now, as JSON: an object of the sets' names, see [`crate::daemon::status::SetStatus`].
    pub fn status_json(&self) -> String {
        let view = self.view();
        let sets = view.registry.sets.iter().map(|set| {
            let (state, reason) = set.status();
            (set.name().to_owned(), json!({"state": state, "reason": reason}))
        });
        serde_json::Value::from_iter(sets).to_string()
    }

    /// The list of commands as JSON: see the sdk's `CommandInfo`.
    pub fn commands_json(&self) -> String {
        let (view, frozen) = (self.view(), self.frozen());
        let commands = view.registry.commands.iter().map(|(name, command)| {
            json!({
                "name": name,
                "set": command.set.name(),
                "enabled": view.policy.decide(name, Some(command), frozen) == Verdict::Answered
                    && command.is_busy().is_none(),
                "success-response": !command.has(command_flags::NO_SUCCESS_RESPONSE),
            })
        });
        serde_json::Value::from_iter(commands).to_string()
    }
}

/// A directory in memory for what is written while file systems are frozen: the state directory if it is one, else
/// one of our own in /run; empty: there is none.
fn memory_dir(state_dir: &Path) -> PathBuf {
    let own = Path::new("/run/guestd");
    if is_in_memory(state_dir) {
        state_dir.to_owned()
    } else if is_in_memory(Path::new("/run")) {
        // It may be there already; what counts is whose it is.
        let _ = DirBuilder::new().mode(0o700).create(own);
        match Trust::of_agent().directory(own) {
            Ok(_) => own.to_owned(),
            Err(error) => {
                tracing::warn!("a freeze will not survive a crash of the daemon: {error}");
                PathBuf::new()
            }
        }
    } else {
        PathBuf::new()
    }
}

fn is_in_memory(path: &Path) -> bool {
    use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
    // linux/magic.h; nix has no name for it.
    const RAMFS_MAGIC: FsType = FsType(0x8584_58F6);
    statfs(path).is_ok_and(|stat| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&stat.filesystem_type()))
}
