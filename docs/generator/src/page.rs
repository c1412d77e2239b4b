//! The page of a set.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::ensure;
use guestd_sdk::abi::command_flags::{FREEZE_SAFE, INSTANT, NO_SUCCESS_RESPONSE};
use schemars::Schema;
use serde_json::{Value, json};

use crate::notes::{CommandNotes, ErrorNote};
use crate::schema_file;
use crate::sets::{Command, Set};
use crate::types::{self, Row};

/// How long a command may take that says nothing of it, in seconds (`docs/configuration.md`).
const DEFAULT_DEADLINE: u32 = 10;

/// The page. Fails where two types of the set have one name.
pub fn text(set: &Set) -> anyhow::Result<String> {
    let name = &set.manifest.name;
    let mut page = format!(
        "<!-- Made by `make reference` from plugins/{name}: do not edit. -->\n\n# {name}\n\n{}. More in the set's \
         [README](../../plugins/{name}/README.md).\n",
        set.manifest.summary
    );
    let capabilities = &set.manifest.capabilities;
    let capabilities = match capabilities.is_empty() {
        true => "none".to_owned(),
        false => capabilities.iter().map(|capability| format!("`{capability}`")).collect::<Vec<_>>().join(", "),
    };
    let _ = write!(page, "\nCapabilities of the set: {capabilities}.\n");
    if !set.notes.about.is_empty() {
        let _ = write!(page, "\n{}\n", set.notes.about.trim());
    }
    if !set.commands.is_empty() {
        page.push_str("\n| command | |\n|---|---|\n");
    }
    for command in &set.commands {
        let name = &command.manifest.name;
        let _ = writeln!(page, "| [`{name}`](#{}) | {} |", anchor(name), first_sentence(&command.notes.summary));
    }
    if !set.notes.differences.is_empty() {
        page.push_str("\n## Differences from qemu-ga\n\n");
        list(&mut page, &set.notes.differences);
    }
    let mut definitions: BTreeMap<&str, String> = BTreeMap::new();
    for command in &set.commands {
        section(&mut page, command, &set.notes.errors);
        for schema in [&command.schemas.arguments, &command.schemas.answer] {
            for (name, definition) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
                let text = type_text(definition);
                ensure!(
                    definitions.get(name.as_str()).is_none_or(|known| *known == text),
                    "two types are called {name}"
                );
                definitions.insert(name, text);
            }
        }
    }
    for command in &set.commands {
        if let Some(other) = &command.notes.errors_as {
            let known = set.commands.iter().any(|command| command.manifest.name == *other);
            ensure!(known, "{} has the errors of {other}, which is no command of {name}", command.manifest.name);
        }
    }
    if !definitions.is_empty() {
        page.push_str("\n## Types\n");
    }
    for (name, text) in &definitions {
        let _ = write!(page, "\n### {name}\n\n{text}");
    }
    Ok(page)
}

fn section(page: &mut String, command: &Command, errors_of_set: &[ErrorNote]) {
    let Command { manifest, schemas, notes, since } = command;
    let _ = write!(page, "\n## `{}`\n\n{}\n\n", manifest.name, notes.summary.trim());
    let has = |flag| manifest.flags & flag != 0;
    let time = match manifest.deadline_ms {
        _ if has(INSTANT) => "never waits".to_owned(),
        0 => format!("{DEFAULT_DEADLINE} s"),
        millis => format!("{} s", millis / 1000),
    };
    let frozen = if has(FREEZE_SAFE) { "yes" } else { "no" };
    let _ = write!(
        page,
        "| since | deadline | answered while frozen | schema |\n|---|---|---|---|\n| {since} | {time} | {frozen} | [{}]({}) |\n",
        schema_file::path(command).rsplit('/').next().unwrap_or_default(),
        schema_file::path(command),
    );

    let arguments = types::rows(schemas.arguments.as_value());
    match arguments.is_empty() {
        true => page.push_str("\n**Arguments:** none.\n"),
        false => {
            page.push_str("\n**Arguments**\n\n");
            table(page, "argument", &arguments);
        }
    }
    answer(page, &schemas.answer, notes.answer.as_deref(), has(NO_SUCCESS_RESPONSE));
    errors(page, notes, errors_of_set);
    if !notes.differences.is_empty() {
        page.push_str("\n**Differences from qemu-ga**\n\n");
        list(page, &notes.differences);
    }
}

fn errors(page: &mut String, notes: &CommandNotes, of_set: &[ErrorNote]) {
    let others = notes.errors_as.as_ref().map(|other| format!(": those of [`{other}`](#{})", anchor(other)));
    // Another command's errors are those of the set as well.
    let of_set = if others.is_some() { &[] } else { of_set };
    let own: Vec<_> = notes.errors.iter().chain(of_set).collect();
    match (others, own.is_empty()) {
        (None, true) => {}
        (others, true) => page.push_str(&format!("\n**Errors**{}.\n", others.unwrap_or_default())),
        (others, false) => {
            let others = others.map(|others| format!("{others}, and")).unwrap_or_default();
            let _ = write!(page, "\n**Errors**{others}\n\n| text | when |\n|---|---|\n");
            for ErrorNote(text, when) in own {
                let _ = writeln!(page, "| `{}` | {} |", text.replace('|', "\\|"), one_line(when));
            }
        }
    }
}

fn answer(page: &mut String, schema: &Schema, note: Option<&str>, is_silent: bool) {
    let note = note.map(one_line).unwrap_or_default();
    if is_silent {
        let _ = write!(page, "\n**Answer:** none; only an error is answered. {note}");
        end_paragraph(page);
        return;
    }
    let schema = schema.as_value();
    let members = types::rows(schema);
    let what = match members.is_empty() {
        true if schema.get("type") == Some(&json!("object")) => "`{}`.".to_owned(),
        true if types::values(schema).is_empty() => format!("{}.", types::kind(schema)),
        _ => String::new(),
    };
    let text = format!("**Answer:** {what} {note} {}", types::described(schema));
    let _ = write!(page, "\n{}", one_line(&text));
    end_paragraph(page);
    if !members.is_empty() {
        page.push('\n');
        table(page, "member", &members);
    }
}

fn end_paragraph(page: &mut String) {
    page.truncate(page.trim_end().len());
    page.push('\n');
}

fn type_text(definition: &Value) -> String {
    let mut page = String::new();
    let (members, values) = (types::rows(definition), types::values(definition));
    let described = types::description(definition);
    if !described.is_empty() {
        let _ = write!(page, "{described}\n\n");
    }
    if !members.is_empty() {
        table(&mut page, "member", &members);
    } else if values.is_empty() {
        let _ = writeln!(page, "{}.", types::kind(definition));
    } else {
        page.push_str("| value | |\n|---|---|\n");
        for (value, meaning) in values {
            let _ = writeln!(page, "| {value} | {} |", one_line(&meaning));
        }
    }
    page
}

fn table(page: &mut String, what: &str, rows: &[Row]) {
    let _ = write!(page, "| {what} | type | | |\n|---|---|---|---|\n");
    for row in rows {
        let required = if row.required { "always" } else { "optional" };
        let required = if row.required && what == "argument" { "required" } else { required };
        let _ = writeln!(page, "| `{}` | {} | {required} | {} |", row.name, row.kind, one_line(&row.description));
    }
}

fn list(page: &mut String, items: &[String]) {
    for item in items {
        let _ = writeln!(page, "* {}", one_line(item));
    }
}

fn first_sentence(text: &str) -> String {
    let text = one_line(text);
    match text.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => text,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The anchor that hosts of Markdown give to the heading of a command.
fn anchor(command: &str) -> String {
    command
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'))
        .collect::<String>()
        .to_lowercase()
}
