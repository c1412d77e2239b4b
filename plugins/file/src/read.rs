//! `guest-file-read`.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};

use guestd_sdk::prelude::*;
use guestd_sdk::request_flags::IN_PLACE;
use guestd_sdk::{answer, args};

use crate::deadline::Deadline;
use crate::handles::Files;
use crate::huge_pages;
use crate::in_place;
use crate::open_file::{End, OpenFile};

/// How many bytes are read if the client does not say (QEMU's manual, "QEMU Guest Agent Protocol Reference").
const DEFAULT_COUNT: i64 = 4096;
/// The most that a client may ask for, in bytes (the same).
const MAX_COUNT: i64 = 48 * 1024 * 1024;

/// How many bytes are read and encoded at a time: a multiple of 3, so that the pieces' base64 can be joined, and
/// small enough to be still in the processor's cache when it is encoded.
const CHUNK: usize = 48 * 1024;

/// The same in place, where one system call more or less counts.
const IN_PLACE_CHUNK: usize = 2 * CHUNK;

thread_local! {
    /// The bytes of a read in place, on their way. Kept, since it takes longer to make than to fill.
    static CHUNK_IN_PLACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the answer begins with. The count comes last because it is not known before.
const HEAD: &[u8] = b"{\"buf-b64\": \"";
/// Room for what follows the data.
const TAIL_LENGTH: usize = 64;

/// The arguments.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReadArgs {
    /// The handle.
    handle: i64,
    /// How many bytes to read at most, up to 48 MiB; 4096 if absent.
    count: Option<i64>,
}

/// QEMU's `GuestFileRead`.
// For the schema only: `answer_text` writes the text itself.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code)]
pub struct FileRead {
    /// The bytes, in base64.
    buf_b64: String,
    /// How many bytes they are.
    count: u64,
    /// Whether the end of the file was met, which it is not by a read that goes exactly to the end.
    eof: bool,
}

/// `guest-file-read`: reads from the position on and answers with `buf-b64`, the bytes; `count`, how many they are;
/// and `eof`, whether the end was met, which it is not by a read that goes exactly to the end.
///
/// A fifo or a device gives what is there. A read that fails gives an error and leaves the position where it was,
/// unless the file has none: then it gives what was read, and the next read the error.
pub fn read(ctx: &Ctx<Files>, request: Request) -> Result<Reply, CommandError> {
    let deadline = Deadline::of(&request);
    let ReadArgs { handle, count } = args::parse(args::text_of(&request)?)?;
    let count = count.unwrap_or(DEFAULT_COUNT);
    let text = ctx.state.with(handle, |file| match usize::try_from(count) {
        Ok(wanted) if count <= MAX_COUNT => match request.flags & IN_PLACE {
            0 => {
                let most = file.remaining().and_then(|left| usize::try_from(left).ok()).unwrap_or(wanted).min(wanted);
                let _share = ctx.take_memory(data_length(most), deadline.patience())?;
                answer_text(file, wanted, &deadline).map(Some)
            }
            _ => answer_text_in_place(file, wanted),
        },
        _ => Err(CommandError::new(format!("value '{count}' is invalid for argument count"))),
    })?;
    Ok(text.map_or_else(|| answer::hand_back(request), answer::reply_of))
}

/// The same as [`answer_text`], if the bytes can be had without waiting.
fn answer_text_in_place(file: &mut OpenFile, wanted: usize) -> Result<Option<Vec<u8>>, CommandError> {
    if wanted > in_place::MOST || !file.in_place().reads() {
        return Ok(None);
    }
    let mut text = Vec::with_capacity(HEAD.len() + data_length(wanted));
    text.extend_from_slice(HEAD);
    let (mut got, mut eof) = (0, false);
    CHUNK_IN_PLACE.with_borrow_mut(|chunk| {
        chunk.resize(IN_PLACE_CHUNK, 0);
        while got < wanted && !eof {
            let room = chunk.get_mut(..IN_PLACE_CHUNK.min(wanted - got)).unwrap_or_default();
            let Some(count) = file.read_in_place(room)? else {
                file.unread(got)?;
                return Ok(None);
            };
            eof = count < room.len();
            got += count;
            base64_simd::STANDARD.encode_append(room.get(..count).unwrap_or_default(), &mut text);
        }
        push_tail(&mut text, got, eof);
        Ok(Some(text))
    })
}

/// Reads `wanted` bytes and makes the answer's text around them, in one buffer of the right size.
fn answer_text(file: &mut OpenFile, wanted: usize, deadline: &Deadline) -> Result<Vec<u8>, CommandError> {
    let mut chunk = vec![0; wanted.min(CHUNK)];
    let mut text = Vec::new();
    text.try_reserve_exact(HEAD.len() + data_length(expected(file, wanted)))?;
    huge_pages::advise(&mut text);
    text.extend_from_slice(HEAD);
    let (mut got, mut eof) = (0, false);
    while got < wanted && !eof {
        if let Err(late) = deadline.check() {
            // Nobody will get these bytes; who asks again may have them, where the file has a position.
            let _ = file.unread(got);
            return Err(late);
        }
        chunk.truncate(wanted - got);
        let (count, end) = file.read(&mut chunk);
        got += count;
        text.try_reserve(data_length(count))?;
        base64_simd::STANDARD.encode_append(chunk.get(..count).unwrap_or_default(), &mut text);
        match end {
            End::Full => {}
            End::Eof => eof = true,
            End::Failed(error) if got != 0 && error.kind() == ErrorKind::WouldBlock => break,
            End::Failed(error) if got == 0 || file.unread(got).is_ok() => {
                return Err(CommandError::os("failed to read file", &error));
            }
            End::Failed(_) => break,
        }
    }
    push_tail(&mut text, got, eof);
    Ok(text)
}

fn push_tail(text: &mut Vec<u8>, got: usize, eof: bool) {
    // Writing to a vector does not fail.
    let _ = write!(text, "\", \"count\": {got}, \"eof\": {eof}}}");
}

/// How many bytes a read is likely to give: a client may ask for megabytes of a file that has but a few.
fn expected(file: &mut OpenFile, wanted: usize) -> usize {
    if wanted <= CHUNK {
        return wanted;
    }
    file.remaining().and_then(|count| usize::try_from(count).ok()).unwrap_or(CHUNK).min(wanted)
}

/// How much room `count` bytes and what follows them take in an answer.
fn data_length(count: usize) -> usize {
    base64_simd::STANDARD.encoded_length(count) + TAIL_LENGTH
}
