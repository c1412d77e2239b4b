//! What no type and no manifest says of a set's commands: the `reference.toml` in the set's folder.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;
use serde::Deserialize;

use crate::workspace;

/// A set's `reference.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// Paragraphs about the set as a whole, in Markdown.
    #[serde(default)]
    pub about: String,
    /// Where the set as a whole differs from qemu-ga, a sentence each.
    #[serde(default)]
    pub differences: Vec<String>,
    /// Errors that every command of the set may have.
    #[serde(default)]
    pub errors: Vec<ErrorNote>,
    /// The commands.
    #[serde(default)]
    pub commands: BTreeMap<String, CommandNotes>,
}

/// A command.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandNotes {
    /// What it does, in Markdown.
    pub summary: String,
    /// The version of guestd that it came with. Only for commands that qemu-ga does not have.
    pub since: Option<String>,
    /// What the answer is, where the schema has no description of it.
    pub answer: Option<String>,
    /// Its own errors.
    #[serde(default)]
    pub errors: Vec<ErrorNote>,
    /// The command of the set that has the same errors, besides these.
    pub errors_as: Option<String>,
    /// Where it differs from qemu-ga, a sentence each.
    #[serde(default)]
    pub differences: Vec<String>,
}

/// An error: its text, in which words in capitals stand for something, and when it occurs.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorNote(pub String, pub String);

/// Reads the notes on a set.
pub fn read(set: &str) -> anyhow::Result<Notes> {
    let name = format!("plugins/{set}/reference.toml");
    let text = fs::read_to_string(workspace().join(&name)).with_context(|| format!("{name} cannot be read"))?;
    toml::from_str(&text).with_context(|| name)
}
