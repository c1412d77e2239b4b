//! `__org.guestd_fsfreeze-report`: what the last freeze did, mount by mount.

use std::time::Duration;

use guestd_sdk::{CommandError, LogLevel};
use rustix::io::Errno;
use serde::Serialize;

use crate::clock;
use crate::freeze::remedy;
use crate::plan::mountinfo::Mount;
use crate::session::{Cause, Entry, HalfRun, HookEntry, Progress, Session};
use crate::state::{Phase, Shared, Status};

/// The answer.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What `guest-fsfreeze-status` says.
    status: Status,
    /// Whether the next thaw will be answered with an error, since the agent thawed by itself.
    thawed_by_itself: bool,
    /// The freeze that is under way, or the last one of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze: Option<FreezeReport>,
}

/// A freeze.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
struct FreezeReport {
    /// When it was begun, RFC 3339.
    started: String,
    /// How far it is: `hooks`, `freezing`, `frozen`, `thawing`, `stuck` or `thawed`.
    phase: &'static str,
    /// How long anything may stay frozen, in seconds; absent: without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<u64>,
    /// When the lease ends, RFC 3339; absent: nothing is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_end: Option<String>,
    /// How long that is from now, in milliseconds; absent: nothing is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_left_ms: Option<u64>,
    /// Why and when the thaw began.
    #[serde(skip_serializing_if = "Option::is_none")]
    thaw: Option<ThawReport>,
    /// Each mount that was looked at.
    mounts: Vec<MountReport>,
    /// What the request named and is no mount point, as it was sent; absent: nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_mountpoints: Vec<String>,
    /// Each hook, in the order of the freeze.
    hooks: Vec<HookReport>,
}

/// Its end.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
struct ThawReport {
    /// `host`, `lease`, `deadline`, `stop` and `crash` (of the agent), or `freeze-failed`.
    cause: &'static str,
    /// When it was begun, RFC 3339.
    began: String,
    /// How many file systems were thawed.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A mount and what has become of it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
struct MountReport {
    /// Where it is mounted.
    mountpoint: String,
    /// Its type, as `ext4`.
    #[serde(rename = "type")]
    fstype: String,
    /// The number of its superblock's device, `major:minor`.
    device: String,
    /// What has become of it: `planned`, `freezing`, `frozen`, `thawing`, `thawed`; `failed`; `already-frozen` by somebody
    /// else; `not-freezable`, its type cannot, and nothing can be written to it; `syncing` and `synced`, its type cannot, and it
    /// is written back instead; `left-out`.
    outcome: &'static str,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How to go on without it, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// The kernel's error number, errno(3).
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    /// How long freezing it, or writing it back, took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze_ms: Option<u64>,
    /// How long thawing it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    thaw_ms: Option<u64>,
}

/// A hook.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
struct HookReport {
    /// The program.
    path: String,
    /// Its run before the freeze.
    freeze: HalfReport,
    /// Its run after the thaw.
    thaw: HalfReport,
}

/// One of its two runs.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct HalfReport {
    /// `waiting`, `running`, `done` or `failed`; `not-run`, and it will not be; `run-earlier`, by an agent that has died since.
    outcome: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
}

/// Logs a complete freeze: one line for the whole, and one for each mount that somebody may wonder about.
pub fn log(shared: &Shared, number: u64) {
    let (lines, count) = {
        let state = shared.state();
        let Some(session) = state.session.as_ref().filter(|session| session.number == number) else { return };
        let entries = session.entries.iter().filter_map(|entry| {
            let what = match entry.progress {
                Progress::FoundFrozen => "was frozen already",
                Progress::CannotFreeze => "cannot be frozen",
                Progress::Synced => "cannot be frozen, and was written back",
                _ => return None,
            };
            Some((LogLevel::Info, format!("{} ({}) {what}", entry.mount.point.display(), entry.mount.fstype)))
        });
        let left = session.left.iter().map(|left| {
            let level = if left.suspect { LogLevel::Warn } else { LogLevel::Debug };
            (level, format!("{} ({}) is not frozen: {}", left.mount.point.display(), left.mount.fstype, left.reason))
        });
        let count = session.entries.iter().filter(|entry| entry.progress == Progress::Frozen).count();
        (entries.chain(left).collect::<Vec<_>>(), count)
    };
    for (level, line) in lines {
        shared.daemon.log(level, format_args!("{line}"));
    }
    shared.daemon.log(LogLevel::Info, format_args!("{count} file systems frozen"));
}

/// Makes the report from what is in memory, without asking the kernel for anything but the time.
pub fn report(shared: &Shared) -> Report {
    let state = shared.state();
    Report {
        status: shared.status(),
        thawed_by_itself: state.notice.is_some(),
        freeze: state.session.as_ref().map(|session| freeze_report(session, state.phase)),
    }
}

fn freeze_report(session: &Session, phase: Phase) -> FreezeReport {
    let left = session.lease_end.map(|end| end.saturating_sub(clock::since_boot()));
    let end = left.map(|left| clock::text(std::time::SystemTime::now() + left));
    let mut mounts: Vec<MountReport> = session.entries.iter().map(entry_report).collect();
    mounts.extend(session.left.iter().map(|left| MountReport::new(&left.mount, "left-out", Some(&left.reason), None)));
    FreezeReport {
        started: clock::text(session.started),
        phase: phase_name(phase),
        lease: session.config.lease.map(|lease| lease.as_secs()),
        lease_end: end,
        lease_left_ms: left.map(clock::millis),
        thaw: session.thawing.as_ref().map(|thawing| ThawReport {
            cause: cause_name(&thawing.cause),
            began: clock::text(thawing.since),
            count: session.ended.as_ref().map(|ended| ended.count),
            error: session.ended.as_ref().and_then(|ended| Some(ended.failure.as_ref()?.text.clone())),
        }),
        mounts,
        no_mountpoints: session.unknown.clone(),
        hooks: session.hooks.iter().map(|hook| hook_report(hook, phase)).collect(),
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Thawed | Phase::Planning => "thawed",
        Phase::Hooks => "hooks",
        Phase::Freezing => "freezing",
        Phase::Frozen => "frozen",
        Phase::Thawing => "thawing",
        Phase::Stuck => "stuck",
    }
}

fn cause_name(cause: &Cause) -> &'static str {
    match cause {
        Cause::Host => "host",
        Cause::Failed => "freeze-failed",
        Cause::Deadline => "deadline",
        Cause::Lease => "lease",
        Cause::Stop => "stop",
        Cause::Crash => "crash",
    }
}

fn entry_report(entry: &Entry) -> MountReport {
    let (outcome, reason, errno) = match entry.progress {
        Progress::Planned => ("planned", None, None),
        Progress::Freezing => ("freezing", None, None),
        Progress::Frozen => ("frozen", None, None),
        Progress::FoundFrozen => ("already-frozen", Some("frozen by somebody else"), None),
        Progress::CannotFreeze => ("not-freezable", Some("its type implements no freezing"), None),
        Progress::Syncing => ("syncing", None, None),
        Progress::Synced => ("synced", None, None),
        Progress::SyncFailed(errno) => ("failed", Some("failed to write it back"), Some(errno)),
        Progress::FreezeFailed(errno) => ("failed", Some("failed to freeze"), Some(errno)),
        Progress::Thawing => ("thawing", None, None),
        Progress::Thawed => ("thawed", None, None),
        Progress::Gone => ("thawed", Some("was not frozen any more"), None),
        Progress::ThawFailed(errno) => ("failed", Some("failed to thaw"), Some(errno)),
    };
    let report = MountReport::new(&entry.mount, outcome, reason, errno);
    let millis = |took: Option<Duration>| took.map(clock::millis);
    let before_all = matches!(entry.progress, Progress::FreezeFailed(_) | Progress::SyncFailed(_));
    let remedy = before_all.then(|| remedy(&entry.mount.point));
    MountReport { remedy, freeze_ms: millis(entry.freezing_took), thaw_ms: millis(entry.thawing_took), ..report }
}

impl MountReport {
    fn new(mount: &Mount, outcome: &'static str, reason: Option<&str>, errno: Option<Errno>) -> Self {
        let with_errno = |reason: &str| match errno {
            Some(errno) => CommandError::os(reason, &errno.into()).desc().to_owned(),
            None => reason.to_owned(),
        };
        Self {
            mountpoint: mount.point.to_string_lossy().into_owned(),
            fstype: mount.fstype.clone(),
            device: mount.device.to_string(),
            outcome,
            reason: reason.map(with_errno),
            remedy: None,
            errno: errno.map(Errno::raw_os_error),
            freeze_ms: None,
            thaw_ms: None,
        }
    }
}

fn hook_report(entry: &HookEntry, phase: Phase) -> HookReport {
    let before_the_freeze = phase == Phase::Hooks;
    HookReport {
        path: entry.hook.path.to_string_lossy().into_owned(),
        freeze: half_report(&entry.freeze, before_the_freeze),
        thaw: half_report(&entry.thaw, before_the_freeze || entry.started),
    }
}

/// `may_come`: whether a half that has not run still may.
fn half_report(half: &HalfRun, may_come: bool) -> HalfReport {
    let (outcome, error, took) = match half {
        HalfRun::Waiting if may_come => ("waiting", None, None),
        HalfRun::Waiting => ("not-run", None, None),
        HalfRun::Earlier => ("run-earlier", None, None),
        HalfRun::Running => ("running", None, None),
        HalfRun::Ended(None, took) => ("done", None, Some(*took)),
        HalfRun::Ended(Some(failure), took) => ("failed", Some(failure.clone()), Some(*took)),
    };
    HalfReport { outcome, error, ms: took.map(clock::millis) }
}
