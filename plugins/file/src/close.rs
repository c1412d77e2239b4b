//! `guest-file-close` and `guest-file-flush`.

use guestd_sdk::prelude::*;

use crate::handles::Files;

/// The arguments of both.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HandleArgs {
    /// The handle.
    handle: i64,
}

/// `guest-file-close`: closes the file. The handle is gone even if the file system reports an error, as NFS does when
/// it could not write what it had accepted.
pub fn close(ctx: &Ctx<Files>, args: HandleArgs) -> Result<(), CommandError> {
    let file = ctx.state.take(args.handle)?;
    file.close().map_err(|error| CommandError::os("failed to close handle", &error))
}

/// `guest-file-flush`: hands what was written to the kernel. It is there already, see
/// [`guest-file-write`](crate::write::write), so this only says whether the handle is good.
pub fn flush(ctx: &Ctx<Files>, args: HandleArgs) -> Result<(), CommandError> {
    ctx.state.check(args.handle)
}
