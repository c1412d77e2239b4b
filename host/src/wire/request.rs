//! The envelope of a request: `{"execute": NAME, "arguments": {...}, "id": ANYTHING}`.

use std::borrow::Cow;
use std::ops::Range;

use guestd_sdk::{quoted, steps};

use super::framer::Message;
use super::grammar::Member;
use crate::memory::Lease;

/// The longest text of a name, in bytes with its quotes and escapes, that can be one of the protocol's; of a longer one
/// only the beginning is read.
const MAX_NAME: usize = 1 << 10;
/// The longest `id`, in bytes: it is sent back.
pub const MAX_ID: usize = 64 << 10;

/// A request whose envelope is as it should be.
#[derive(Debug)]
pub struct Envelope {
    /// The whole message.
    pub text: Vec<u8>,
    /// The command's name.
    pub command: String,
    /// Where the arguments lie in `text`; empty: there are none.
    pub arguments: Range<usize>,
    /// The JSON text of the `id`, on one line.
    pub id: Option<Vec<u8>>,
    /// The share of the memory for messages that the text takes, once its reader has one for it.
    pub lease: Lease,
}

/// What is wrong with an envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvelopeError {
    /// QEMU's words.
    pub desc: String,
    /// The `id` to send back with it.
    pub id: Option<Vec<u8>>,
}

impl Envelope {
    /// Reads the envelope of a message, with QEMU's checks.
    pub fn read(message: Message) -> Result<Self, EnvelopeError> {
        let Message { text, members } = message;
        let parts = match Parts::find(&text, &members) {
            Ok(parts) => parts,
            Err(desc) => return Err(EnvelopeError { desc, id: None }),
        };
        if parts.id.as_ref().is_some_and(|place| place.len() > MAX_ID) {
            let desc = format!("QMP input member 'id' is longer than {} KiB", MAX_ID >> 10);
            return Err(EnvelopeError { desc, id: None });
        }
        let id = parts.id.map(|place| one_line(text.get(place).unwrap_or_default()));
        if let Some(desc) = parts.problem {
            return Err(EnvelopeError { desc, id });
        }
        let Some(command) = parts.execute.and_then(|place| name(text.get(place)?).map(Cow::into_owned)) else {
            return Err(EnvelopeError { desc: "QMP input lacks member 'execute'".to_owned(), id });
        };
        Ok(Self { command, arguments: parts.arguments.unwrap_or_default(), id, text, lease: Lease::default() })
    }
}

/// The members of an envelope and the first thing that is wrong with them.
#[derive(Default)]
struct Parts {
    execute: Option<Range<usize>>,
    arguments: Option<Range<usize>>,
    id: Option<Range<usize>>,
    problem: Option<String>,
}

impl Parts {
    /// Sorts the members. Fails where one occurs twice, which QEMU's parser refuses before it looks at the `id`.
    fn find(text: &[u8], members: &[Member]) -> Result<Self, String> {
        let mut parts = Self::default();
        for member in members {
            let value = text.get(member.value.clone()).unwrap_or_default();
            let first = value.first().copied();
            let key = text.get(member.key.clone()).and_then(name).unwrap_or_default();
            let (place, problem) = match key.as_ref() {
                "execute" => (&mut parts.execute, (first != Some(b'"')).then(|| must_be("execute", "a string"))),
                "arguments" => (&mut parts.arguments, (first != Some(b'{')).then(|| must_be("arguments", "an object"))),
                "id" => (&mut parts.id, None),
                other => {
                    parts.problem.get_or_insert_with(|| format!("QMP input member '{}' is unexpected", quoted(other)));
                    continue;
                }
            };
            if place.replace(member.value.clone()).is_some() {
                return Err("JSON parse error, duplicate key".to_owned());
            }
            parts.problem = parts.problem.or(problem);
        }
        Ok(parts)
    }
}

fn must_be(member: &str, what: &str) -> String {
    format!("QMP input member '{member}' must be {what}")
}

/// The content of a string that names something: all of it, or the beginning with an ellipsis, which names nothing.
fn name(text: &[u8]) -> Option<Cow<'_, str>> {
    if text.len() <= MAX_NAME {
        return string(text);
    }
    let head = text.get(1..MAX_NAME)?;
    let head = String::from_utf8_lossy(head);
    Some(Cow::Owned(quoted(&head).into_owned()))
}

/// The content of a string that has been checked.
fn string(text: &[u8]) -> Option<Cow<'_, str>> {
    steps::count(text.len());
    let text = std::str::from_utf8(text).ok()?;
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        false => Some(Cow::Borrowed(inner)),
        true => serde_json::from_str(text).ok().map(Cow::Owned),
    }
}

/// A value's text without line breaks, which can only be white space in it: a reply is one line.
fn one_line(value: &[u8]) -> Vec<u8> {
    steps::count(value.len());
    value.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::framer::{Frame, Framer};
    use super::*;

    fn read(text: &str) -> Result<Envelope, EnvelopeError> {
        let mut framer = Framer::new();
        framer.space().extend_from_slice(text.as_bytes());
        match framer.next_frame() {
            Some(Frame::Message(message)) => Envelope::read(message),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn error(text: &str) -> (String, Option<String>) {
        let error = read(text).unwrap_err();
        (error.desc, error.id.map(|id| String::from_utf8(id).unwrap()))
    }

    #[test]
    fn an_envelope_is_read_in_any_order() {
        let envelope = read(r#"{"id":[1,"x"],"arguments":{"a":1},"\u0065xecute":"guest-\u0070ing"}"#).unwrap();
        assert_eq!(envelope.command, "guest-ping");
        assert_eq!(&envelope.text[envelope.arguments.clone()], br#"{"a":1}"#);
        assert_eq!(envelope.id.as_deref(), Some(br#"[1,"x"]"#.as_slice()));
        let bare = read(r#"{"execute":"x"}"#).unwrap();
        assert!(bare.arguments.is_empty() && bare.id.is_none());
    }

    #[test]
    fn an_id_comes_back_on_one_line() {
        let envelope = read("{\"execute\":\"x\",\"id\":[1,\r\n \"a\\nb\"]}").unwrap();
        assert_eq!(envelope.id.as_deref(), Some(b"[1,   \"a\\nb\"]".as_slice()));
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_repeated() {
        let long = "x".repeat(1 << 20);
        let head = format!("{}...", "x".repeat(128));
        steps::reset();
        assert_eq!(read(&format!(r#"{{"execute":"{long}","id":1}}"#)).unwrap().command, head);
        let unexpected = format!("QMP input member '{head}' is unexpected");
        assert_eq!(error(&format!(r#"{{"{long}":1,"id":1}}"#)), (unexpected, Some("1".to_owned())));
        let too_long = ("QMP input member 'id' is longer than 64 KiB".to_owned(), None);
        assert_eq!(error(&format!(r#"{{"execute":"x","id":"{long}"}}"#)), too_long);
        assert!(steps::taken() < 4 << 20, "{}", steps::taken());
        let longest = format!("\"{}\"", "i".repeat(MAX_ID - 2));
        let text = format!(r#"{{"execute":"x","id":{longest}}}"#);
        assert_eq!(read(&text).unwrap().id.unwrap(), longest.as_bytes());
    }

    #[test]
    fn errors_have_qemus_words_and_the_id() {
        for (text, desc, id) in [
            ("{}", "QMP input lacks member 'execute'", None),
            (r#"{"id":3}"#, "QMP input lacks member 'execute'", Some("3")),
            (r#"{"execute":1.5,"id":"i"}"#, "QMP input member 'execute' must be a string", Some("\"i\"")),
            (
                r#"{"execute":"x","arguments":[],"id":null}"#,
                "QMP input member 'arguments' must be an object",
                Some("null"),
            ),
            (r#"{"execute":"x","foo":1,"id":2}"#, "QMP input member 'foo' is unexpected", Some("2")),
            (r#"{"exec-oob":"x"}"#, "QMP input member 'exec-oob' is unexpected", None),
            (r#"{"id":1,"\u0069d":2,"execute":"x"}"#, "JSON parse error, duplicate key", None),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}"#, "QMP input member 'a' is unexpected", None),
        ] {
            assert_eq!(error(text), (desc.to_owned(), id.map(str::to_owned)), "{text}");
        }
    }
}
