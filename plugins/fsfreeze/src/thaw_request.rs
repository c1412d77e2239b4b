//! `guest-fsfreeze-thaw`: what it means depends on how far the freeze is.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use guestd_sdk::LogLevel;

use crate::limits::thaw_limit;
use crate::plan;
use crate::plan::mountinfo::Mount;
use crate::session::{Cause, Ended, Failure, Progress};
use crate::state::{Phase, Shared};
use crate::thaw::{thaw_failure, thaw_fully};

/// What a thaw finds to do.
enum Found {
    Notice(String),
    Untold(Ended),
    Nothing,
    Planning,
    Thaw(u64),
    UnderWay(u64),
}

/// Thaws for the host, and returns how many file systems were thawed. `deadline_ms`: how long the daemon waits, in
/// milliseconds; 0: without limit.
///
/// Fails, once, where the agent has thawed by itself before: the host must learn that its snapshot is suspect.
pub fn thaw(shared: &Arc<Shared>, deadline_ms: u32) -> Result<usize, Failure> {
    let (config, hooks) = {
        let state = shared.state();
        let session = state.session.as_ref();
        session.map_or((shared.config(), 0), |session| (Arc::clone(&session.config), session.hooks.len()))
    };
    let deadline = thaw_limit(&config, hooks, deadline_ms).map(|limit| Instant::now() + limit);
    loop {
        let found = shared.change(|state| {
            let number = state.session.as_ref().map_or(0, |session| session.number);
            match state.phase {
                Phase::Thawed => match state.notice.take() {
                    Some(notice) => Found::Notice(notice.text),
                    None => state.take_untold().map_or(Found::Nothing, Found::Untold),
                },
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
            Found::Untold(ended) => return answer(shared, Some(ended)),
            Found::Nothing => return sweep(shared, deadline),
            Found::Planning => return Ok(0),
            Found::Thaw(number) => {
                let from = [Phase::Hooks, Phase::Freezing, Phase::Frozen, Phase::Stuck];
                if !shared.begin_thaw(Cause::Host, &from) {
                    continue;
                }
                shared.drive_elsewhere();
                let ended = shared.wait_thawed(number, deadline);
                // Begun when the lease was over, and ended only now: the host does not know of the first part.
                if !has_news(shared) {
                    return answer(shared, ended);
                }
            }
            Found::UnderWay(number) => {
                let ended = shared.wait_thawed(number, deadline);
                let failed = ended.as_ref().is_none_or(|ended| ended.failure.is_some());
                if failed && !has_news(shared) {
                    return answer(shared, ended);
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

fn answer(shared: &Shared, ended: Option<Ended>) -> Result<usize, Failure> {
    match ended {
        Some(Ended { failure: Some(failure), .. }) => Err(failure),
        Some(Ended { count, .. }) => Ok(count),
        None => {
            // Whoever asks next, when it has ended, is told how many were thawed.
            shared.change(|state| state.session.iter_mut().for_each(|session| session.untold = true));
            Err(Failure::new("the thaw is not complete yet"))
        }
    }
}

/// Thaws every local file system that is frozen, by whomever.
fn sweep(shared: &Shared, deadline: Option<Instant>) -> Result<usize, Failure> {
    let log = |mount: &Mount, reason: &str| {
        shared.daemon.log(LogLevel::Debug, format_args!("{} is not thawed: {reason}", mount.point.display()));
    };
    let opened = plan::freezable(&shared.limited(deadline), log).map_err(|error| Failure::new(error.desc()))?;
    let (mut count, mut failure) = (0, None);
    for (mount, mounted) in opened.iter().rev() {
        match thaw_fully(&*shared.kernel, mounted.as_fd()) {
            Progress::Thawed => count += 1,
            Progress::ThawFailed(errno) => failure = failure.or(Some(thaw_failure(mount, errno))),
            _ => {}
        }
    }
    failure.map_or(Ok(count), Err)
}
