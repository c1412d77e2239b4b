//! The command line.
//!
//! * `options` is the table of what it knows, from which `parse` reads the words and `help` explains them,
//! * `tables`, `check`, `call` and `dump` are what can be asked for.

mod call;
mod check;
mod dump;
mod help;
pub mod options;
mod parse;
mod tables;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use parse::Action;
pub use parse::Flags;

use crate::config::{self, Purpose, Settings, Sources};
use crate::core::View;
use crate::daemon;
use crate::printable::printable;
use crate::registry::Registry;

/// What a subcommand has to say, and whether that is a success.
struct Answer {
    text: String,
    status: ExitCode,
}

/// Runs the program with these words, the first of which is its own name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let as_qemu_ga = Path::new(&program).file_name().is_some_and(|name| name == "qemu-ga");
    let (flags, action) = match parse::parse(words, as_qemu_ga) {
        Ok(parsed) => parsed,
        Err(error) => return fail(&format!("{error}; try --help")),
    };
    let load =
        move |purpose| config::load(&Sources { flags: &flags, as_qemu_ga, purpose }).map_err(|error| error.to_string());
    if action == Action::Run {
        let load = move || load(Purpose::Run);
        return load().and_then(|settings| daemon::run(settings, Arc::new(load))).unwrap_or_else(|error| fail(&error));
    }
    answer(action, as_qemu_ga, &load).and_then(|answer| answer.print()).unwrap_or_else(|error| fail(&error))
}

/// Reads the configuration for a purpose.
type Load<'l> = &'l dyn Fn(Purpose) -> Result<Settings, String>;

fn answer(action: Action, as_qemu_ga: bool, load: Load<'_>) -> Result<Answer, String> {
    let load_and_warn = |purpose| {
        let settings = load(purpose)?;
        for warning in &settings.warnings {
            complain(&format!("warning: {warning}"));
        }
        Ok::<_, String>(settings)
    };
    let view = || Ok::<_, String>(View::new(load_and_warn(Purpose::Run)?, &Registry::default()));
    Ok(match action {
        Action::Run => Answer::success(String::new()),
        Action::Help(None) => Answer::success(help::program(as_qemu_ga)),
        Action::Help(Some(subcommand)) => Answer::success(help::subcommand(subcommand)),
        Action::Version => {
            Answer::success(format!("guestd {}, answering as QEMU Guest Agent 10.2.2\n", env!("CARGO_PKG_VERSION")))
        }
        Action::DumpConfig => Answer::file(dump::text(&load_and_warn(Purpose::Dump)?)),
        Action::ListCommands => Answer::success(tables::names(&view()?)),
        Action::Subcommand(subcommand, words) => {
            let most_operands = match subcommand.name {
                "call" => usize::MAX,
                "explain" => 1,
                _ => 0,
            };
            words.no_more_than(most_operands)?;
            match subcommand.name {
                "plugins" => Answer::success(tables::plugins(&view()?, words.has("json"))),
                "commands" => Answer::success(tables::commands(&view()?, words.has("json"))),
                "explain" => tables::explain(&view()?, words.operands.first().ok_or("explain: which command?")?),
                "check" => check::run(load(Purpose::Run)?)?,
                _ => call::run(&|| load_and_warn(Purpose::Run), &words).map_err(|error| format!("call: {error}"))?,
            }
        }
    })
}

impl Answer {
    /// Lines for a terminal.
    fn success(text: String) -> Self {
        Self::file(text.lines().map(|line| format!("{}\n", printable(line))).collect())
    }

    /// The same, of what is not as it should be.
    fn failure(text: String) -> Self {
        Self { status: ExitCode::FAILURE, ..Self::success(text) }
    }

    /// What somebody reads as a file, to the byte.
    fn file(text: String) -> Self {
        Self { text, status: ExitCode::SUCCESS }
    }

    /// Prints the text. Who reads no more of it, as head(1), has had enough; a disk that is full is an error.
    fn print(self) -> Result<ExitCode, String> {
        let mut out = io::stdout().lock();
        match out.write_all(self.text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(format!("standard output: {}", guestd_sdk::errno_text(&error)))
            }
            _ => Ok(self.status),
        }
    }
}

fn fail(error: &str) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// Prints a line on standard error, where anybody listens.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "guestd: {}", printable(line));
}
