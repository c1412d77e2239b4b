//! The command line's words, read by the table.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use super::options::{CliOption, OPTIONS, SUBCOMMANDS, Subcommand, Takes};
use crate::config;

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
    /// `-b`: names of commands.
    pub block_rpcs: Vec<String>,
    /// `-a`: names of commands.
    pub allow_rpcs: Vec<String>,
    /// Where this was read, for messages.
    pub source: String,
    /// What was understood, but is better said otherwise: sentences without a source.
    pub warnings: Vec<String>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// The daemon is to run.
    Run,
    /// `--help`, of the program or of a subcommand.
    Help(Option<&'static Subcommand>),
    /// `--version`
    Version,
    /// `--dump-conf`
    DumpConfig,
    /// `-b help`
    ListCommands,
    /// A subcommand.
    Subcommand(&'static Subcommand, Words),
}

/// What follows a subcommand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The subcommand's own options with their values.
    pub options: Vec<(&'static str, Option<String>)>,
    /// The other words.
    pub operands: Vec<String>,
}

impl Words {
    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The value of an option; of one that was given more often, the last.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| *name == long)?.1.as_deref()
    }

    /// Fails if there are words beyond the first `most`.
    pub fn no_more_than(&self, most: usize) -> Result<(), String> {
        self.operands.get(most).map_or(Ok(()), |word| Err(format!("surplus word {word:?}")))
    }
}

/// Reads the words behind the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>, as_qemu_ga: bool) -> Result<(Flags, Action), lexopt::Error> {
    let mut parser = Parser::from_args(words);
    let mut flags = Flags { source: "the command line".to_owned(), ..Flags::default() };
    let mut action = Action::Run;
    while let Some(argument) = parser.next()? {
        let subcommand = match &action {
            Action::Subcommand(subcommand, _) => Some(*subcommand),
            _ => None,
        };
        let name = match argument {
            Arg::Short(letter) => Name::Letter(letter),
            Arg::Long(name) => Name::Long(name.to_owned()),
            Arg::Value(word) => {
                let word = word.string()?;
                match &mut action {
                    Action::Subcommand(_, words) => words.operands.push(word),
                    _ if as_qemu_ga => return Err(format!("surplus word {word:?}").into()),
                    _ => action = Action::Subcommand(subcommand_of(&word)?, Words::default()),
                }
                continue;
            }
        };
        let (option, own) = find(&name, subcommand)?;
        if option.old_name.is_some_and(|old| name == Name::Long(old.to_owned())) {
            flags.warnings.push(format!("--{name} is now called --{}", option.long));
        }
        let value = match option.takes {
            Takes::Value(_) => Some(parser.value()?.string()?),
            Takes::OptionalValue(_) => parser.optional_value().map(|value| value.string()).transpose()?,
            Takes::Nothing => {
                // Behind a letter stands the next letter.
                if let Name::Long(_) = name
                    && let Some(value) = parser.optional_value()
                {
                    return Err(lexopt::Error::UnexpectedValue { option: format!("--{name}"), value });
                }
                None
            }
        };
        match &mut action {
            Action::Subcommand(_, words) if own => words.options.push((option.long, value)),
            _ => {
                if let Some(done) = apply(option.long, value, &mut flags, &mut action) {
                    return Ok((flags, done));
                }
            }
        }
    }
    if let Action::Subcommand(Subcommand { name: "help", .. }, words) = &action {
        words.no_more_than(1)?;
        let of = words.operands.first().map(|name| subcommand_of(name)).transpose()?;
        action = Action::Help(of);
    }
    Ok((flags, action))
}

/// Takes over what an option of the daemon says. What is returned ends the reading, as in qemu-ga.
fn apply(long: &str, value: Option<String>, flags: &mut Flags, action: &mut Action) -> Option<Action> {
    match long {
        "config" => flags.config = value,
        "method" => flags.method = value,
        "path" => flags.path = value,
        "logfile" => flags.logfile = value,
        "pidfile" => flags.pidfile = value,
        "fsfreeze-hook" => flags.fsfreeze_hook = Some(value),
        "statedir" => flags.statedir = value,
        "verbose" => flags.verbose = Some(true),
        "daemonize" => flags.daemonize = Some(true),
        "retry-path" => flags.retry_path = Some(true),
        "block-rpcs" | "allow-rpcs" => {
            let list = value.unwrap_or_default();
            if list == "help" || list == "?" {
                return Some(Action::ListCommands);
            }
            let into = if long == "block-rpcs" { &mut flags.block_rpcs } else { &mut flags.allow_rpcs };
            into.extend(config::names(&list, &[',']));
        }
        "dump-conf" => *action = Action::DumpConfig,
        "version" => return Some(Action::Version),
        _ => {
            return Some(Action::Help(match action {
                Action::Subcommand(subcommand, _) => Some(subcommand),
                _ => None,
            }));
        }
    }
    None
}

/// An option as it was written.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    Letter(char),
    Long(String),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Letter(letter) => write!(f, "{letter}"),
            Self::Long(name) => f.write_str(name),
        }
    }
}

/// The option that is meant, and whether it is the subcommand's own. A long one may be cut short as long as it is only one
/// (getopt_long(3)).
fn find(name: &Name, subcommand: Option<&'static Subcommand>) -> Result<(&'static CliOption, bool), lexopt::Error> {
    let own = subcommand.map_or(&[][..], |subcommand| subcommand.options);
    let daemons = OPTIONS.iter().filter(|option| subcommand.is_none() || option.configures() || option.long == "help");
    let known = || own.iter().map(|option| (option, true)).chain(daemons.clone().map(|option| (option, false)));
    let long = match name {
        Name::Letter(letter) => {
            let found = known().find(|(option, _)| option.short == Some(*letter));
            return found.ok_or_else(|| lexopt::Error::UnexpectedOption(format!("-{letter}")));
        }
        Name::Long(long) => long.as_str(),
    };
    if let Some(found) = known().find(|(option, _)| option.long == long || option.old_name == Some(long)) {
        return Ok(found);
    }
    let mut begun = known().filter(|(option, _)| option.long.starts_with(long));
    match (begun.next(), begun.next()) {
        (Some(found), None) => Ok(found),
        (Some((one, _)), Some((other, _))) => {
            Err(format!("--{long} may mean --{} or --{}", one.long, other.long).into())
        }
        (None, _) => {
            let hint = config::suggestion(long, known().map(|(option, _)| option.long));
            Err(format!("unknown option --{long}{hint}").into())
        }
    }
}

fn subcommand_of(name: &str) -> Result<&'static Subcommand, lexopt::Error> {
    Subcommand::of(name).ok_or_else(|| {
        let known = SUBCOMMANDS.iter().map(|subcommand| subcommand.name);
        format!("unknown subcommand {name:?}{}", config::suggestion(name, known)).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Flags, Action), String> {
        parse(words.iter().map(OsString::from), false).map_err(|error| error.to_string())
    }

    fn flags(words: &[&str]) -> Flags {
        read(words).unwrap().0
    }

    #[test]
    fn every_option_of_the_table_is_understood() {
        for option in &OPTIONS {
            let long = format!("--{}", option.long);
            let letter = format!("-{}", option.short.unwrap());
            let (long, letter) = match option.takes {
                Takes::Nothing => (read(&[&long]), read(&[&letter])),
                Takes::Value(_) => (read(&[&long, "x"]), read(&[&format!("{letter}x")])),
                Takes::OptionalValue(_) => (read(&[&format!("{long}=x")]), read(&[&format!("{letter}x")])),
            };
            let (long, letter) = (long.unwrap(), letter.unwrap());
            assert_eq!(long, letter);
            let nothing = Flags { source: "the command line".to_owned(), ..Flags::default() };
            assert_ne!((&nothing, &Action::Run), (&long.0, &long.1), "{option:?} says nothing");
        }
        for subcommand in &SUBCOMMANDS {
            for option in subcommand.options {
                let long = format!("--{}", option.long);
                let words: &[&str] = if option.takes == Takes::Nothing { &[&long] } else { &[&long, "x"] };
                let (_, action) = read(&[&[subcommand.name], words].concat()).unwrap();
                let Action::Subcommand(_, words) = action else { panic!("{action:?}") };
                assert!(words.has(option.long));
            }
        }
    }

    #[test]
    fn options_are_those_of_getopt() {
        assert_eq!(flags(&["-dvp/x"]), flags(&["--daemon", "--verbo", "--path=/x"]));
        assert_eq!(flags(&["-F", "-v"]).fsfreeze_hook, Some(None));
        assert_eq!(flags(&["-F/x"]), flags(&["--fsfreeze-hook=/x"]));
        assert_eq!(read(&["-mx", "-V", "--nonsense"]).unwrap().1, Action::Version);
        for (words, expected) in [
            (&["--version=1"][..], "unexpected argument for option '--version': \"1\""),
            (&["--verbose=1"], "unexpected argument for option '--verbose': \"1\""),
            (&["-v=1"], "unexpected argument for option '-v': \"1\""),
            (&["--help="], "unexpected argument for option '--help': \"\""),
            (&["--ver"], "--ver may mean --verbose or --version"),
            (&["--path"], "missing argument for option '--path'"),
            (&["--pathe", "x"], "unknown option --pathe; did you mean \"path\"?"),
            (&["-x"], "invalid option '-x'"),
            (&["chekc"], "unknown subcommand \"chekc\"; did you mean \"check\"?"),
            (&["check", "-D"], "invalid option '-D'"),
            (&["check", "--json"], "unknown option --json"),
        ] {
            assert_eq!(read(words).unwrap_err(), expected, "{words:?}");
        }
    }

    #[test]
    fn lists_are_trimmed_and_old_names_are_taken_with_a_warning() {
        assert_eq!(flags(&["-b", "guest-exec, guest-file-open\t"]).block_rpcs, ["guest-exec", "guest-file-open"]);
        assert_eq!(flags(&["-a", ","]).allow_rpcs, ["", ""]);
        let old = flags(&["--blacklist=guest-ping"]);
        assert_eq!(old.block_rpcs, ["guest-ping"]);
        assert_eq!(old.warnings, ["--blacklist is now called --block-rpcs"]);
        assert!(flags(&["--block=guest-ping"]).warnings.is_empty());
    }

    #[test]
    fn options_may_stand_before_and_behind_a_subcommand() {
        let expected = read(&["-c", "x", "plugins", "--json"]).unwrap();
        assert_eq!(read(&["plugins", "--json", "-c", "x"]).unwrap(), expected);
        let (_, action) = read(&["call", "guest-ping", "--timeout", "5", "a=1", "--", "--b=2"]).unwrap();
        let Action::Subcommand(_, words) = action else { panic!("{action:?}") };
        assert_eq!(
            (words.value("timeout"), words.operands.as_slice()),
            (Some("5"), &["guest-ping", "a=1", "--b=2"].map(str::to_owned)[..])
        );
    }

    #[test]
    fn help_is_asked_for_in_many_ways() {
        let call = Subcommand::of("call");
        for words in [&["help", "call"][..], &["call", "--help"], &["call", "x", "-h"], &["call", "--he"]] {
            assert_eq!(read(words).unwrap().1, Action::Help(call), "{words:?}");
        }
        for words in [&["help"][..], &["-h"], &["--help"], &["-v", "-h", "--nonsense"]] {
            assert_eq!(read(words).unwrap().1, Action::Help(None), "{words:?}");
        }
        assert_eq!(read(&["help", "cal"]).unwrap_err(), "unknown subcommand \"cal\"; did you mean \"call\"?");
        assert_eq!(read(&["help", "call", "x"]).unwrap_err(), "surplus word \"x\"");
    }

    #[test]
    fn qemu_ga_has_no_subcommands() {
        let error = parse(["check"].map(OsString::from), true).unwrap_err();
        assert_eq!(error.to_string(), "surplus word \"check\"");
    }
}
