//! The first means that is there, and what it answers.

use std::fmt::Display;
use std::path::PathBuf;

use guestd_program::{End, one_line};
use guestd_sdk::CommandError;
use guestd_sdk::Ctx;

use crate::power::{Power, Turn};
use crate::program::{self, Patience};

/// Why a means did not do it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It does not exist here, and nothing was tried. The text is a clause: `systemd does not run here`.
    Absent(String),
    /// It was tried, and said no or nothing. The text is the error for the client.
    Failed(String),
}

/// What the log and the errors of a command call it.
#[derive(Clone, Copy)]
pub(crate) struct Purpose {
    /// For the log: `shutdown (reboot)`.
    pub what: &'static str,
    /// For qemu-ga's words `child process has failed to ...`.
    pub verb: &'static str,
}

/// Leaves it to the first of the means that is there.
///
/// What that answers is the command's answer: a refusal has its reasons, as swap that would not outlive the power or
/// somebody's inhibitor, and no other means may act behind its back. One that does not answer in time may still act.
pub(crate) fn by_first<M: Copy + Display>(
    ctx: &Ctx<Power>,
    turn: &Turn<'_>,
    purpose: Purpose,
    means: &[M],
    attempt: impl Fn(M) -> Result<(), Trouble>,
) -> Result<(), CommandError> {
    let mut absent = Vec::new();
    for &one in means {
        match turn.check_time().and_then(|()| attempt(one)) {
            Ok(()) => {
                ctx.info(format_args!("{}: {one} has accepted it", purpose.what));
                return Ok(());
            }
            Err(Trouble::Absent(why)) => {
                ctx.debug(format_args!("{}: not by {one}: {why}", purpose.what));
                absent.push(format!("{one}: {why}"));
            }
            Err(Trouble::Failed(error)) => {
                ctx.warn(format_args!("{}: {one} has failed: {error}", purpose.what));
                return Err(CommandError::new(error));
            }
        }
    }
    Err(CommandError::new(format!("no means to {} ({})", purpose.verb, absent.join("; "))))
}

/// Runs a program that is to do it. The errors begin with qemu-ga's words; what the program said follows them.
pub(crate) fn by_program(
    ctx: &Ctx<Power>,
    turn: &Turn<'_>,
    purpose: Purpose,
    name: &str,
    args: &[&str],
    patience: Patience,
) -> Result<(), Trouble> {
    let path = installed(turn, name)?;
    ctx.info(format_args!("{}: by {} {}", purpose.what, path.display(), args.join(" ")));
    let ended = program::run(&path, args, patience, turn.time_left()).map_err(|error| {
        let context = format!("child process has failed to {}: {name}", purpose.verb);
        Trouble::Failed(CommandError::os(context, &error).desc().to_owned())
    })?;
    let words = one_line(&ended.output);
    let said = if words.is_empty() { words } else { format!(": {words}") };
    let code = match ended.end {
        End::TimedOut(limit) => {
            let limit = limit.as_secs();
            return Err(Trouble::Failed(format!("{name} has not ended after {limit} s; it may still act")));
        }
        End::Exited(status) => status.code(),
        End::Lost | End::Stopped | End::TooMuchOutput => None,
    };
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            ctx.debug(format_args!("{}: {name} ended with status {code}", purpose.what));
            Err(Trouble::Failed(format!("child process has failed to {}{said}", purpose.verb)))
        }
        None => Err(Trouble::Failed(format!("child process has terminated abnormally{said}"))),
    }
}

/// The path of a program, or that it is not installed.
pub(crate) fn installed(turn: &Turn<'_>, name: &str) -> Result<PathBuf, Trouble> {
    turn.machine().program(name).ok_or_else(|| Trouble::Absent(format!("{name} is not installed")))
}
