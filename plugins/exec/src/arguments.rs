//! The arguments of `guest-exec`.

use std::borrow::Cow;
use std::fmt;

use guestd_sdk::prelude::*;
use serde::de::{self, Deserializer, Visitor};

/// The arguments of `guest-exec`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ExecArgs<'a> {
    /// The program: a path, or a name that is looked for in the `PATH` of its environment.
    pub path: String,
    /// Its arguments, without the first, which is `path`.
    pub arg: Option<Vec<String>>,
    /// Its environment, `NAME=value` each; the daemon's own where there is none.
    pub env: Option<Vec<String>>,
    /// What it reads from stdin, in base64.
    #[serde(borrow)]
    pub input_data: Option<Cow<'a, str>>,
    /// Which of its output is kept: `stdout`, `stderr`, both (`separated` or true), both as one stream that is told as
    /// stdout (`merged`), or none (`none` or false; the default).
    #[serde(default)]
    pub capture_output: Capture,
}

/// Which output is kept: QEMU's `GuestExecCaptureOutput`, a boolean or the name of a mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Capture {
    /// `none`, or `false`.
    #[default]
    None,
    /// `stdout`; what goes to stderr is dropped.
    Stdout,
    /// `stderr`; what goes to stdout is dropped.
    Stderr,
    /// `separated`, or `true`: both.
    Separated,
    /// `merged`: both, in one stream, as stdout.
    Merged,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Capture {
    fn schema_name() -> Cow<'static, str> {
        "Capture".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [{"type": "boolean"}, {"enum": MODES}]})
    }
}

const MODES: [&str; 5] = ["none", "stdout", "stderr", "separated", "merged"];

impl<'de> Deserialize<'de> for Capture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CaptureVisitor)
    }
}

struct CaptureVisitor;

impl Visitor<'_> for CaptureVisitor {
    type Value = Capture;

    /// The name of the type, which is what QEMU's error has.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuestExecCaptureOutput")
    }

    fn visit_bool<E: de::Error>(self, all: bool) -> Result<Capture, E> {
        Ok(if all { Capture::Separated } else { Capture::None })
    }

    fn visit_str<E: de::Error>(self, mode: &str) -> Result<Capture, E> {
        match mode {
            "none" => Ok(Capture::None),
            "stdout" => Ok(Capture::Stdout),
            "stderr" => Ok(Capture::Stderr),
            "separated" => Ok(Capture::Separated),
            "merged" => Ok(Capture::Merged),
            _ => Err(E::unknown_variant(mode, &MODES)),
        }
    }
}
