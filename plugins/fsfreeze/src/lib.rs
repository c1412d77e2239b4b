//! The command set `fsfreeze`: file systems stand still while their disks are copied, and never longer than agreed.
//!
//! A freeze is a lease: a thread of its own ends it in time, whatever the client, a hook or a dead disk does. The
//! way of one freeze, and where to read about it:
//!
//! * `commands`: the commands on the wire.
//! * `plan`: which file systems, and in which order: from mountinfo and sysfs.
//! * `write_back`: what is done before anybody is halted.
//! * `hooks`: the programs that make databases hold still, before and after.
//! * `freeze`, `steps`, `thaw`: carrying it out, and undoing it on every way out; `thaw_request`: when the host asks.
//! * `limits`: how long that may take at most.
//! * `lease`: the thread that thaws when the time is over.
//! * `journal`, `recover`: what outlives a crash of the agent, and what is made of it.
//! * `state`, `session`: what all of these share. Its lock is never held over anything that can block.
//! * `kernel`: the calls that freeze and thaw, with a double for tests.
//! * `report`: what happened to each mount.
//!
//! Not here: what is refused while frozen, and where log lines wait; that is the daemon's gate.

mod clock;
mod commands;
mod config;
mod freeze;
mod hooks;
mod journal;
mod kernel;
mod lease;
mod limits;
mod plan;
mod recover;
mod report;
mod session;
mod state;
mod steps;
mod stop_points;
mod thaw;
mod thaw_request;
mod write_back;

#[cfg(test)]
#[path = "../tests/in_process/mod.rs"]
mod tests;

/// The mount table; public for the tests of what reads bytes from outside.
#[doc(hidden)]
pub use plan::mountinfo;
use state::Freezer;

guestd_sdk::plugin! {
    name: "fsfreeze",
    vendor: "guestd",
    summary: "Freezes file systems for a snapshot, for a limited time",
    capabilities: [
        CAP_SYS_ADMIN,
        CAP_DAC_READ_SEARCH,
        CAP_IPC_LOCK,
        CAP_SYS_RESOURCE,
        CAP_KILL,
        CAP_DAC_OVERRIDE,
        CAP_SETUID,
        CAP_SETGID,
    ],
    state: Freezer = Freezer::start,
    reload: Freezer::reload,
    stop: Freezer::stop,
    commands: {
        "guest-fsfreeze-status" [INSTANT, FREEZE_SAFE] => commands::status,
        "guest-fsfreeze-freeze" [OWN_THREAD] within 3600 => raw commands::freeze as fn(NoArgs) -> usize,
        "guest-fsfreeze-freeze-list" [OWN_THREAD] within 3600
            => raw commands::freeze_list as fn(commands::FreezeListArgs) -> usize,
        "guest-fsfreeze-thaw" [FREEZE_SAFE, OWN_THREAD] within 3600 => raw commands::thaw as fn(NoArgs) -> i64,
        "__org.guestd_fsfreeze-report" [INSTANT, FREEZE_SAFE] => commands::report,
    }
}
