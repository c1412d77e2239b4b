//! The end: plugins undo what must not outlive the daemon, as a freeze.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::notify;
use crate::core::Core;
use crate::dispatch;

/// How long plugins may take. While file systems are frozen it does not count: the set that has frozen them knows how
/// long its work may take, and an end before would leave them frozen.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the service manager is told that the end takes longer; also how often the limit is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// The time in which it is told again, at the latest: a busy machine must not look like a daemon that hangs.
const EXTENSION: Duration = Duration::from_secs(30);

/// Has every plugin that was started undo what must not outlive the daemon, and waits for it. A service manager that would
/// otherwise kill the daemon meanwhile is asked for more time: sd_notify(3), EXTEND_TIMEOUT_USEC.
pub async fn run(core: &Arc<Core>) {
    let mut stopping = stop_all(core);
    let mut tick = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
    let mut end = Instant::now() + LIMIT;
    loop {
        tokio::select! {
            stopped = stopping.join_next() => if stopped.is_none() {
                return;
            },
            _ = tick.tick() => {
                let now = Instant::now();
                if core.frozen() {
                    end = now + LIMIT;
                } else if now >= end {
                    break;
                }
                notify(&[NotifyState::ExtendTimeoutUsec(u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX))]);
            }
        }
    }
    tracing::error!("a plugin has not stopped within {} s", LIMIT.as_secs());
    stopping.detach_all();
}

fn stop_all(core: &Arc<Core>) -> JoinSet<()> {
    let view = core.view();
    let mut stopping = JoinSet::new();
    // While file systems are frozen, a set that is being started is the one that is to thaw them.
    for set in view.registry.sets.iter().filter(|set| set.started().is_some() || (core.frozen() && set.is_starting())) {
        let (core, set) = (Arc::clone(core), Arc::clone(set));
        stopping.spawn_blocking(move || {
            if let Ok(plugin) = dispatch::start(&core, &set, None) {
                plugin.stop();
            }
        });
    }
    stopping
}
