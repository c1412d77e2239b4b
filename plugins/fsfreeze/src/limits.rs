//! How long the commands take at most.
//!
//! The daemon's deadlines of this set are a backstop of an hour. What counts are the set's own limits, which follow the
//! hooks: a thaw with five hooks of 30 s each is not late after two minutes. A deadline that the configuration gives
//! (`[commands] deadline`) counts as it is.

use std::time::Duration;

use crate::config::Config;

/// What the `plugin!` block says of both freezes and of the thaw.
const BACKSTOP: Duration = Duration::from_secs(3600);
/// A call may have waited for a thread before it began; what is left of the backstop is still the backstop.
const QUEUED: Duration = Duration::from_secs(60);
/// How long before the daemon's deadline an answer must be ready, so that it is not late: a tenth of the time, and no more
/// than this.
const MAX_MARGIN: Duration = Duration::from_secs(2);
/// For a freeze without hooks. 1,100 file systems take 40 s.
const FREEZE_LIMIT: Duration = Duration::from_secs(300);
/// For a thaw without hooks.
const THAW_LIMIT: Duration = Duration::from_secs(120);

/// How long a freeze with so many hooks may take, for a call of which the daemon expects an answer in `deadline_ms`
/// milliseconds; 0 there and `None` here: without limit.
pub fn freeze_limit(config: &Config, hooks: usize, deadline_ms: u32) -> Option<Duration> {
    limit(FREEZE_LIMIT.saturating_add(of_hooks(config, hooks)), deadline_ms)
}

/// How long the thaw of such a freeze may take.
pub fn thaw_limit(config: &Config, hooks: usize, deadline_ms: u32) -> Option<Duration> {
    limit(THAW_LIMIT.saturating_add(of_hooks(config, hooks)), deadline_ms)
}

/// How long one half of all hooks may take.
pub fn of_hooks(config: &Config, hooks: usize) -> Duration {
    config.hook_timeout.saturating_mul(u32::try_from(hooks).unwrap_or(u32::MAX))
}

fn limit(own: Duration, deadline_ms: u32) -> Option<Duration> {
    if deadline_ms == 0 {
        return None;
    }
    let given = Duration::from_millis(deadline_ms.into());
    let is_configured = given + QUEUED < BACKSTOP || given > BACKSTOP;
    let limit = if is_configured { given } else { own.min(given) };
    Some(limit.saturating_sub(MAX_MARGIN.min(limit / 10)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(limit: Option<Duration>) -> Option<u64> {
        limit.map(|limit| limit.as_secs())
    }

    #[test]
    fn limits_follow_the_hooks_unless_the_configuration_gives_a_deadline() {
        let config = Config::fallback();
        assert_eq!(config.hook_timeout, Duration::from_secs(30));
        for (hooks, deadline_s, freeze, thaw) in [
            (0, 3600, Some(298), Some(118)),
            (5, 3600, Some(448), Some(268)),
            (5, 3590, Some(448), Some(268)),
            (500, 3600, Some(3598), Some(3598)),
            (5, 10, Some(9), Some(9)),
            (0, 900, Some(898), Some(898)),
            (0, 7200, Some(7198), Some(7198)),
            (0, 0, None, None),
        ] {
            let both = (freeze_limit(&config, hooks, deadline_s * 1000), thaw_limit(&config, hooks, deadline_s * 1000));
            assert_eq!((seconds(both.0), seconds(both.1)), (freeze, thaw), "{hooks} hooks, {deadline_s} s");
        }
    }
}
