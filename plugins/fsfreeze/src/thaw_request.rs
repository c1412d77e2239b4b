//! `guest-fsfreeze-thaw`: what it means depends on how far the freeze is.

use std::os::fd::AsFd;
use std::time::Instant;

use guestd_sdk::LogLevel;

use crate::kernel::OpenError;
use crate::plan;
use crate::session::{Cause, Ended, Failure, Progress};
use crate::state::{Phase, Shared};
use crate::thaw::{thaw_failure, thaw_fully};

/// What a thaw finds to do.
enum Found {
    Notice(String),
    Nothing,
    Planning,
    Thaw(u64),
    UnderWay(u64),
}

/// Thaws for the host, and returns how many file systems were thawed. `deadline`: when the host stops waiting.
///
/// Fails, once, where the agent has thawed by itself before: the host must learn that its snapshot is suspect.
pub fn thaw(shared: &Shared, deadline: Option<Instant>) -> Result<usize, Failure> {
    loop {
        let found = shared.change(|state| {
            let number = state.session.as_ref().map_or(0, |session| session.number);
            match state.phase {
                Phase::Thawed => state.notice.take().map_or(Found::Nothing, |notice| Found::Notice(notice.text)),
                Phase::Planning => {
                    state.cancelled = Some(Cause::Host);
                    Found::Planning
                }
                Phase::Thawing => Found::UnderWay(number),
                Phase::Hooks | Phase::Freezing | Phase::Frozen | Phase::Stuck => Found::Thaw(number),
            }
        });
        match found {
            Found::Notice(text) => {
                if let Some(store) = &shared.store
                    && let Err(error) = store.remove_notice()
                {
                    shared.warn(format_args!("what the host was told will be told again: {error}"));
                }
                return Err(Failure::new(text));
            }
            Found::Nothing => return sweep(shared),
            Found::Planning => return Ok(0),
            Found::Thaw(number) => {
                let from = [Phase::Hooks, Phase::Freezing, Phase::Frozen, Phase::Stuck];
                if !shared.begin_thaw(Cause::Host, &from) {
                    continue;
                }
                shared.drive();
                let ended = shared.wait_thawed(number, deadline);
                // Begun when the lease was over, and ended only now: the host does not know of the first part.
                if !has_news(shared) {
                    return answer(ended);
                }
            }
            Found::UnderWay(number) => {
                let ended = shared.wait_thawed(number, deadline);
                let failed = ended.as_ref().is_none_or(|ended| ended.failure.is_some());
                if failed && !has_news(shared) {
                    return answer(ended);
                }
            }
        }
    }
}

/// Whether all is thawed, and the host has to be told that the agent did it by itself.
fn has_news(shared: &Shared) -> bool {
    let state = shared.state();
    state.phase == Phase::Thawed && state.notice.is_some()
}

fn answer(ended: Option<Ended>) -> Result<usize, Failure> {
    match ended {
        Some(Ended { failure: Some(failure), .. }) => Err(failure),
        Some(Ended { count, .. }) => Ok(count),
        None => Err(Failure::new("the thaw is not complete yet")),
    }
}

/// Thaws every local file system that is frozen, by whomever.
fn sweep(shared: &Shared) -> Result<usize, Failure> {
    let kernel = &*shared.kernel;
    let mut superblocks = plan::freezable(kernel).map_err(|error| Failure::new(error.desc()))?;
    superblocks.reverse();
    let (mut count, mut failure) = (0, None);
    for superblock in superblocks {
        let Some(mount) = superblock.first() else { continue };
        let mounted = match superblock.open(kernel) {
            Ok(mounted) => mounted,
            Err(OpenError::Unreachable) => continue,
            Err(OpenError::Refused(errno)) => {
                shared.daemon.log(LogLevel::Debug, format_args!("{} is not thawed: {errno}", mount.point.display()));
                continue;
            }
        };
        match thaw_fully(kernel, mounted.as_fd()) {
            Progress::Thawed => count += 1,
            Progress::ThawFailed(errno) => failure = failure.or(Some(thaw_failure(mount, errno))),
            _ => {}
        }
    }
    failure.map_or(Ok(count), Err)
}
