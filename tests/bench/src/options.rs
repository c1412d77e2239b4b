//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use lexopt::{Arg, Parser, ValueExt};
use serde_json::Value;

use crate::commands::Command;
use crate::results::Typical;

/// What `--help` prints.
pub const USAGE: &str = "\
Measures guestd beside qemu-ga, in turn and in the same run.

Usage: bench [OPTION]...

  --guestd PROGRAM        instead of sbin/guestd in $GUESTD_STAGE or in target/stage
  --qemu-ga PROGRAM       instead of $QEMU_GA or /usr/sbin/qemu-ga; any agent with qemu-ga's flags
  --rounds N              how often each is measured; the table has medians (5)
  --cpu N                 the processor that agent and client share (the last one)
  --only TEXT             only the groups whose name has this in it: ping, info, files, commands, exec, start, memory;
                          may be repeated
  --fastest               the fastest call of a round instead of the median: for a machine that does other work as well
  --pinned-only           leaves out the second table, of agent and client on any processor
  --vm                    one more table: both agents in one guest, over virtio-serial; needs what tests/vm needs
  --vm-only               only that table
  --command NAME JSON     a row more: the time of that command with these arguments; may be repeated
  --markdown FILE         writes the tables as Markdown
  --json FILE             writes every figure as JSON
  --svg FILE              writes a plot of throughput by block size
";

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    pub guestd: PathBuf,
    pub qemu_ga: PathBuf,
    pub rounds: usize,
    pub cpu: Option<usize>,
    pub only: Vec<String>,
    pub unpinned: bool,
    pub here: bool,
    pub vm: bool,
    pub fastest: bool,
    pub commands: Vec<Command>,
    pub markdown: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
}

impl Options {
    /// Reads the command line; `None`: help is wanted.
    pub fn read(mut arguments: Parser) -> Result<Option<Self>> {
        let from_env = |name: &str, default: &str| std::env::var_os(name).map_or_else(|| default.into(), PathBuf::from);
        let mut options = Self {
            guestd: from_env("GUESTD_STAGE", "target/stage").join("sbin/guestd"),
            qemu_ga: from_env("QEMU_GA", "/usr/sbin/qemu-ga"),
            rounds: 5,
            cpu: None,
            only: Vec::new(),
            unpinned: true,
            here: true,
            vm: false,
            fastest: false,
            commands: Vec::new(),
            markdown: None,
            json: None,
            svg: None,
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("guestd") => options.guestd = arguments.value()?.into(),
                Arg::Long("qemu-ga") => options.qemu_ga = arguments.value()?.into(),
                Arg::Long("rounds") => options.rounds = arguments.value()?.parse()?,
                Arg::Long("cpu") => options.cpu = Some(arguments.value()?.parse()?),
                Arg::Long("only") => options.only.push(arguments.value()?.string()?),
                Arg::Long("fastest") => options.fastest = true,
                Arg::Long("pinned-only") => options.unpinned = false,
                Arg::Long("vm") => options.vm = true,
                Arg::Long("vm-only") => (options.vm, options.here) = (true, false),
                Arg::Long("command") => {
                    let execute = arguments.value()?.string()?;
                    let text = arguments.value()?.string()?;
                    let arguments: Value = serde_json::from_str(&text)
                        .with_context(|| format!("the arguments of {execute} are not JSON: {text}"))?;
                    options.commands.push(Command { execute, arguments, at_most: None });
                }
                Arg::Long("markdown") => options.markdown = Some(arguments.value()?.into()),
                Arg::Long("json") => options.json = Some(arguments.value()?.into()),
                Arg::Long("svg") => options.svg = Some(arguments.value()?.into()),
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                other => bail!(other.unexpected()),
            }
        }
        ensure!(options.rounds > 0, "there must be a round");
        options.guestd = program(&options.guestd).context("run `make build` first")?;
        options.qemu_ga = program(&options.qemu_ga).context("install qemu-guest-agent, or name it by --qemu-ga")?;
        Ok(Some(options))
    }

    /// What stands for a round.
    pub fn typical(&self) -> Typical {
        Typical { fastest: self.fastest }
    }

    /// Whether a group of measures is wanted.
    pub fn wants(&self, group: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| group.contains(text.as_str()))
    }
}

fn program(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is no {}", path.display()))
}
