//! `guestd check`: everything that can be wrong before a host asks.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use guestd_guest::trust::{Trust, Untrusted};
use guestd_guest::umask;
use nix::errno::Errno;

use super::no_more;
use super::say::say;
use crate::config::Settings;
use crate::core::{Core, View};
use crate::dispatch;
use crate::logging::LogTarget;
use crate::registry::Registry;
use crate::state::State;

/// Checks the plugins' files, opens and starts every enabled set with its configuration, and says what is wrong, a line each.
/// The daemon's own state is not touched.
pub fn run(settings: Settings, words: Vec<OsString>) -> Result<ExitCode, String> {
    no_more(words.into_iter())?;
    let mut problems = places(&settings);
    let view = View::new(settings, &Registry::default());
    problems
        .extend(view.registry.refused.iter().map(|refusal| format!("{} {}", refusal.path.display(), refusal.reason)));
    let known = |set: &str| {
        let disabled = view.registry.disabled.iter().any(|found| found.manifest.name == set);
        disabled || view.registry.set(set).is_some()
    };
    let plugins = &view.settings.plugins;
    let named = plugins.enable.iter().chain(&plugins.disable).chain(&plugins.overrides).chain(plugins.sections.keys());
    for set in named.filter(|set| !known(set)) {
        problems.push(format!("[plugins] names a set {set:?}, which is not installed"));
    }
    let lists = view.settings.commands.allow.iter().chain(&view.settings.commands.block);
    for entry in lists.filter(|entry| view.registry.command(&entry.name).is_none()) {
        problems.push(format!("{} lists a command {:?}, which no enabled set has", entry.source, entry.name));
    }
    if view.registry.sets.is_empty() {
        problems.push("no command set is enabled: nothing would be answered".to_owned());
    }
    // Sets are started with a state of their own, which nothing else looks at.
    let dir = nix::unistd::mkdtemp(&env::temp_dir().join("guestd-check-XXXXXX"))
        .map_err(|error| format!("no directory can be made in {}: {error}", env::temp_dir().display()))?;
    let state = State::open(&dir, false)?;
    let core = Arc::new(Core::new(view, state, umask::DEFAULT));
    let view = core.view();
    for set in &view.registry.sets {
        match dispatch::start(&core, set, None) {
            Ok(plugin) => {
                plugin.stop();
                say!("{}: {} commands, {}", set.name(), set.manifest.commands.len(), set.path.display());
            }
            Err(error) => problems.push(error.desc.to_string()),
        }
    }
    if let Err(error) = fs::remove_dir_all(&dir) {
        problems.push(format!("{} cannot be removed: {error}", dir.display()));
    }
    for problem in &problems {
        say!("problem: {problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with the places that the daemon writes to. Nothing is made there. What only root can look at is left to root.
fn places(settings: &Settings) -> Vec<String> {
    let trust = Trust::of_agent();
    let mut places = vec![("the state directory", &settings.state_dir, trust.directory(&settings.state_dir).map(drop))];
    if let LogTarget::File(path) = &settings.log.target {
        places.push(("the log file", path, trust.check_log(path)));
    }
    if settings.daemonize {
        places.push(("the pid file", &settings.pid_file, trust.check_writable(&settings.pid_file)));
    }
    let is_fine = |error: &Untrusted| match error.errno() {
        Some(Errno::EACCES) => true,
        Some(Errno::ENOENT) => settings.state_dir_is_default && error.is_at(&settings.state_dir),
        _ => false,
    };
    let refused = places.into_iter().filter_map(|(what, path, result)| Some((what, path, result.err()?)));
    let refused = refused.filter(|(_, _, error)| !is_fine(error));
    refused.map(|(what, path, error)| format!("{what} {} {}", path.display(), error.about(path))).collect()
}
