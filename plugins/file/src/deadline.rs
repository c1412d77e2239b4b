//! How long a client waits for an answer.

use std::time::{Duration, Instant};

use guestd_sdk::prelude::*;

/// The moment after which the client has been told that its call failed, so that what is left of it must not be
/// done any more. A call is not stopped by it: the system call that is under way has to return first.
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The deadline of a request that has just come in.
    pub fn of(request: &Request) -> Self {
        let limit = Duration::from_millis(request.deadline_ms.into());
        Self(if limit.is_zero() { None } else { Instant::now().checked_add(limit) })
    }

    /// Fails once the deadline has passed. Nobody reads this error; it ends the call.
    pub fn check(&self) -> Result<(), CommandError> {
        match self.0 {
            Some(end) if Instant::now() >= end => Err(CommandError::new("the call took longer than its deadline")),
            _ => Ok(()),
        }
    }
}
