//! `guest-suspend-disk`, `guest-suspend-ram`, `guest-suspend-hybrid`.
//!
//! What the kernel can do is in `/sys/power/state` and `/sys/power/disk`; see its document
//! `Documentation/admin-guide/pm/sleep-states.rst`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use guestd_sdk::answer::Answer;
use guestd_sdk::args;
use guestd_sdk::prelude::*;

use crate::attempt::{Purpose, Trouble, by_first, by_program, installed};
use crate::config::SuspendMeans;
use crate::hibernation;
use crate::machine::Machine;
use crate::power::{Power, Turn};
use crate::program::Patience;

const STATE: &str = "/sys/power/state";
const DISK: &str = "/sys/power/disk";

const UNSUPPORTED: &str = "the requested suspend mode is not supported by the guest";

/// How the guest sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// Its memory is written to swap, and it is powered off.
    Disk,
    /// Its memory stays powered.
    Ram,
    /// Its memory is written to swap and stays powered.
    Hybrid,
}

impl Sleep {
    fn what(self) -> &'static str {
        match self {
            Self::Disk => "suspend (disk)",
            Self::Ram => "suspend (ram)",
            Self::Hybrid => "suspend (hybrid)",
        }
    }

    /// The verb of systemctl(1).
    fn verb(self) -> &'static str {
        match self {
            Self::Disk => "hibernate",
            Self::Ram => "suspend",
            Self::Hybrid => "hybrid-sleep",
        }
    }

    /// The program of pm-utils, by pm-action(8).
    fn program(self) -> &'static str {
        match self {
            Self::Disk => "pm-hibernate",
            Self::Ram => "pm-suspend",
            Self::Hybrid => "pm-suspend-hybrid",
        }
    }

    /// Whether the kernel can do it.
    fn is_supported(self, machine: &Machine) -> bool {
        let offers = |file, word| words(machine, file).iter().any(|known| known.trim_matches(['[', ']']) == word);
        match self {
            Self::Disk => offers(STATE, "disk"),
            Self::Ram => offers(STATE, "mem"),
            Self::Hybrid => offers(STATE, "disk") && offers(DISK, "suspend"),
        }
    }
}

/// `guest-suspend-disk`: hibernates the guest, and does not answer when that was accepted.
pub fn disk(ctx: &Ctx<Power>, request: Request) -> Result<Reply, CommandError> {
    suspend(ctx, &request, Sleep::Disk)
}

/// `guest-suspend-ram`: suspends the guest to its memory, and does not answer when that was accepted.
pub fn ram(ctx: &Ctx<Power>, request: Request) -> Result<Reply, CommandError> {
    suspend(ctx, &request, Sleep::Ram)
}

/// `guest-suspend-hybrid`: suspends the guest to its memory with a copy of that on disk, and does not answer when
/// that was accepted.
pub fn hybrid(ctx: &Ctx<Power>, request: Request) -> Result<Reply, CommandError> {
    suspend(ctx, &request, Sleep::Hybrid)
}

fn suspend(ctx: &Ctx<Power>, request: &Request, sleep: Sleep) -> Result<Reply, CommandError> {
    args::parse::<NoArgs>(args::text_of(request)?)?;
    let turn = ctx.state.begin(request.deadline_ms)?;
    if !sleep.is_supported(turn.machine()) {
        return Err(CommandError::new(UNSUPPORTED));
    }
    let purpose = Purpose { what: sleep.what(), verb: "suspend" };
    by_first(ctx, &turn, purpose, &turn.config().suspend_means, |means| match means {
        SuspendMeans::Systemctl => by_systemctl(ctx, &turn, purpose, sleep),
        SuspendMeans::PmUtils => by_pm_utils(ctx, &turn, purpose, sleep),
        SuspendMeans::Sysfs => by_sysfs(ctx, &turn, purpose, sleep),
    })?;
    Silent.into_reply()
}

fn by_systemctl(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, sleep: Sleep) -> Result<(), Trouble> {
    if !turn.machine().runs_systemd() {
        return Err(Trouble::Absent("systemd does not run here".to_owned()));
    }
    by_program(ctx, turn, purpose, "systemctl", &["--no-ask-password", sleep.verb()], Patience::FOR_REQUEST)
}

fn by_pm_utils(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, sleep: Sleep) -> Result<(), Trouble> {
    installed(turn, sleep.program())?;
    check_place(ctx, turn, purpose, sleep)?;
    by_program(ctx, turn, purpose, sleep.program(), &[], Patience::ACROSS_SLEEP)
}

/// Nobody but systemd makes sure that an image of the memory is found again before the memory is switched off.
fn check_place(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, sleep: Sleep) -> Result<(), Trouble> {
    if sleep == Sleep::Ram {
        return Ok(());
    }
    hibernation::has_place(turn.machine()).map_err(|why| {
        ctx.warn(format_args!("{}: there is no place for the image of the memory: {why}", purpose.what));
        Trouble::Failed(UNSUPPORTED.to_owned())
    })
}

/// The write to `/sys/power/state` returns when the guest is awake again, or with an error that it does not sleep.
fn by_sysfs(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, sleep: Sleep) -> Result<(), Trouble> {
    let machine = turn.machine();
    check_place(ctx, turn, purpose, sleep)?;
    ctx.info(format_args!("{}: by {STATE}", purpose.what));
    match sleep {
        Sleep::Ram => write(machine, STATE, "mem"),
        Sleep::Disk => write(machine, STATE, "disk"),
        Sleep::Hybrid => {
            let chosen = words(machine, DISK).into_iter().find(|word| word.starts_with('['));
            write(machine, DISK, "suspend")?;
            let slept = write(machine, STATE, "disk");
            if let Some(chosen) = chosen
                && let Err(Trouble::Failed(error)) = write(machine, DISK, chosen.trim_matches(['[', ']']))
            {
                ctx.warn(format_args!("{}: {error}; hibernation stays hybrid", purpose.what));
            }
            slept
        }
    }
}

/// The words of a file of `/sys/power`, none where there is no such file; the one in brackets is the choice of the
/// moment.
fn words(machine: &Machine, file: &str) -> Vec<String> {
    let text = fs::read_to_string(machine.path(file)).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn write(machine: &Machine, file: &str, word: &str) -> Result<(), Trouble> {
    let written = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(machine.path(file))
        .and_then(|mut opened| opened.write_all(word.as_bytes()));
    written.map_err(|error: io::Error| {
        Trouble::Failed(CommandError::os(format_args!("failed to suspend: {file}"), &error).desc().to_owned())
    })
}
