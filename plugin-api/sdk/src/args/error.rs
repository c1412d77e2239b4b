//! What can be wrong with arguments, in QEMU's words.

use std::fmt::{self, Display};

use serde::de::{Expected, Unexpected};

use crate::error::{head, quoted};

/// What is wrong, and with which argument.
#[derive(Debug)]
pub(super) struct ArgError {
    /// The argument, as `vcpus[0].online`; empty: the arguments as a whole.
    path: String,
    /// The place of the top-level field in its type, where it is known.
    pub field_index: Option<usize>,
    pub problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    /// There is no such argument.
    Missing,
    /// It has another type than this.
    Type(String),
    /// It is no unsigned integer, for which QEMU has other words.
    Unsigned,
    /// No field has this name.
    Unexpected,
    /// The enumeration has no such member.
    Value(String),
    /// Anything else, in a sentence's tail.
    Other(String),
}

impl ArgError {
    pub fn new(problem: Problem) -> Self {
        Self { path: String::new(), field_index: None, problem }
    }

    pub fn expected(type_name: &str) -> Self {
        Self::new(Problem::Type(type_name.to_owned()))
    }

    /// The same error, seen from the object or array that holds the value: `step` is a key, or `[index]`.
    pub fn within(mut self, step: &str) -> Self {
        let step = quoted(step);
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.field_index = None;
        self.path = format!("{step}{dot}{}", self.path);
        self
    }

    /// The field that is missing, where that is the problem.
    pub fn missing_field_name(&self) -> Option<&str> {
        matches!(self.problem, Problem::Missing).then_some(&self.path)
    }
}

impl Display for ArgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.problem {
            Problem::Missing => write!(f, "Parameter '{path}' is missing"),
            Problem::Type(name) => write!(f, "Invalid parameter type for '{path}', expected: {name}"),
            Problem::Unsigned => write!(f, "Parameter '{path}' expects uint64"),
            Problem::Unexpected => write!(f, "Parameter '{path}' is unexpected"),
            Problem::Value(value) => write!(f, "Parameter '{path}' does not accept value '{value}'"),
            Problem::Other(text) if path.is_empty() => f.write_str(text),
            Problem::Other(text) => write!(f, "Parameter '{path}': {text}"),
        }
    }
}

impl std::error::Error for ArgError {}

impl serde::de::Error for ArgError {
    fn custom<T: Display>(text: T) -> Self {
        Self::new(Problem::Other(short(format_args!("{text}"))))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Missing).within(field)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::new(Problem::Unexpected).within(field)
    }

    fn unknown_variant(variant: &str, _: &'static [&'static str]) -> Self {
        Self::new(Problem::Value(quoted(variant).into_owned()))
    }

    fn duplicate_field(_: &'static str) -> Self {
        duplicate_key()
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::Type(expected.to_string()))
    }

    fn invalid_value(value: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Problem::Other(short(format_args!("{value} is out of range, expected: {expected}"))))
    }
}

/// The longest sentence that a type may say of its own, in bytes: it may quote the value.
const MAX_SENTENCE: usize = 512;

/// The text, but for what is behind its first bytes: it is not even made.
fn short(text: fmt::Arguments<'_>) -> String {
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            let room = MAX_SENTENCE.saturating_sub(self.0.len());
            self.0.push_str(head(piece, room));
            if piece.len() <= room { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut short = Short(String::new());
    if fmt::write(&mut short, text).is_err() {
        short.0.push_str("...");
    }
    short.0
}

/// Objects or arrays in each other, deeper than any command takes them.
pub(super) fn too_deep() -> ArgError {
    ArgError::new(Problem::Other("The arguments are nested too deeply".to_owned()))
}

/// An object with more members than any command takes.
pub(super) fn too_many() -> ArgError {
    ArgError::new(Problem::Other("Too many arguments, or members of one".to_owned()))
}

/// A key that occurs twice, which QEMU's parser refuses.
pub(super) fn duplicate_key() -> ArgError {
    ArgError::new(Problem::Other("JSON parse error, duplicate key".to_owned()))
}
