//! `guestd check`: everything that can be wrong before a host asks.

use std::env;
use std::fs;
use std::sync::Arc;

use guestd_guest::trust::{Trust, Untrusted};
use guestd_guest::umask;
use nix::errno::Errno;

use super::Answer;
use super::tables::command_names;
use crate::config::{Settings, suggestion};
use crate::core::{Core, View};
use crate::dispatch;
use crate::logging::LogTarget;
use crate::registry::Registry;
use crate::state::State;

/// Checks the plugins' files, opens and starts every enabled set with its configuration, and says which files were read, what
/// is there, what is doubtful and what is wrong, a line each. The daemon's own state is not touched.
pub fn run(settings: Settings) -> Result<Answer, String> {
    let places = places(&settings);
    let view = View::new(settings, &Registry::default());
    let mut lines: Vec<String> = view.settings.files.iter().map(|file| format!("read: {file}")).collect();
    if lines.is_empty() {
        lines.push("read: no file".to_owned());
    }
    let warnings = [view.settings.warnings.clone(), view.unknown_allowed()].concat();
    let mut problems = [places, refused_and_misspelt(&view)].concat();
    // Sets are started with a state of their own, which nothing else looks at.
    let dir = nix::unistd::mkdtemp(&env::temp_dir().join("guestd-check-XXXXXX"))
        .map_err(|error| format!("no directory can be made in {}: {error}", env::temp_dir().display()))?;
    let state = State::open(&dir, false)?;
    let core = Arc::new(Core::new(view, state, umask::DEFAULT));
    let view = core.view();
    let mut count = 0;
    for set in &view.registry.sets {
        match dispatch::start(&core, set, None) {
            Ok(plugin) => {
                plugin.stop();
                let commands = command_names(&view, &set.manifest).len();
                count += commands;
                lines.push(format!("{}: {commands} commands, {}", set.name(), set.path.display()));
            }
            Err(error) => problems.push(error.desc.to_string()),
        }
    }
    if let Err(error) = fs::remove_dir_all(&dir) {
        problems.push(format!("{} cannot be removed: {error}", dir.display()));
    }
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(problems.iter().map(|problem| format!("problem: {problem}")));
    let sets = view.registry.sets.len();
    lines.push(match (problems.len(), warnings.len()) {
        (0, 0) => format!("all is well: {sets} sets, {count} commands"),
        (0, _) => format!("nothing is wrong: {sets} sets, {count} commands; warnings: {}", warnings.len()),
        (wrong, _) => format!("problems: {wrong}; warnings: {}", warnings.len()),
    });
    let text = lines.join("\n") + "\n";
    Ok(if problems.is_empty() { Answer::success(text) } else { Answer::failure(text) })
}

/// What shows without a look at the code of any set.
fn refused_and_misspelt(view: &View) -> Vec<String> {
    let registry = &view.registry;
    let refused = registry.refused.iter().map(|refusal| format!("{} {}", refusal.path.display(), refusal.reason));
    let mut problems: Vec<String> = refused.chain(view.unknown_blocked()).collect();
    let plugins = &view.settings.plugins;
    let named = plugins.enable.iter().chain(&plugins.disable).chain(&plugins.overrides).chain(plugins.sections.keys());
    let installed = || {
        let disabled = registry.disabled.iter().map(|found| found.manifest.name.as_str());
        registry.sets.iter().map(|set| set.name()).chain(disabled)
    };
    for set in named.filter(|set| !installed().any(|name| name == *set)) {
        let hint = suggestion(set, installed());
        problems.push(format!("[plugins] names a set {set:?}, which is not installed{hint}"));
    }
    for name in view.settings.commands.deadline.keys().filter(|name| !view.has_name(name)) {
        let hint = suggestion(name, view.registry.commands.keys().map(String::as_str));
        problems.push(format!("[commands] sets a deadline of a command {name:?}, which no set has{hint}"));
    }
    if registry.sets.is_empty() {
        problems.push("no command set is enabled: nothing would be answered".to_owned());
    }
    problems
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
