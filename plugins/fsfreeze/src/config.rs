//! The section `[plugins.fsfreeze]` of the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use glob::{MatchOptions, Pattern};
use guestd_sdk::{CommandError, Daemon};
use serde::Deserialize;

/// The options as they are written; see the README for each.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    hook: PathBuf,
    hooks_dir: PathBuf,
    hook_timeout: u32,
    on_hook_failure: OnHookFailure,
    on_error: OnError,
    include: Vec<String>,
    exclude: Vec<String>,
    lease: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hook: PathBuf::new(),
            hooks_dir: PathBuf::new(),
            hook_timeout: 30,
            on_hook_failure: OnHookFailure::Abort,
            on_error: OnError::Fail,
            include: Vec::new(),
            exclude: Vec::new(),
            lease: 600,
        }
    }
}

/// What a hook does to the freeze when its freeze half fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnHookFailure {
    /// Nothing is frozen, and the command fails.
    Abort,
    /// It is logged.
    Continue,
}

/// What a file system does to the freeze when it cannot be frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Everything is thawed, and the command fails.
    Fail,
    /// It is left out, and that is logged.
    Skip,
}

/// The options, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// qemu-ga's fsfreeze hook.
    pub hook: Option<PathBuf>,
    /// The directory of hook scripts.
    pub hooks_dir: Option<PathBuf>,
    /// The time that one half of one hook may take.
    pub hook_timeout: Duration,
    /// See [`OnHookFailure`].
    pub on_hook_failure: OnHookFailure,
    /// See [`OnError`].
    pub on_error: OnError,
    /// How long anything stays frozen; `None`: without limit.
    pub lease: Option<Duration>,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// The rule by which a mount point is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// No pattern of `include` matches it.
    NotIncluded,
    /// This pattern of `exclude` matches it.
    Excluded(String),
}

impl Config {
    /// Reads the configuration. Fails on unknown keys, wrong types, relative paths and malformed patterns.
    pub fn read(daemon: &Daemon) -> Result<Self, CommandError> {
        Self::check(daemon.config()?)
    }

    /// What applies when the configuration cannot be read, and something is frozen all the same.
    pub fn fallback() -> Self {
        let options = Options::default();
        Self {
            hook: None,
            hooks_dir: None,
            hook_timeout: Duration::from_secs(options.hook_timeout.into()),
            on_hook_failure: options.on_hook_failure,
            on_error: options.on_error,
            lease: Some(Duration::from_secs(options.lease.into())),
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }

    fn check(options: Options) -> Result<Self, CommandError> {
        if options.hook_timeout == 0 {
            return Err(CommandError::new("configuration: hook-timeout must be at least 1 second"));
        }
        Ok(Self {
            hook: path("hook", options.hook)?,
            hooks_dir: path("hooks-dir", options.hooks_dir)?,
            hook_timeout: Duration::from_secs(options.hook_timeout.into()),
            on_hook_failure: options.on_hook_failure,
            on_error: options.on_error,
            lease: (options.lease > 0).then(|| Duration::from_secs(options.lease.into())),
            include: patterns("include", &options.include)?,
            exclude: patterns("exclude", &options.exclude)?,
        })
    }

    /// The rule that leaves a file system out, if there is one. It has these mount points, of which it is known by the
    /// first: `include` takes it by any of them, `exclude` by that one only, so that a bind mount of one directory somewhere
    /// does not leave out the whole.
    pub fn rule_against<'p>(&self, points: impl Iterator<Item = &'p Path>) -> Option<Rule> {
        let names: Vec<_> = points.map(Path::to_string_lossy).collect();
        let included = |pattern: &Pattern| names.iter().any(|name| pattern.matches_with(name, MATCH));
        if !self.include.is_empty() && !self.include.iter().any(included) {
            return Some(Rule::NotIncluded);
        }
        let excluded = |pattern: &&Pattern| names.first().is_some_and(|name| pattern.matches_with(name, MATCH));
        self.exclude.iter().find(excluded).map(|pattern| Rule::Excluded(pattern.as_str().to_owned()))
    }
}

/// `*` and `?` stop at a slash, as in a shell; `**` does not.
const MATCH: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

fn path(key: &str, path: PathBuf) -> Result<Option<PathBuf>, CommandError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    if path.is_relative() {
        return Err(CommandError::new(format!("configuration: {key} must be an absolute path: {}", path.display())));
    }
    Ok(Some(path))
}

fn patterns(key: &str, texts: &[String]) -> Result<Vec<Pattern>, CommandError> {
    let compile = |text: &String| {
        Pattern::new(text).map_err(|error| CommandError::new(format!("configuration: {key}: {text:?}: {}", error.msg)))
    };
    texts.iter().map(compile).collect()
}
