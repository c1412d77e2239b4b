//! Commands that are measured without a line of code: those of `commands.json`, and those of the command line.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// A command with its arguments.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Command {
    pub execute: String,
    #[serde(default = "no_arguments")]
    pub arguments: Value,
    /// The target: at most this many times what qemu-ga takes.
    pub at_most: Option<f64>,
}

/// The commands that are measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Commands {
    /// Each is a row of the table.
    pub timed: Vec<Command>,
    /// One of every command set, each of them without an effect on the machine: most are refused for their arguments.
    pub one_of_every_set: Vec<Command>,
}

fn no_arguments() -> Value {
    json!({})
}

impl Commands {
    /// The commands of the table, and `more`.
    pub fn read(more: &[Command]) -> Result<Self> {
        let mut commands: Self =
            serde_json::from_str(include_str!("../commands.json")).context("commands.json is not as it should be")?;
        commands.timed.extend_from_slice(more);
        Ok(commands)
    }
}

impl Command {
    /// The request's line; the same bytes go to every agent.
    pub fn request(&self) -> Vec<u8> {
        request(&self.execute, &self.arguments)
    }
}

/// A request's line.
pub fn request(execute: &str, arguments: &Value) -> Vec<u8> {
    let mut request = json!({"execute": execute});
    if arguments.as_object().is_none_or(|object| !object.is_empty())
        && let Some(object) = request.as_object_mut()
    {
        object.insert("arguments".to_owned(), arguments.clone());
    }
    format!("{request}\n").into_bytes()
}
