//! A client's bytes: the framer, the envelope, and the arguments behind it.

use guestd::wire::{Envelope, Frame, Framer, Message};
use serde_json::Value;

use crate::{Rng, Target, arguments, json};

/// The reader of a channel's bytes.
pub const TARGET: Target = Target { name: "stream", check, make };

/// A request that is always understood.
const PING: &[u8] = br#"{"execute":"guest-ping"}"#;

/// The longest text of an error.
const MAX_ERROR: usize = 300;

/// Requests, one after the other, with noise between them at times.
fn make(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..4) {
        bytes.extend(json::request(rng).into_bytes());
        if rng.u8(0..4) == 0 {
            let noise: [&[u8]; 12] =
                [b"}", b"]", b",", b"\xFF", b"\"", b"nul", b"@", b"\0", b"\n", b"00", b"{", b"\xC3"];
            let times = if rng.u8(0..8) == 0 { rng.usize(1..3000) } else { rng.usize(1..4) };
            bytes.extend(rng.choice(noise).unwrap().repeat(times));
        }
    }
    bytes
}

/// What a stream amounts to: messages, or the texts of errors.
#[must_use]
pub fn frames<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Result<Message, String>> {
    let mut framer = Framer::new();
    let mut found = Vec::new();
    for piece in pieces {
        framer.space().extend_from_slice(piece);
        while let Some(frame) = framer.next_frame() {
            found.push(match frame {
                Frame::Message(message) => Ok(message),
                Frame::Broken(text) => Err(text),
            });
        }
    }
    found
}

fn check(bytes: &[u8]) {
    let whole = frames([bytes]);
    check_errors(&whole);
    check_cuts(bytes, &whole);
    check_recovery(bytes);
    for message in whole.iter().flatten() {
        check_message(message);
    }
    check_lone_object(bytes, &whole);
    for message in whole.into_iter().flatten() {
        check_envelope(message);
    }
}

/// An error is short: what it quotes is cut.
fn check_errors(whole: &[Result<Message, String>]) {
    for text in whole.iter().filter_map(|frame| frame.as_ref().err()) {
        assert!(text.len() <= MAX_ERROR, "{text}");
    }
}

/// However the bytes are cut, they mean the same.
fn check_cuts(bytes: &[u8], whole: &[Result<Message, String>]) {
    assert!(frames(bytes.chunks(1)) == whole, "byte by byte the stream means something else");
    // Seeded by the input itself, so that a finding can be seen again.
    let mut rng =
        Rng::with_seed(bytes.iter().fold(bytes.len() as u64, |sum, byte| sum.rotate_left(9) ^ u64::from(*byte)));
    for most in [3, 100, 5000] {
        let (mut rest, mut pieces) = (bytes, Vec::new());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rng.usize(1..=most).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        assert!(frames(pieces) == whole, "in pieces of up to {most} bytes the stream means something else");
    }
}

/// Behind 0xFF a request is understood, whatever came before.
fn check_recovery(bytes: &[u8]) {
    let last = frames([bytes, b"\xFF", PING]).pop();
    assert!(matches!(last, Some(Ok(message)) if message.text == PING), "the stream does not recover");
}

/// Whether another parser can look at a text: serde_json's has a limit of 128 containers in each other.
pub(crate) fn is_shallow(text: &[u8]) -> bool {
    text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() < 120
}

/// Another parser's view of a text. A number that is too large for it tells nothing.
pub(crate) fn parsed(text: &[u8]) -> Option<Result<Value, String>> {
    match serde_json::from_slice(text) {
        Ok(value) => Some(Ok(value)),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

/// A message is a JSON object, and its members lie where they are said to.
fn check_message(message: &Message) {
    let text = &message.text;
    assert!(text.starts_with(b"{") && text.ends_with(b"}"));
    if !is_shallow(text) {
        return;
    }
    let shown = String::from_utf8_lossy(text);
    let value = match parsed(text) {
        Some(Ok(value)) => value,
        Some(Err(error)) => panic!("a message that is not JSON: {error}: {shown}"),
        None => return,
    };
    let object = value.as_object().expect("a message that is no object");
    for member in &message.members {
        let key = parsed(&text[member.key.clone()]).unwrap().expect("a key that is not JSON");
        let value = parsed(&text[member.value.clone()]).unwrap().expect("a value that is not JSON");
        let key = key.as_str().expect("a key that is no string");
        assert!(object.contains_key(key), "there is no member {key:?}: {shown}");
        let times =
            message.members.iter().filter(|other| parsed(&text[other.key.clone()]) == Some(Ok(key.into()))).count();
        // Of several with one key serde_json has the last.
        assert!(
            times > 1 || object.len() > message.members.len() || object[key] == value,
            "{key:?} has another value: {shown}"
        );
    }
    assert!(!object.is_empty() || message.members.is_empty());
}

/// What another parser takes for an object is a message, and all of it.
fn check_lone_object(bytes: &[u8], whole: &[Result<Message, String>]) {
    if !is_shallow(bytes) || !matches!(parsed(bytes), Some(Ok(Value::Object(_)))) {
        return;
    }
    let [Ok(message)] = whole else { panic!("an object is not one message: {whole:?}") };
    assert_eq!(message.text, bytes.trim_ascii());
}

fn check_envelope(message: Message) {
    let value = if is_shallow(&message.text) { parsed(&message.text).and_then(Result::ok) } else { None };
    match Envelope::read(message) {
        Ok(envelope) => {
            check_id(envelope.id.as_deref(), value.as_ref());
            let arguments = &envelope.text[envelope.arguments.clone()];
            if let Some(value) = &value {
                let name = value["execute"].as_str().expect("a command without a name");
                let cut = envelope.command.strip_suffix("...").filter(|_| name.len() > MAX_ERROR);
                assert!(
                    name == envelope.command || cut.is_some_and(|head| name.starts_with(head)),
                    "{}",
                    envelope.command
                );
                if !arguments.is_empty() {
                    assert_eq!(parsed(arguments), Some(Ok(value["arguments"].clone())));
                }
            }
            if !arguments.is_empty() {
                arguments::check(arguments);
            }
        }
        Err(error) => {
            assert!(error.desc.len() <= MAX_ERROR, "{}", error.desc);
            // Of several the first, where a message has more members than are looked at.
            check_id(error.id.as_deref(), None);
        }
    }
}

/// An `id` goes back as it came, on one line.
fn check_id(id: Option<&[u8]>, message: Option<&Value>) {
    let Some(id) = id else { return };
    assert!(!id.contains(&b'\n') && !id.contains(&b'\r'));
    if let Some(message) = message {
        assert_eq!(parsed(id), Some(Ok(message["id"].clone())));
    }
}
