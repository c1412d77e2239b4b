//! The limit on open descriptors: the daemon's own, and that of the programs which it starts.
//!
//! The soft limit (getrlimit(2), RLIMIT_NOFILE) is 1024 as a rule, for programs that use select(2). A daemon may need more: it raises
//! its own, and notes what it was in a variable of its environment, which is what libraries of plugins have in common. No program
//! sees the variable, and each gets the limit back.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// The variable.
pub const VARIABLE: &str = "GUESTD_NOFILE";

/// The most that the daemon asks for. The hard limit may be a billion, as in containers, and then limits nothing.
const MAX: rlim_t = 1 << 16;

/// Descriptors that the daemon has for itself, its clients and short calls, whatever its sets hold.
const RESERVED: rlim_t = 256;

/// The limits of programs: the soft one and the hard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits(rlim_t, rlim_t);

impl Limits {
    /// Puts them in force for this process. Makes one system call and no memory, so that it can be used after a fork.
    #[inline]
    pub fn apply(self) -> nix::Result<()> {
        setrlimit(Resource::RLIMIT_NOFILE, self.0, self.1)
    }
}

/// Raises the soft limit of this process to the hard one, or to 65,536 where that is higher.
///
/// # Safety
///
/// No other thread may exist: the environment is written to.
pub unsafe fn raise() {
    // SAFETY: the caller says that there is no other thread.
    unsafe { env::remove_var(VARIABLE) };
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = hard.min(MAX);
    if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        // SAFETY: as above.
        unsafe { env::set_var(VARIABLE, soft.to_string()) };
    }
}

/// The limits that programs get, where the daemon has raised its own.
#[inline]
pub fn of_programs() -> Option<Limits> {
    let soft = env::var(VARIABLE).ok()?.parse().ok()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(Limits(soft, hard))
}

/// Has the process that becomes the program take those limits.
#[inline]
pub fn give_back(command: &mut Command) {
    let Some(limits) = of_programs() else { return };
    command.env_remove(VARIABLE);
    // SAFETY: `apply` neither allocates nor locks.
    unsafe { command.pre_exec(move || limits.apply().map_err(io::Error::from)) };
}

/// How many descriptors a set may hold for its clients: half of what the daemon's own leave, since two sets hold many.
#[inline]
pub fn for_a_set() -> nix::Result<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok((soft.saturating_sub(RESERVED) / 2).max(1))
}
