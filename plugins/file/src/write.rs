//! `guest-file-write`.

use std::ops::Range;

use guestd_sdk::answer::{self, Answer};
use guestd_sdk::args;
use guestd_sdk::prelude::*;
use guestd_sdk::request_flags::IN_PLACE;

use crate::base64;
use crate::deadline::Deadline;
use crate::handles::Files;
use crate::in_place;

/// The arguments, without the data.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WriteArgs<'a> {
    /// The handle.
    handle: i64,
    /// The bytes to write, in base64 (RFC 4648, section 4).
    // Checked for its presence and its type; what is in it stays where it is.
    #[serde(rename = "buf-b64")]
    _buf: &'a str,
    /// How many of the bytes to write, from the first on; all if absent.
    count: Option<i64>,
}

/// QEMU's `GuestFileWrite`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Written {
    /// How many bytes were written.
    count: usize,
    /// Always false.
    eof: bool,
}

/// `guest-file-write`: writes at the position and answers with `count`, how many bytes were written, and `eof`, which
/// is false.
///
/// The bytes go to the kernel at once, so that an error is the error of this call. The data is decoded in the
/// request's own buffer and written from there. It is checked whole before anything is written.
pub fn write(ctx: &Ctx<Files>, mut request: Request) -> Result<Reply, CommandError> {
    let deadline = Deadline::of(&request);
    let (handle, count, data) = arguments(&request)?;
    if request.flags & IN_PLACE != 0 {
        let data = request.buf.get(data).unwrap_or_default();
        return match write_in_place(ctx, handle, count, data)? {
            Some(written) => reply(written),
            None => Ok(answer::hand_back(request)),
        };
    }
    let data = request.buf.get_mut(data).unwrap_or_default();
    let written = ctx.state.with(handle, |file| {
        let bytes = cut(base64::decode_in_place(data)?, count)?;
        file.write(bytes, &deadline).map_err(|error| CommandError::os("failed to write to file", &error))
    })?;
    reply(written)
}

/// Writes the data if that can be done without waiting. The request's own buffer stays as it is, since it is handed back if not.
fn write_in_place(
    ctx: &Ctx<Files>,
    handle: i64,
    count: Option<i64>,
    data: &[u8],
) -> Result<Option<usize>, CommandError> {
    ctx.state.with(handle, |file| {
        if data.len() > in_place::MOST || !file.in_place().writes() {
            return Ok(None);
        }
        let mut data = data.to_vec();
        let bytes = cut(base64::decode_in_place(&mut data)?, count)?;
        Ok(file.write_in_place(bytes)?.then_some(bytes.len()))
    })
}

/// The bytes that the client wants written.
fn cut(bytes: &[u8], count: Option<i64>) -> Result<&[u8], CommandError> {
    let Some(count) = count else { return Ok(bytes) };
    usize::try_from(count)
        .ok()
        .and_then(|count| bytes.get(..count))
        .ok_or_else(|| CommandError::new(format!("value '{count}' is invalid for argument count")))
}

fn reply(written: usize) -> Result<Reply, CommandError> {
    Written { count: written, eof: false }.into_reply()
}

/// The handle, the count, and where the data's text lies in the request's buffer.
///
/// The data is cut out of the text before it is read, so that megabytes are neither copied nor looked at.
fn arguments(request: &Request) -> Result<(i64, Option<i64>, Range<usize>), CommandError> {
    let end = request.args_at.saturating_add(request.args_len);
    let object = request.buf.get(request.args_at..end).unwrap_or_default();
    let Some(inner) = string_content(object, "buf-b64") else {
        // There is no such string, which this says in QEMU's words.
        let error = args::parse::<WriteArgs<'_>>(args::text_of(request)?).err();
        return Err(error.unwrap_or_else(|| CommandError::new("the data has not been found")));
    };
    let (before, after) = (object.get(..inner.start), object.get(inner.end..));
    let text = [before.unwrap_or_default(), after.unwrap_or_default()].concat();
    let WriteArgs { handle, count, .. } = args::parse(str::from_utf8(&text)?)?;
    Ok((handle, count, request.args_at + inner.start..request.args_at + inner.end))
}

/// Where in an object's text the content of the string lies that is the member `key`; `None`: there is none.
fn string_content(object: &[u8], key: &str) -> Option<Range<usize>> {
    let members = args::members(object)?;
    let value = members.iter().find(|member| member.key == key)?.value;
    let inner = args::string_bounds(value)?;
    let at = value.as_ptr().addr().checked_sub(object.as_ptr().addr())?;
    Some(at + inner.start..at + inner.end)
}
