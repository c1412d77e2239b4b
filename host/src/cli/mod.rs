//! The command line.

mod call;
mod check;
mod dump;
mod say;
mod tables;
mod usage;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use lexopt::{Arg, Parser, ValueExt};

use crate::config::{self, Settings, Sources};
use crate::core::View;
use crate::daemon;
use crate::printable::printable;
use crate::registry::Registry;

/// What the command line says of the daemon, in qemu-ga's words. `qemu-ga.conf` says the same.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Flags {
    /// `-c`: a configuration file.
    pub config: Option<String>,
    /// `-m`
    pub method: Option<String>,
    /// `-p`
    pub path: Option<String>,
    /// `-l`
    pub logfile: Option<String>,
    /// `-f`
    pub pidfile: Option<String>,
    /// `-F`, with its path if it has one.
    pub fsfreeze_hook: Option<Option<String>>,
    /// `-t`
    pub statedir: Option<String>,
    /// `-v`
    pub verbose: Option<bool>,
    /// `-d`
    pub daemonize: Option<bool>,
    /// `-r`
    pub retry_path: Option<bool>,
    /// `-b`, as often as it was given.
    pub block_rpcs: Vec<String>,
    /// `-a`, as often as it was given.
    pub allow_rpcs: Vec<String>,
    /// Where this was read, for messages.
    pub source: String,
}

/// What is to be done.
#[derive(Debug)]
enum Action {
    Run,
    Help,
    Version,
    DumpConfig,
    ListCommands,
    Subcommand(String, Vec<OsString>),
}

/// The long options, for those that are cut short.
const LONG: [&str; 15] = [
    "config",
    "method",
    "path",
    "logfile",
    "pidfile",
    "fsfreeze-hook",
    "statedir",
    "verbose",
    "version",
    "daemonize",
    "block-rpcs",
    "allow-rpcs",
    "dump-conf",
    "retry-path",
    "help",
];

/// Runs the program with these words, the first of which is its own name.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let as_qemu_ga = Path::new(&program).file_name().is_some_and(|name| name == "qemu-ga");
    let (flags, action) = match parse(Parser::from_args(words), as_qemu_ga) {
        Ok(parsed) => parsed,
        Err(error) => return fail(&format!("{error}; try --help")),
    };
    let load = move || config::load(&Sources { flags: &flags, as_qemu_ga }).map_err(|error| error.to_string());
    let done = match action {
        Action::Help => usage::print(as_qemu_ga),
        Action::Version => {
            println!("guestd {}, answering as QEMU Guest Agent 10.2.2", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        Action::DumpConfig => load().and_then(|settings| dump::print(&settings)),
        Action::ListCommands => load().map(|settings| tables::names(&view(settings))),
        Action::Run => load().and_then(|settings| daemon::run(settings, Arc::new(load))),
        Action::Subcommand(name, rest) => match name.as_str() {
            "plugins" => load().and_then(|settings| tables::plugins(&view(settings), rest)),
            "commands" => load().and_then(|settings| tables::commands(&view(settings), rest)),
            "explain" => load().and_then(|settings| tables::explain(&view(settings), rest)),
            "check" => load().and_then(|settings| check::run(settings, rest)),
            "call" => call::run(&load, rest),
            other => {
                let known = ["plugins", "commands", "explain", "check", "call"];
                Err(format!("unknown subcommand {other:?}{}", config::suggestion(other, known)))
            }
        },
    };
    done.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &str) -> ExitCode {
    eprintln!("guestd: {}", printable(error));
    ExitCode::FAILURE
}

/// Fails if there are words left.
fn no_more(mut words: impl Iterator<Item = OsString>) -> Result<(), String> {
    words.next().map_or(Ok(()), |word| Err(format!("surplus word {word:?}")))
}

fn view(settings: Settings) -> View {
    View::new(settings, &Registry::default())
}

fn parse(mut parser: Parser, as_qemu_ga: bool) -> Result<(Flags, Action), lexopt::Error> {
    let mut flags = Flags { source: "the command line".to_owned(), ..Flags::default() };
    let mut action = Action::Run;
    while let Some(argument) = parser.next()? {
        // Options that end the reading of options come first, as in qemu-ga.
        let letter = match argument {
            Arg::Short(letter) => letter,
            Arg::Long(name) => letter_of(name)?,
            Arg::Value(word) if !as_qemu_ga => {
                let rest = parser.raw_args()?.collect();
                return Ok((flags, Action::Subcommand(word.to_string_lossy().into_owned(), rest)));
            }
            Arg::Value(word) => return Err(format!("surplus word {word:?}").into()),
        };
        match letter {
            'c' => flags.config = Some(text(&mut parser)?),
            'm' => flags.method = Some(text(&mut parser)?),
            'p' => flags.path = Some(text(&mut parser)?),
            'l' => flags.logfile = Some(text(&mut parser)?),
            'f' => flags.pidfile = Some(text(&mut parser)?),
            't' => flags.statedir = Some(text(&mut parser)?),
            'F' => flags.fsfreeze_hook = Some(parser.optional_value().map(|path| path.string()).transpose()?),
            'v' => flags.verbose = Some(true),
            'd' => flags.daemonize = Some(true),
            'r' => flags.retry_path = Some(true),
            'b' | 'a' => match (letter, text(&mut parser)?) {
                (_, list) if list == "help" || list == "?" => return Ok((flags, Action::ListCommands)),
                ('b', list) => flags.block_rpcs.push(list),
                (_, list) => flags.allow_rpcs.push(list),
            },
            'D' => action = Action::DumpConfig,
            'V' => return Ok((flags, Action::Version)),
            'h' => return Ok((flags, Action::Help)),
            _ => return Err(lexopt::Error::UnexpectedOption(format!("-{letter}"))),
        }
    }
    Ok((flags, action))
}

/// The value of the option that was read last.
fn text(parser: &mut Parser) -> Result<String, lexopt::Error> {
    parser.value()?.string()
}

/// The letter of a long option, which may be cut short as long as it is only one.
fn letter_of(name: &str) -> Result<char, lexopt::Error> {
    let exact = LONG.iter().find(|long| **long == name);
    let mut begun = LONG.iter().filter(|long| long.starts_with(name));
    let long = match (exact, begun.next(), begun.next()) {
        (Some(long), ..) | (None, Some(long), None) => *long,
        (None, Some(one), Some(other)) => return Err(format!("--{name} may mean --{one} or --{other}").into()),
        (None, None, _) => return Err(lexopt::Error::UnexpectedOption(format!("--{name}"))),
    };
    Ok(match long {
        "logfile" => 'l',
        "pidfile" => 'f',
        "fsfreeze-hook" => 'F',
        "statedir" => 't',
        "version" => 'V',
        "dump-conf" => 'D',
        other => other.chars().next().unwrap_or_default(),
    })
}
