//! `guest-sync` and `guest-sync-delimited`: a client finds its place in the stream.

use guestd_sdk::prelude::*;

use crate::info::Info;

/// The arguments of both.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SyncArgs {
    /// A number that the client has drawn; it comes back as the answer.
    id: i64,
}

/// `guest-sync`: answers with the number given. The client ignores everything before that answer.
pub fn sync(_: &Ctx<Info>, args: SyncArgs) -> Result<i64, CommandError> {
    Ok(args.id)
}

/// `guest-sync-delimited`: the same, and a byte 0xFF before the answer, so that a client can skip a half-sent one.
pub fn sync_delimited(_: &Ctx<Info>, args: SyncArgs) -> Result<Delimited<i64>, CommandError> {
    Ok(Delimited(args.id))
}
