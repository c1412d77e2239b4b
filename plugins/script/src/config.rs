//! The set's section of the configuration, `[plugins.script]`, as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use guestd_sdk::prelude::*;
use serde_json::{Number, Value};

/// `[plugins.script]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// `[plugins.script.commands."NAME"]`: a [`CommandConfig`] each.
    pub commands: BTreeMap<String, Value>,
}

/// `[plugins.script.commands."NAME"]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandConfig {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its parameters; with `pass = "parameters"` `{name}` in them stands for an argument.
    #[serde(default)]
    pub args: Vec<String>,
    /// What a client may give, an [`ArgumentConfig`] each.
    #[serde(default)]
    pub arguments: BTreeMap<String, Value>,
    /// How the arguments reach the program.
    #[serde(default)]
    pub pass: Pass,
    /// What the program's output is.
    #[serde(default)]
    pub output: Output,
    /// How long the program may take, in seconds.
    pub timeout: Option<u32>,
    /// The user to run it as; absent: the daemon's own.
    pub user: Option<String>,
    /// The directory to run it in.
    pub directory: Option<PathBuf>,
    /// Variables of its environment, beside the few that every program gets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// How arguments reach a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pass {
    /// As a JSON object on its standard input.
    #[default]
    Stdin,
    /// As parameters: in the places that `args` names, else as `--name=value`.
    Parameters,
}

/// What a program writes to its standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Output {
    /// The answer, as one JSON value.
    #[default]
    Json,
    /// Text; the answer is `{"text": ...}`.
    Text,
    /// Nothing of interest; the answer is `{}`.
    None,
}

/// `arguments.NAME`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArgumentConfig {
    /// Its type.
    pub r#type: Type,
    /// Whether a client may leave it out.
    #[serde(default)]
    pub optional: bool,
    /// For numbers: the least value.
    pub min: Option<Number>,
    /// For numbers: the greatest value.
    pub max: Option<Number>,
    /// For strings: a regular expression for the whole of it.
    pub pattern: Option<String>,
    /// For strings: what it can be.
    pub values: Option<Vec<String>>,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Type {
    /// Text.
    String,
    /// A whole number of 64 bits with a sign.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}
