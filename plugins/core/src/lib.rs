//! The command set `core`: what every client asks first.
//!
//! No command here blocks, so all run in the daemon's event loop, and all answer while file systems are frozen.

mod info;
mod sync;

use guestd_sdk::prelude::*;

use info::Info;

guestd_sdk::plugin! {
    name: "core",
    vendor: "guestd",
    summary: "Synchronization, liveness and the list of commands",
    state: Info = Info::start,
    commands: {
        "guest-sync-delimited" [INSTANT, FREEZE_SAFE, OVERTAKES] => sync::sync_delimited,
        "guest-sync" [INSTANT, FREEZE_SAFE, OVERTAKES] => sync::sync,
        "guest-ping" [INSTANT, FREEZE_SAFE] => ping,
        "guest-info" [INSTANT, FREEZE_SAFE] => raw info::info as fn(NoArgs) -> info::AgentInfo,
    }
}

/// `guest-ping`: an answer without an error says that the agent lives.
fn ping(_: &Ctx<Info>, _: NoArgs) -> Result<(), CommandError> {
    Ok(())
}
