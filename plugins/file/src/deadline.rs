//! How long a client waits for an answer.

use std::time::{Duration, Instant};

use guestd_sdk::prelude::*;

/// How long something is waited for where there is no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(60);

/// The moment after which the client has been told that its call failed, so that what is left of it must not be
/// done any more. A call is not stopped by it: the system call that is under way has to return first.
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of a request that has just come in.
    pub fn of(request: &Request) -> Self {
        let limit = Duration::from_millis(request.deadline_ms.into());
        Self(if limit.is_zero() { None } else { Instant::now().checked_add(limit) })
    }

    /// How long something may be waited for, so that there is time left for the rest of the call.
    pub fn patience(&self) -> Duration {
        self.0.map_or(NO_DEADLINE, |end| end.saturating_duration_since(Instant::now()) / 2)
    }

    /// Fails once the deadline has passed. Nobody reads this error; it ends the call.
    pub fn check(&self) -> Result<(), CommandError> {
        match self.0 {
            Some(end) if Instant::now() >= end => Err(CommandError::new("the call took longer than its deadline")),
            _ => Ok(()),
        }
    }
}
