//! `guestd plugins`, `guestd commands` and `guestd explain`: what the daemon would do, for people and for scripts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use guestd_abi::command_flags;
use guestd_abi::manifest::Manifest;
use serde_json::{Value, json};

use super::Answer;
use crate::config::suggestion;
use crate::core::View;
use crate::daemon;
use crate::policy::{Reason, Verdict};
use crate::printable::{printable, printable_json};
use crate::registry::Command;

/// The names of the protocol's commands, a line each: qemu-ga's `-b help`, which tools read. Extensions are in
/// `guestd commands`.
pub fn names(view: &View) -> String {
    let names = view.registry.commands.keys().filter(|name| name.starts_with("guest-"));
    names.map(|name| format!("{name}\n")).collect()
}

/// The sets, and the files that are refused.
pub fn plugins(view: &View, json: bool) -> String {
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
                json!({
                    "name": manifest.name, "version": manifest.version, "vendor": manifest.vendor,
                    "summary": manifest.summary, "boundary": boundary(manifest), "state": state,
                    "reason": running.get(&manifest.name).and_then(|status| status.reason.as_deref()),
                    "capabilities": manifest.capabilities, "commands": command_names(view, manifest), "path": path,
                })
            })
            .collect();
        let refused: Vec<Value> = view
            .registry
            .refused
            .iter()
            .map(|refusal| json!({"path": refusal.path, "reason": refusal.reason}))
            .collect();
        return json_text(&json!({"sets": sets, "refused": refused}));
    }
    let mut rows = vec![["SET", "VERSION", "VENDOR", "BOUNDARY", "STATE", "COMMANDS", "FILE"].map(str::to_owned)];
    rows.extend(sets.iter().map(|(manifest, path, state)| {
        [
            manifest.name.clone(),
            manifest.version.clone(),
            manifest.vendor.clone(),
            boundary(manifest),
            (*state).to_owned(),
            command_names(view, manifest).len().to_string(),
            path.display().to_string(),
        ]
    }));
    let mut text = columns(&rows);
    for (set, status) in &running {
        if let Some(reason) = &status.reason {
            text += &format!("{}: {set}: {reason}\n", status.state);
        }
    }
    for refusal in &view.registry.refused {
        text += &format!("refused: {} {}\n", refusal.path.display(), refusal.reason);
    }
    text
}

/// The commands of a set: those of its manifest, and those that the configuration gives it.
pub fn command_names<'v>(view: &'v View, manifest: &'v Manifest) -> BTreeSet<&'v str> {
    let own = manifest.commands.iter().map(|command| command.name.as_str());
    let configured = view.registry.commands.iter().filter(|(_, command)| command.set.name() == manifest.name);
    own.chain(configured.map(|(name, _)| name.as_str())).collect()
}

fn boundary(manifest: &Manifest) -> String {
    format!("{}.{}", manifest.abi.0, manifest.abi.1)
}

/// The commands and whether each answers.
pub fn commands(view: &View, json: bool) -> String {
    if json {
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
        return json_text(&Value::from_iter(commands));
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
    columns(&rows)
}

/// Why a command answers or does not, with the place that says so. A failure where it does not.
pub fn explain(view: &View, name: &str) -> Answer {
    let Some(command) = view.registry.command(name) else {
        let disabled = |manifest: &Manifest| manifest.commands.iter().any(|command| command.name == name);
        return Answer::failure(match view.registry.disabled.iter().find(|found| disabled(&found.manifest)) {
            Some(found) => format!("{name} does not exist: its set '{}' is disabled\n", found.manifest.name),
            None => {
                let hint = suggestion(name, view.registry.commands.keys().map(String::as_str));
                format!("{name} does not exist: no set has it{hint}\n")
            }
        });
    };
    let from = format!("set '{}', {}", command.set.name(), command.set.path.display());
    match verdict(view, name, command) {
        Verdict::Disabled(Reason::NotAllowed) => {
            let sources: BTreeSet<_> = view.settings.commands.allow.iter().map(|entry| entry.source.as_str()).collect();
            let sources: Vec<_> = sources.into_iter().collect();
            Answer::failure(format!(
                "{name} is refused: the list of allowed commands ({}) does not name it ({from})\n",
                sources.join(", ")
            ))
        }
        Verdict::Disabled(reason) => Answer::failure(format!("{name} is refused: {reason} ({from})\n")),
        Verdict::Answered | Verdict::Unknown => {
            let why = match view.policy.allowed_by(name) {
                Some(source) => format!("allowed by {source}"),
                None => "nothing forbids it".to_owned(),
            };
            let frozen = if command.has(command_flags::FREEZE_SAFE) { "answers" } else { "is refused" };
            Answer::success(format!("{name} answers: {why} ({from})\n{name} {frozen} while file systems are frozen\n"))
        }
    }
}

fn verdict(view: &View, name: &str, command: &Command) -> Verdict {
    view.policy.decide(name, Some(command), false)
}

fn json_text(value: &Value) -> String {
    printable_json(&format!("{value:#}\n")).into_owned()
}

/// Rows in columns, the last of which is not padded.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<[_; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[Cow<'_, str>; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
