//! Running one program with the patience that its work takes.

use std::io;
use std::path::Path;
use std::time::Duration;

use guestd_program::{Ended, Memory, Program, system};

/// How much a program can write to stdout and stderr together, in bytes; more is refused to it.
const OUTPUT_LIMIT: usize = 64 << 10;

/// How long a program may take, and what becomes of it then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    limit: Duration,
    kills: bool,
}

impl Patience {
    /// For programs that only hand a request over, which takes milliseconds; a bus that does not answer would keep
    /// them for 25 s (sd_bus_set_method_call_timeout(3)). They are killed.
    pub(crate) const FOR_REQUEST: Self = Self { limit: Duration::from_secs(10), kills: true };

    /// For programs that end when the guest is awake again; the time asleep does not count. They are left running,
    /// since they have to set the guest up again when it wakes.
    pub(crate) const ACROSS_SLEEP: Self = Self { limit: Duration::from_secs(30), kills: false };
}

/// Runs a program until it ends, but no longer than `patience` allows and the client waits (`time_left`).
///
/// It writes into a file: shutdown(8) of some inits goes on in the background, and must not be ended by a pipe that nobody
/// reads any more.
pub(crate) fn run(program: &Path, args: &[&str], patience: Patience, time_left: Duration) -> io::Result<Ended> {
    let mut command = system::command(program);
    command.args(args);
    let program = Program::new(command).output(Memory { length: OUTPUT_LIMIT });
    let program = if patience.kills { program } else { program.left_at_limit() };
    program.run(patience.limit.min(time_left))
}

#[cfg(test)]
mod tests;
