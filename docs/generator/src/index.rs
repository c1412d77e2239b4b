//! The reference's first page.

use std::fmt::Write as _;

use guestd_sdk::abi::command_flags::FREEZE_SAFE;

use crate::protocol::QEMU;
use crate::sets::Set;

/// What a reader has to know before all commands, written by hand but for the words that [`introduction`] fills in.
const INTRODUCTION: &str = include_str!("introduction.md");

/// The page, with a table of all commands.
pub fn text(sets: &[Set]) -> String {
    let mut page = format!("<!-- Made by `make reference`: do not edit. -->\n\n{}", introduction(sets));
    let mut commands: Vec<_> =
        sets.iter().flat_map(|set| set.commands.iter().map(move |command| (set, command))).collect();
    commands.sort_by(|(_, a), (_, b)| a.manifest.name.cmp(&b.manifest.name));
    page.push_str("\n## Commands\n\n| command | set | since | while frozen |\n|---|---|---|---|\n");
    for (set, command) in commands {
        let (name, set) = (&command.manifest.name, &set.manifest.name);
        let anchor = name.replace('.', "").to_lowercase();
        let frozen = if command.manifest.flags & FREEZE_SAFE != 0 { "answered" } else { "" };
        let _ = writeln!(page, "| [`{name}`]({set}.md#{anchor}) | [{set}]({set}.md) | {} | {frozen} |", command.since);
    }
    page
}

/// The introduction with what is to be said of qemu-ga's versions.
fn introduction(sets: &[Set]) -> String {
    let ours: Vec<&str> =
        sets.iter().flat_map(|set| &set.commands).map(|command| command.manifest.name.as_str()).collect();
    let all: Vec<&str> = QEMU.commands.keys().map(String::as_str).collect();
    let not_here: Vec<String> =
        all.iter().filter(|name| !ours.contains(name)).map(|name| format!("`{name}`")).collect();
    INTRODUCTION
        .replace("NOT_HERE", &not_here.join(", "))
        .replace("HERE", &(all.len() - not_here.len()).to_string())
        .replace("ALL", &all.len().to_string())
        .replace("REFERENCE", &QEMU.reference)
        .replace("SAME", &QEMU.same_commands.join(" and "))
}
