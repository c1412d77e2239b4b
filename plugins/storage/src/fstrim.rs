//! `guest-fstrim`: file systems tell the disks below them which blocks are free, so that the host can have them back.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use guestd_sdk::answer::Answer;
use guestd_sdk::args;
use guestd_sdk::helpers::Helpers;
use guestd_sdk::prelude::*;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::filesystems::Filesystem;
use crate::kernel::{Kernel, OpenError};
use crate::machine::Machine;
use crate::storage::Storage;
use crate::types::{TrimArgs, TrimResponse, TrimResult};

/// The file in the daemon's run directory that is locked, by flock(2), for as long as file systems are trimmed.
const LOCK: &str = "fstrim.lock";
/// How long one file system may take to be opened: the way to it may lead through a mount whose server is dead, and the rest
/// is to be trimmed all the same.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// `guest-fstrim`: trims each local file system, the one mounted last first, and answers what became of each.
///
/// None is trimmed while file systems are frozen: before each one that is looked at again.
pub fn fstrim(ctx: &Ctx<Storage>, request: Request) -> Result<Reply, CommandError> {
    let args: TrimArgs = args::parse(args::text_of(&request)?)?;
    let deadline = Deadline::of(&request);
    let _turn = Turn::take(ctx)?;
    let minimum = args.minimum.unwrap_or(0);
    let systems = ctx.state.filesystems.local_anew(&ctx.state.machine)?;
    let opener = Opener {
        kernel: &ctx.state.kernel,
        machine: &ctx.state.machine,
        helpers: &ctx.state.openers,
        limit: OPEN_TIMEOUT,
    };
    let mut paths = Vec::with_capacity(systems.len());
    for (index, system) in systems.iter().enumerate() {
        let point = system.point();
        ctx.info(format_args!("trimming {point:?}, {} of {}", index + 1, systems.len()));
        let since = Instant::now();
        // Once the client has been told that the command failed, nothing more is begun.
        let forbidden = || match (ctx.frozen(), deadline.is_over()) {
            (true, _) => Some("file systems are frozen"),
            (_, true) => Some("the command's time is over"),
            _ => None,
        };
        let result = trim(&opener, system, minimum, forbidden);
        let took = since.elapsed().as_secs_f64();
        match (&result.trimmed, &result.error) {
            (_, Some(error)) => ctx.warn(format_args!("{point:?} is not trimmed: {error}")),
            (trimmed, None) => {
                ctx.info(format_args!("trimmed {point:?}: {} bytes in {took:.1} s", trimmed.unwrap_or(0)));
            }
        }
        paths.push(result);
    }
    TrimResponse { paths }.into_reply()
}

/// When the daemon stops waiting for a command.
struct Deadline(Option<Instant>);

impl Deadline {
    fn of(request: &Request) -> Self {
        let limit = (request.deadline_ms > 0).then(|| Duration::from_millis(request.deadline_ms.into()));
        Self(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    fn is_over(&self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

/// Opens file systems by their mount points, each call with a limit.
struct Opener<'s> {
    kernel: &'s Arc<dyn Kernel>,
    machine: &'s Machine,
    helpers: &'s Helpers<u32>,
    limit: Duration,
}

/// Trims one file system, by the first of its mount points that leads to it.
fn trim(
    opener: &Opener<'_>,
    system: &Filesystem,
    minimum: i64,
    forbidden: impl FnOnce() -> Option<&'static str>,
) -> TrimResult {
    let path = system.point().to_string_lossy().into_owned();
    let done = opener.open(system).and_then(|opened| {
        if let Some(why) = forbidden() {
            return Err(format!("failed to trim: {why}"));
        }
        opener.kernel.trim(&opened, minimum.cast_unsigned()).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOTTY | Errno::OPNOTSUPP) => "trim not supported".to_owned(),
            _ => format!("failed to trim: {}", guestd_sdk::errno_text(&error)),
        })
    });
    match done {
        Ok(trimmed) => TrimResult {
            path,
            trimmed: Some(i64::try_from(trimmed.bytes).unwrap_or(i64::MAX)),
            minimum: Some(trimmed.minimum.cast_signed()),
            error: None,
        },
        Err(error) => TrimResult { path, trimmed: None, minimum: None, error: Some(error) },
    }
}

impl Opener<'_> {
    /// All mount points of a file system together have the limit.
    fn open(&self, system: &Filesystem) -> Result<OwnedFd, String> {
        let until = Instant::now() + self.limit;
        let mut refused = None;
        for place in &system.places {
            let (kernel, point, mount) = (Arc::clone(self.kernel), self.machine.path(&place.point), place.mount);
            let left = until.saturating_duration_since(Instant::now());
            match self.helpers.run(mount, left, move || kernel.open(&point, mount)) {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(OpenError::Covered)) => {}
                Ok(Err(OpenError::Refused(error))) => refused = refused.or(Some(guestd_sdk::errno_text(&error))),
                Err(no_answer) => refused = refused.or(Some(no_answer.to_string())),
            }
        }
        let why = refused.unwrap_or_else(|| "something else is mounted over it".to_owned());
        Err(format!("failed to open: {why}"))
    }
}

/// The right to trim: one at a time, and not together with whoever else locks the file, as a freeze.
struct Turn<'s> {
    _alone: MutexGuard<'s, ()>,
    lock: Option<File>,
}

impl<'s> Turn<'s> {
    fn take(ctx: &'s Ctx<Storage>) -> Result<Self, CommandError> {
        let taken = || CommandError::new("file systems are being trimmed or frozen already");
        let alone = match ctx.state.trimming.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(taken()),
        };
        let lock = if ctx.state.run_dir.as_os_str().is_empty() {
            None
        } else {
            match lock(&ctx.state.run_dir) {
                Ok(lock) => Some(lock.ok_or_else(taken)?),
                Err(error) => {
                    // Where nothing can be written to this directory, nothing can be frozen either.
                    ctx.warn(format_args!("{LOCK} cannot be locked: {}", guestd_sdk::errno_text(&error)));
                    None
                }
            }
        };
        if ctx.frozen() {
            return Err(taken());
        }
        Ok(Self { _alone: alone, lock })
    }
}

impl Drop for Turn<'_> {
    /// Closing the file would not do: a program that is being started has it, too, until its exec.
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            let _ = flock(lock, FlockOperation::Unlock);
        }
    }
}

/// Locks the file; `None` if somebody else has locked it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let file =
        OpenOptions::new().write(true).create(true).mode(0o600).custom_flags(nofollow).open(directory.join(LOCK))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests;
