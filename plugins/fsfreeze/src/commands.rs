//! The commands on the wire.

use guestd_sdk::answer::{reply_of, to_json};
use guestd_sdk::args;
use guestd_sdk::prelude::*;

use crate::freeze;
use crate::report::{self, Report};
use crate::state::{Freezer, Status};
use crate::thaw_request;

/// The arguments of `guest-fsfreeze-freeze-list`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FreezeListArgs {
    /// Mount points of the file systems to freeze, of each any that it has; all if absent.
    #[serde(default)]
    mountpoints: Option<Vec<String>>,
}

/// `guest-fsfreeze-status`: whether anything is frozen.
pub fn status(ctx: &Ctx<Freezer>, _: NoArgs) -> Result<Status, CommandError> {
    Ok(ctx.state.shared.status())
}

/// `guest-fsfreeze-freeze`: freezes all local file systems and answers how many.
pub fn freeze(ctx: &Ctx<Freezer>, request: Request) -> Result<Reply, CommandError> {
    args::parse::<NoArgs>(args::text_of(&request)?)?;
    number(freeze::freeze(&ctx.state.shared, None, request.deadline_ms)?)
}

/// `guest-fsfreeze-freeze-list`: the same for those that are mounted at the mount points given.
pub fn freeze_list(ctx: &Ctx<Freezer>, request: Request) -> Result<Reply, CommandError> {
    let args: FreezeListArgs = args::parse(args::text_of(&request)?)?;
    number(freeze::freeze(&ctx.state.shared, args.mountpoints, request.deadline_ms)?)
}

/// `guest-fsfreeze-thaw`: thaws and answers how many file systems were frozen.
pub fn thaw(ctx: &Ctx<Freezer>, request: Request) -> Result<Reply, CommandError> {
    args::parse::<NoArgs>(args::text_of(&request)?)?;
    match thaw_request::thaw(&ctx.state.shared, request.deadline_ms) {
        Ok(count) => number(count),
        // Version 0.15: "If error, -1 (unknown error) or -errno".
        Err(failure) if ctx.state.numbers_for_errors => {
            ctx.warn(format_args!("{}", failure.text));
            number(failure.errno.map_or(-1, |errno| -errno.raw_os_error()))
        }
        Err(failure) => Err(CommandError::new(failure.text)),
    }
}

/// `__org.guestd_fsfreeze-report`: what the last freeze did, mount by mount.
pub fn report(ctx: &Ctx<Freezer>, _: NoArgs) -> Result<Report, CommandError> {
    Ok(report::report(&ctx.state.shared))
}

fn number(number: impl Serialize) -> Result<Reply, CommandError> {
    Ok(reply_of(to_json(&number)?))
}
