//! The set's section of the configuration, `[plugins.exec]`.

use std::time::Duration;

use guestd_guest::descriptors;
use guestd_sdk::LogLevel;
use guestd_sdk::prelude::*;

/// `[plugins.exec]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// How many programs there may be at once, those included that have ended and were not asked for.
    max_jobs: usize,
    /// How much output and unread input all of them may have together, in MiB.
    max_output: usize,
    /// How long a program may run, in seconds; 0: without limit.
    timeout: u64,
    /// How long a result waits for `guest-exec-status` before its room may be given to another program, in seconds.
    keep: u64,
}

/// The limits that a configuration sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Programs at once.
    pub jobs: usize,
    /// Output and unread input of all programs together, in bytes.
    pub bytes: usize,
    /// The run time of a program, if there is a limit.
    pub run_time: Option<Duration>,
    /// The time for which a result is kept in any case.
    pub keep: Duration,
}

impl Default for Config {
    fn default() -> Self {
        // 256 programs with three pipes and a pidfd each are what fits under the usual limit of 1,024 descriptors;
        // 128 MiB are four programs that fill both their streams.
        Self { max_jobs: 256, max_output: 128, timeout: 0, keep: 600 }
    }
}

impl Config {
    /// Reads the section. Fails on unknown keys and on a `max-jobs` of 0: to switch the command off, block it.
    pub(crate) fn read(daemon: &Daemon) -> Result<Limits, CommandError> {
        let config: Self = daemon.config()?;
        if config.max_jobs == 0 {
            return Err(CommandError::new("configuration: max-jobs is 0"));
        }
        Ok(Limits {
            jobs: config.max_jobs.min(possible(daemon)?),
            bytes: config.max_output.saturating_mul(1 << 20),
            run_time: (config.timeout != 0).then(|| Duration::from_secs(config.timeout)),
            keep: Duration::from_secs(config.keep),
        })
    }
}

/// The descriptors of a program: three pipes and what tells of its end.
const DESCRIPTORS_PER_JOB: u64 = 4;

/// How many programs there can be at once.
fn possible(daemon: &Daemon) -> Result<usize, CommandError> {
    let jobs = (descriptors::for_a_set()? / DESCRIPTORS_PER_JOB).max(1);
    daemon.log(LogLevel::Debug, format_args!("the limit on descriptors leaves room for {jobs} programs"));
    Ok(usize::try_from(jobs)?)
}
