//! From a command's result to the reply on the wire.

use std::io;

use guestd_abi::{RVec, Reply, Request, reply_flags};
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::CommandError;

/// What a command may return: anything that serde can serialize, [`Silent`] or [`Delimited`]. `()` is answered
/// with `{}`, as QEMU does.
pub trait Answer {
    /// Makes the reply. Fails where the value has no JSON text, as a map with keys that are not strings.
    fn into_reply(self) -> Result<Reply, CommandError>;
}

/// The command succeeded, and that is not answered. Declare it with the flag `NO_SUCCESS_RESPONSE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent;

/// The answer is preceded by a byte 0xFF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimited<T>(pub T);

/// Hands a request back from the event loop, so that the call is made again on a thread where it may block. For commands with the
/// flag `OFTEN_INSTANT`, while the request is [`IN_PLACE`](crate::request_flags::IN_PLACE) and nothing was done yet.
pub fn hand_back(request: Request) -> Reply {
    Reply { body: request.buf, flags: reply_flags::HANDED_BACK }
}

impl<T: Serialize> Answer for T {
    fn into_reply(self) -> Result<Reply, CommandError> {
        let mut body = to_json(&self)?;
        // A unit is `null` to serde; the protocol's "nothing" is an empty object.
        if size_of::<T>() == 0 && body == b"null" {
            body = b"{}".to_vec();
        }
        Ok(reply_of(body))
    }
}

impl Answer for Silent {
    fn into_reply(self) -> Result<Reply, CommandError> {
        Ok(Reply { body: RVec::from(b"{}".to_vec()), flags: reply_flags::SILENT })
    }
}

impl<T: Serialize> Answer for Delimited<T> {
    fn into_reply(self) -> Result<Reply, CommandError> {
        let mut reply = self.0.into_reply()?;
        reply.flags |= reply_flags::DELIMITED;
        Ok(reply)
    }
}

/// The reply of a `raw` command: `body` is the JSON text of the answer, on one line. It is not copied.
pub fn reply_of(body: Vec<u8>) -> Reply {
    Reply { body: RVec::from(body), flags: 0 }
}

/// The JSON text of a value as qemu-ga writes it: on one line, ASCII only, with a blank after `:` and `,`.
pub fn to_json(value: &impl Serialize) -> Result<Vec<u8>, CommandError> {
    let mut text = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, QemuFormatter);
    match value.serialize(&mut serializer) {
        Ok(()) => Ok(text),
        Err(error) => Err(CommandError::new(format!("the answer has no JSON text: {error}"))),
    }
}

/// qemu-ga's way to write JSON.
struct QemuFormatter;

impl Formatter for QemuFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| byte.is_ascii() && byte != 0x7F) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for char in fragment.chars() {
            if char.is_ascii() && char != '\x7F' {
                writer.write_all(&[char as u8])?;
            } else {
                for unit in char.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04X}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: impl Answer) -> String {
        String::from_utf8(answer.into_reply().unwrap().body.into_vec()).unwrap()
    }

    #[test]
    fn answers_look_as_qemu_ga_writes_them() {
        assert_eq!(body(serde_json::json!({"a": [1, 2], "b": "x"})), r#"{"a": [1, 2], "b": "x"}"#);
        assert_eq!(body("aé😀\x7F/\n"), r#""a\u00E9\uD83D\uDE00\u007F/\n""#);
        assert_eq!(body(()), "{}");
        assert_eq!(body(None::<u64>), "null");
    }

    #[test]
    fn flags_travel_with_the_reply() {
        assert_eq!(Delimited(5).into_reply().unwrap().flags, reply_flags::DELIMITED);
        assert_eq!(Silent.into_reply().unwrap().flags, reply_flags::SILENT);
    }
}
