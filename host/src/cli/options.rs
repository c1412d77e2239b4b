//! The one table of what the command line knows: the options of the daemon, which are qemu-ga's, and the subcommands with
//! theirs. The parser and the help are made from it.

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CliOption {
    /// The letter, if it has one.
    pub short: Option<char>,
    /// The name behind `--`.
    pub long: &'static str,
    /// A name that it once had, which is taken with a warning.
    pub old_name: Option<&'static str>,
    /// What it takes.
    pub takes: Takes,
    /// What it is for: a clause, or some.
    pub help: &'static str,
}

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A value, which help calls by this name.
    Value(&'static str),
    /// A value that may be left out. If it is there it is glued to the letter, or to the name by `=`.
    OptionalValue(&'static str),
}

/// A subcommand.
#[derive(Debug, PartialEq, Eq)]
pub struct Subcommand {
    /// Its name.
    pub name: &'static str,
    /// What follows it, beside options, in the form of a synopsis.
    pub operands: &'static str,
    /// Its own options.
    pub options: &'static [CliOption],
    /// What it does: a clause.
    pub help: &'static str,
    /// What else there is to know: lines, or nothing.
    pub details: &'static str,
}

const fn option(short: char, long: &'static str, takes: Takes, help: &'static str) -> CliOption {
    CliOption { short: Some(short), long, old_name: None, takes, help }
}

const fn long_option(long: &'static str, takes: Takes, help: &'static str) -> CliOption {
    CliOption { short: None, long, old_name: None, takes, help }
}

/// The daemon's options, in qemu-ga's order.
pub const OPTIONS: [CliOption; 15] = [
    option('c', "config", Takes::Value("FILE"), "read FILE: guestd's own if it ends in .toml, else qemu-ga's"),
    option('m', "method", Takes::Value("METHOD"), "virtio-serial (default), isa-serial, unix-listen or vsock-listen"),
    option('p', "path", Takes::Value("PATH"), "the device, the socket's path, or cid:port"),
    option('l', "logfile", Takes::Value("FILE"), "log to FILE instead of standard error"),
    option('f', "pidfile", Takes::Value("FILE"), "where a daemon in the background writes its process number"),
    option(
        'F',
        "fsfreeze-hook",
        Takes::OptionalValue("FILE"),
        "run FILE (default: /etc/qemu/fsfreeze-hook) around a freeze",
    ),
    option('t', "statedir", Takes::Value("DIR"), "where state is kept that outlives the daemon"),
    option('v', "verbose", Takes::Nothing, "log every request"),
    option('V', "version", Takes::Nothing, "show the version"),
    option('d', "daemonize", Takes::Nothing, "go into the background"),
    CliOption {
        old_name: Some("blacklist"),
        ..option(
            'b',
            "block-rpcs",
            Takes::Value("LIST"),
            "answer no command in LIST, separated by commas; \"help\" lists them all",
        )
    },
    option('a', "allow-rpcs", Takes::Value("LIST"), "answer only commands in LIST; \"help\" lists them all"),
    option('D', "dump-conf", Takes::Nothing, "show the configuration as qemu-ga.conf would have it"),
    option('r', "retry-path", Takes::Nothing, "accepted for qemu-ga's sake: devices are always waited for"),
    option('h', "help", Takes::Nothing, "show this"),
];

const JSON: CliOption = long_option("json", Takes::Nothing, "as JSON, for programs");

/// The subcommands.
pub const SUBCOMMANDS: [Subcommand; 6] = [
    Subcommand {
        name: "plugins",
        operands: "",
        options: &[JSON],
        help: "the command sets, and the files that are refused",
        details: "",
    },
    Subcommand {
        name: "commands",
        operands: "",
        options: &[JSON],
        help: "the commands, and whether each answers",
        details: "",
    },
    Subcommand {
        name: "explain",
        operands: "COMMAND",
        options: &[],
        help: "why a command answers or does not",
        details: "The exit status is 1 where it does not.\n",
    },
    Subcommand {
        name: "check",
        operands: "",
        options: &[],
        help: "check the configuration, and open and start every plugin",
        details: "Names the files that were read, what is wrong and what is doubtful. The exit status is 1 where something is wrong.\n",
    },
    Subcommand {
        name: "call",
        operands: "COMMAND [KEY=VALUE... | JSON]",
        options: &[
            long_option("socket", Takes::Value("ADDRESS"), "a path, or vsock:CID:PORT; default: the configured socket"),
            long_option("timeout", Takes::Value("SECONDS"), "how long the answer may take; default: 60"),
        ],
        help: "send a request to an agent, and print its answer",
        details: "The arguments are one JSON object, or words KEY=VALUE. A VALUE that is JSON is meant as JSON, and as text\n\
                  otherwise: count=5 is a number, path=/etc/hosts a string; quotes make a string of anything: 'name=\"5\"'.\n\
                  The exit status is 1 where the answer is an error.\n",
    },
    Subcommand {
        name: "help",
        operands: "[SUBCOMMAND]",
        options: &[],
        help: "show this, or what a subcommand takes",
        details: "",
    },
];

impl CliOption {
    /// Whether it says how the daemon is configured, so that a subcommand takes it, too.
    pub fn configures(&self) -> bool {
        !["dump-conf", "version", "help"].contains(&self.long)
    }
}

impl Subcommand {
    /// The subcommand of that name.
    pub fn of(name: &str) -> Option<&'static Self> {
        SUBCOMMANDS.iter().find(|subcommand| subcommand.name == name)
    }
}
