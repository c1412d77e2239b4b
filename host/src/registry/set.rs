//! A command set: a plugin's file, and the plugin once it is in use.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use guestd_abi::manifest::Manifest;
use guestd_abi::{CallError, HostArc, PluginBox, RResult};

use super::open;
use super::scan::Found;

/// A command set that is enabled.
pub struct Set {
    /// What its file says of itself.
    pub manifest: Manifest,
    /// The file.
    pub path: PathBuf,
    file: (u64, u64),
    /// The plugin, once it was asked for. A failure is kept too: a library cannot be loaded twice.
    started: OnceLock<Result<PluginBox, CallError>>,
    /// The calls that are past their deadline and still running.
    overdue: Mutex<Vec<Overdue>>,
}

#[derive(Clone)]
struct Overdue {
    command: String,
    since: Instant,
}

impl Set {
    pub(super) fn new(found: Found) -> Self {
        Self {
            manifest: found.manifest,
            path: found.path,
            file: found.file,
            started: OnceLock::new(),
            overdue: Mutex::new(Vec::new()),
        }
    }

    /// The set's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Whether this is the set of that file with that manifest.
    pub(super) fn is_same(&self, found: &Found) -> bool {
        (self.file, &self.path, &self.manifest) == (found.file, &found.path, &found.manifest)
    }

    /// The plugin or the reason why there is none, if it was ever started.
    pub fn started(&self) -> Option<&Result<PluginBox, CallError>> {
        self.started.get()
    }

    /// The plugin, which is opened and started if it was not yet. It may block as long as the plugin's start does.
    pub fn start(&self, host: impl FnOnce() -> HostArc) -> &Result<PluginBox, CallError> {
        self.started.get_or_init(|| {
            let started = self.open_and_start(host);
            if let Err(error) = &started {
                tracing::error!("{}", error.desc);
            }
            started
        })
    }

    fn open_and_start(&self, host: impl FnOnce() -> HostArc) -> Result<PluginBox, CallError> {
        let failed = |reason: &str| CallError {
            class: "GenericError".into(),
            desc: format!("The command set '{}' cannot be used: {reason}", self.name()).into(),
        };
        let module = open::open(&self.path, self.file, &self.manifest)
            .map_err(|reason| failed(&format!("{} {reason}", self.path.display())))?;
        tracing::debug!(set = self.name(), path = %self.path.display(), "opened");
        match module.start()(host()) {
            RResult::ROk(plugin) => Ok(plugin),
            RResult::RErr(error) => Err(failed(&error.desc)),
        }
    }

    /// Notes that a call is past its deadline.
    pub fn begin_overdue(&self, command: &str, since: Instant) {
        self.lock_overdue().push(Overdue { command: command.to_owned(), since });
    }

    /// Notes that such a call has come back after all.
    pub fn end_overdue(&self, command: &str, since: Instant) {
        self.lock_overdue().retain(|call| call.since != since || call.command != command);
    }

    /// A call that keeps the set busy, and how long it has been running.
    pub fn busy_with(&self) -> Option<(String, Duration)> {
        self.lock_overdue().first().map(|call| (call.command.clone(), call.since.elapsed()))
    }

    fn lock_overdue(&self) -> std::sync::MutexGuard<'_, Vec<Overdue>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
