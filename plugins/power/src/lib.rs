#![cfg_attr(test, allow(clippy::unwrap_used))]
//! The command set `power`: shut the guest down, reboot it, send it to sleep.
//!
//! Each command has several means to do its work and leaves it to the first that is there, in the order of the
//! configuration:
//!
//! * `shutdown` and `suspend` are the commands and say what their means are,
//! * `attempt` finds that means, and takes its answer,
//! * `hibernation` is whether the memory's image would be found again,
//! * `syslog` has the errors of a shutdown, in the oldest protocol,
//! * `program` runs one program with the patience that its work takes,
//! * `machine` is the guest, with the one system call that ends it; `rehearsal` stands in for that call in tests.

mod attempt;
mod config;
mod hibernation;
mod machine;
mod power;
mod program;
mod rehearsal;
mod shutdown;
mod suspend;
mod syslog;

use power::Power;

// A program has 10 s, those of pm-utils have 30 s, and sync(2) has 10 s.
guestd_sdk::plugin! {
    name: "power",
    vendor: "guestd",
    summary: "Shut down, reboot and suspend the guest",
    capabilities: [CAP_SYS_BOOT],
    state: Power = Power::start,
    reload: Power::reload,
    commands: {
        "guest-shutdown" [NO_SUCCESS_RESPONSE, OWN_THREAD] within 45 => raw shutdown::shutdown as fn(shutdown::ShutdownArgs<'_>) -> (),
        "guest-suspend-disk" [NO_SUCCESS_RESPONSE, OWN_THREAD] within 45 => raw suspend::disk as fn(NoArgs) -> Silent,
        "guest-suspend-ram" [NO_SUCCESS_RESPONSE, OWN_THREAD] within 45 => raw suspend::ram as fn(NoArgs) -> Silent,
        "guest-suspend-hybrid" [NO_SUCCESS_RESPONSE, OWN_THREAD] within 45 => raw suspend::hybrid as fn(NoArgs) -> Silent,
    }
}
