//! One command of the operator's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::arguments::Arguments;
use crate::config::{CommandConfig, Output, Pass};
use crate::parameters::Parameters;

/// How long a program may take where its command does not say, in seconds.
const USUAL_TIMEOUT: u32 = 10;
/// The longest time limit, in seconds: what takes longer belongs into a unit.
const LONGEST_TIMEOUT: u32 = 598;
/// How much longer than for the program the daemon should wait: the program is killed first, and its error reaches the client.
const GRACE: Duration = Duration::from_secs(2);

/// A command that the configuration defines.
#[derive(Debug, Clone)]
pub(crate) struct CommandSpec {
    /// Its name on the wire.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) parameters: Parameters,
    pub(crate) arguments: Arguments,
    pub(crate) pass: Pass,
    pub(crate) output: Output,
    pub(crate) timeout: Duration,
    pub(crate) user: Option<String>,
    pub(crate) directory: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl CommandSpec {
    /// Reads a command's table of the configuration.
    pub(crate) fn read(name: &str, config: Value) -> Result<Self, String> {
        if !is_vendors(name) {
            return Err("a command of your own is called __com.example_name, by a domain that is yours".to_owned());
        }
        let config: CommandConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
        for (key, path) in [("program", Some(&config.program)), ("directory", config.directory.as_ref())] {
            if path.is_some_and(|path| !path.is_absolute()) {
                return Err(format!("`{key}` must be an absolute path"));
            }
        }
        let timeout = config.timeout.unwrap_or(USUAL_TIMEOUT);
        if !(1..=LONGEST_TIMEOUT).contains(&timeout) {
            return Err(format!("`timeout` must be between 1 and {LONGEST_TIMEOUT} seconds"));
        }
        let timeout = Duration::from_secs(timeout.into());
        let arguments = Arguments::read(config.arguments)?;
        let parameters = match config.pass {
            Pass::Stdin => Parameters::fixed(config.args.clone()),
            Pass::Parameters => Parameters::with_places(&config.args, &arguments)?,
        };
        check_texts(&config.args, &config.program, &config.environment)?;
        Ok(Self {
            name: name.to_owned(),
            program: config.program,
            parameters,
            arguments,
            pass: config.pass,
            output: config.output,
            timeout,
            user: config.user,
            directory: config.directory.unwrap_or_else(|| PathBuf::from("/")),
            environment: config.environment.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        })
    }

    /// How long the program may take where the daemon waits for `deadline_ms` milliseconds (0: without limit).
    pub(crate) fn limit(&self, deadline_ms: u32) -> Duration {
        if deadline_ms == 0 {
            return self.timeout;
        }
        let deadline = Duration::from_millis(deadline_ms.into());
        self.timeout.min(deadline - GRACE.min(deadline / 4))
    }
}

/// Checks what goes to execve(2) as it is.
fn check_texts<'a>(
    args: &[String],
    program: &Path,
    environment: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), String> {
    if program.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("`program` has a NUL in it".to_owned());
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err("`args` have a NUL in them".to_owned());
    }
    for (key, value) in environment {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(format!("`environment`: there can be no variable {key:?} of that value"));
        }
    }
    Ok(())
}

/// Whether a name follows QEMU's rule for downstream extensions (docs/devel/qapi-code-gen): `__`, a reversed domain name
/// with at least one dot, `_`, a word; and is not one of guestd's own.
fn is_vendors(name: &str) -> bool {
    let Some((domain, word)) = name.strip_prefix("__").and_then(|rest| rest.split_once('_')) else { return false };
    domain != "org.guestd" && domain.contains('.') && domain.split('.').all(is_word) && is_word(word)
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}
