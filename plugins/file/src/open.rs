//! `guest-file-open`.

use std::io;

use guestd_sdk::answer::Answer;
use guestd_sdk::args;
use guestd_sdk::locks::{Held, Lock, Locks};
use guestd_sdk::prelude::*;
use nix::errno::Errno;

use crate::deadline::Deadline;
use crate::handles::Files;
use crate::mode::Mode;
use crate::open_file::OpenFile;
use crate::place::Place;

/// The first handle ever, and the name under which the daemon counts them; both are qemu-ga's.
const FIRST_HANDLE: u64 = 1000;
const COUNTER: &str = "fd_counter";

/// The arguments.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenArgs {
    /// The file, absolute or relative to the daemon's working directory.
    path: String,
    /// A mode of fopen(3); `r` if absent.
    mode: Option<String>,
}

/// `guest-file-open`: opens a file and answers with its handle, which no file before it had, also not before a
/// restart.
///
/// The words of the errors are those that qemu-ga was recorded with. A call whose deadline has passed, or that gets no
/// handle, leaves the content of a file that existed as it was.
pub fn open(ctx: &Ctx<Files>, request: Request) -> Result<Reply, CommandError> {
    let deadline = Deadline::of(&request);
    let OpenArgs { path, mode } = args::parse(args::text_of(&request)?)?;
    let mode_text = mode.as_deref().unwrap_or("r");
    let Some(mode) = Mode::parse(mode_text) else {
        return Err(CommandError::new(format!("invalid file open mode '{mode_text}'")));
    };
    let failed =
        |error: io::Error| CommandError::os(format_args!("failed to open file '{path}' (mode: '{mode_text}')"), &error);

    let slot = ctx.state.reserve().map_err(|limit| {
        ctx.warn(format_args!("{limit} files are open, more are refused (max-open in [plugins.file])"));
        failed(Errno::EMFILE.into())
    })?;
    let lock = lock_mount(&ctx.state.opening, &path);
    let lock = lock.map_err(|held| failed(io::Error::other(format!("an open on its file system {held}"))))?;
    let opened = mode.open(&path, ctx.state.umask).map_err(failed)?;
    let handle = i64::try_from(ctx.take_numbers(COUNTER, FIRST_HANDLE, 1)?)?;
    deadline.check()?;
    let file = opened.emptied().and_then(OpenFile::new).map_err(failed)?;
    drop(lock);
    slot.insert(handle, file);
    ctx.debug(format_args!("{handle} is {path:?} (mode {mode_text})"));
    handle.into_reply()
}

/// The lock of the mount that a path leads to, if the kernel tells which that is.
fn lock_mount<'l>(opening: &'l Locks<u64>, path: &str) -> Result<Option<Lock<'l, u64>>, Held> {
    let mut place = Place::of(path);
    let mut lock = None;
    while let Some(here) = place {
        drop(lock.take());
        lock = Some(opening.take(here.mount)?);
        place = here.next();
    }
    Ok(lock)
}
