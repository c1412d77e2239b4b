//! `guestd plugins`, `guestd commands` and `guestd explain`: what the daemon would do, for people and for scripts.

use std::ffi::OsString;
use std::process::ExitCode;

use guestd_abi::command_flags;
use guestd_abi::manifest::Manifest;
use serde_json::{Value, json};

use super::no_more;
use super::say::say;
use crate::core::View;
use crate::daemon;
use crate::policy::{Reason, Verdict};
use crate::printable::{printable, printable_json};
use crate::registry::Command;

/// Prints the names of the protocol's commands, a line each: qemu-ga's `-b help`, which tools read. Extensions are in
/// `guestd commands`.
pub fn names(view: &View) -> ExitCode {
    for name in view.registry.commands.keys().filter(|name| name.starts_with("guest-")) {
        say!("{name}");
    }
    ExitCode::SUCCESS
}

/// Prints the sets, and the files that are refused.
pub fn plugins(view: &View, words: Vec<OsString>) -> Result<ExitCode, String> {
    let json = wants_json(words)?;
    // What only a daemon that runs can know.
    let running = daemon::status::ask(&view.settings.state_dir).unwrap_or_default();
    let enabled = view.registry.sets.iter().map(|set| {
        let status = running.get(set.name()).map(|status| status.state.as_str());
        (
            &set.manifest,
            &set.path,
            status.filter(|state| ["busy", "failed", "off"].contains(state)).unwrap_or("enabled"),
        )
    });
    let disabled = view.registry.disabled.iter().map(|found| (&found.manifest, &found.path, "disabled"));
    let sets: Vec<_> = enabled.chain(disabled).collect();
    if json {
        let sets: Vec<Value> = sets
            .iter()
            .map(|(manifest, path, state)| {
                let commands: Vec<_> = manifest.commands.iter().map(|command| command.name.as_str()).collect();
                json!({
                    "name": manifest.name, "version": manifest.version, "vendor": manifest.vendor,
                    "summary": manifest.summary, "boundary": boundary(manifest), "state": state,
                    "reason": running.get(&manifest.name).and_then(|status| status.reason.as_deref()),
                    "capabilities": manifest.capabilities, "commands": commands, "path": path,
                })
            })
            .collect();
        let refused: Vec<Value> = view
            .registry
            .refused
            .iter()
            .map(|refusal| json!({"path": refusal.path, "reason": refusal.reason}))
            .collect();
        print_json(&json!({"sets": sets, "refused": refused}));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["SET", "VERSION", "VENDOR", "BOUNDARY", "STATE", "COMMANDS", "FILE"].map(str::to_owned)];
    rows.extend(sets.iter().map(|(manifest, path, state)| {
        [
            manifest.name.clone(),
            manifest.version.clone(),
            manifest.vendor.clone(),
            boundary(manifest),
            (*state).to_owned(),
            manifest.commands.len().to_string(),
            path.display().to_string(),
        ]
    }));
    print_rows(&rows);
    for (set, status) in &running {
        if let Some(reason) = &status.reason {
            say!("{}: {set}: {reason}", status.state);
        }
    }
    for refusal in &view.registry.refused {
        say!("refused: {} {}", refusal.path.display(), refusal.reason);
    }
    Ok(ExitCode::SUCCESS)
}

fn boundary(manifest: &Manifest) -> String {
    format!("{}.{}", manifest.abi.0, manifest.abi.1)
}

/// Prints the commands and whether each answers.
pub fn commands(view: &View, words: Vec<OsString>) -> Result<ExitCode, String> {
    if wants_json(words)? {
        let commands = view.registry.commands.iter().map(|(name, command)| {
            json!({
                "name": name,
                "set": command.set.name(),
                "enabled": verdict(view, name, command) == Verdict::Answered,
                "success-response": !command.has(command_flags::NO_SUCCESS_RESPONSE),
                "instant": command.has(command_flags::INSTANT),
                "often-instant": command.has(command_flags::OFTEN_INSTANT),
                "while-frozen": command.has(command_flags::FREEZE_SAFE),
                "deadline-ms": view.deadline(name, command).map(|limit| limit.as_millis() as u64),
            })
        });
        print_json(&Value::from_iter(commands));
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["COMMAND", "SET", "DEADLINE", "WHILE FROZEN", "ENABLED"].map(str::to_owned)];
    rows.extend(view.registry.commands.iter().map(|(name, command)| {
        let deadline = match view.deadline(name, command) {
            _ if command.has(command_flags::INSTANT) => "instant".to_owned(),
            Some(limit) => format!("{} s", limit.as_secs()),
            None => "none".to_owned(),
        };
        let frozen = if command.has(command_flags::FREEZE_SAFE) { "yes" } else { "no" };
        let enabled = match verdict(view, name, command) {
            Verdict::Answered => "yes".to_owned(),
            Verdict::Disabled(reason) => format!("no: {reason}"),
            Verdict::Unknown => "no".to_owned(),
        };
        [name.clone(), command.set.name().to_owned(), deadline, frozen.to_owned(), enabled]
    }));
    print_rows(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Prints why a command answers or does not, with the place that says so. Fails (status 1) where it does not.
pub fn explain(view: &View, words: Vec<OsString>) -> Result<ExitCode, String> {
    let mut words = words.into_iter();
    let name = words.next().ok_or("explain: which command?")?.to_string_lossy().into_owned();
    no_more(words)?;
    let Some(command) = view.registry.command(&name) else {
        let disabled = |manifest: &Manifest| manifest.commands.iter().any(|command| command.name == name);
        match view.registry.disabled.iter().find(|found| disabled(&found.manifest)) {
            Some(found) => say!("{name} does not exist: its set '{}' is disabled", found.manifest.name),
            None => say!("{name} does not exist: no set has it"),
        }
        return Ok(ExitCode::FAILURE);
    };
    let from = format!("set '{}', {}", command.set.name(), command.set.path.display());
    match verdict(view, &name, command) {
        Verdict::Disabled(Reason::NotAllowed) => {
            let sources: std::collections::BTreeSet<_> =
                view.settings.commands.allow.iter().map(|entry| entry.source.as_str()).collect();
            let sources: Vec<_> = sources.into_iter().collect();
            say!("{name} is refused: the list of allowed commands ({}) does not name it ({from})", sources.join(", "));
            Ok(ExitCode::FAILURE)
        }
        Verdict::Disabled(reason) => {
            say!("{name} is refused: {reason} ({from})");
            Ok(ExitCode::FAILURE)
        }
        Verdict::Answered | Verdict::Unknown => {
            match view.policy.allowed_by(&name) {
                Some(source) => say!("{name} answers: allowed by {source} ({from})"),
                None => say!("{name} answers: nothing forbids it ({from})"),
            }
            let frozen = if command.has(command_flags::FREEZE_SAFE) { "answers" } else { "is refused" };
            say!("{name} {frozen} while file systems are frozen");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verdict(view: &View, name: &str, command: &Command) -> Verdict {
    view.policy.decide(name, Some(command), false)
}

fn wants_json(words: Vec<OsString>) -> Result<bool, String> {
    let mut words = words.into_iter();
    match words.next() {
        None => Ok(false),
        Some(word) if word == "--json" => no_more(words).map(|()| true),
        Some(word) => Err(format!("surplus word {word:?}")),
    }
}

fn print_json(value: &Value) {
    println!("{}", printable_json(&format!("{value:#}")));
}

/// Prints rows in columns, the last of which is not padded.
fn print_rows<const N: usize>(rows: &[[String; N]]) {
    let rows: Vec<[_; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        say!("{}", line.join("  ").trim_end());
    }
}
