//! From the bytes of a channel to messages.
//!
//! Messages are told apart by the balance of their brackets, as QEMU's parser does it: no line break is needed, and
//! several may follow each other. Everything is done in one pass over the bytes as they come: the lexer's state and
//! the grammar's survive between reads, so that a message of megabytes is looked at once. What each byte costs does not depend
//! on what came before it; `guestd_sdk::steps` counts it for tests and fuzz targets.

use std::ops::Range;

use guestd_sdk::steps;

use super::grammar::{Grammar, Member, Token};
use super::number::{Number, Step};
use super::scan::plain_content;
use super::strings;

/// The most brackets and braces that may be open together.
const MAX_NESTING: i32 = 1024;
/// The most tokens in a message.
const MAX_TOKENS: usize = 2 << 20;
/// The most bytes in a message.
const MAX_BYTES: usize = 64 << 20;
/// A message of at least this size takes the read buffer with it; a smaller one is copied out of it.
const BIG: usize = 32 << 10;
/// The least room that the buffer has, which is doubled whenever half of this is not left.
const MIN_ROOM: usize = 8 << 10;
/// The largest buffer that is still doubled.
const LARGE: usize = 4 << 20;
/// The most room that the buffer has: a message, and what a read brought of the next.
pub const MAX_ROOM: usize = MAX_BYTES + (64 << 10);

/// What the bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// An object in good grammar.
    Message(Message),
    /// Something that is answered with an error: the text behind it.
    Broken(String),
}

/// A message: one JSON object in UTF-8, without QEMU's additions to JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The bytes.
    pub text: Vec<u8>,
    /// Where its first members lie in `text`: enough of them to judge a request.
    pub members: Vec<Member>,
}

/// The state of a channel's stream.
#[derive(Debug)]
pub struct Framer {
    /// What was read and not yet handed on; the message under way begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// The next byte to look at.
    at: usize,
    lexer: Lexer,
    braces: i32,
    brackets: i32,
    tokens: usize,
    /// What the message has that needs a closer look.
    non_ascii: bool,
    escapes: bool,
    not_json: bool,
    /// How many bytes of the message have had that look, which they get as they come.
    utf8: Checked,
    escaped: Checked,
    /// There was no room for the message: how many bytes of it are gone.
    dropped: Option<usize>,
    /// An error has been answered, and nothing has come since with which a client may begin afresh.
    in_run: bool,
    grammar: Grammar,
}

/// How far a look at the message has come, and what was wrong.
#[derive(Debug, Default)]
struct Checked {
    bytes: usize,
    problem: Option<String>,
}

/// There is no more room for the message under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Where the lexer is, between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lexer {
    Between,
    /// In a string that begins at `from` and ends with `quote`.
    String {
        from: usize,
        quote: u8,
    },
    /// Behind a backslash in a string.
    Escape {
        from: usize,
        quote: u8,
    },
    Number {
        from: usize,
        number: Number,
    },
    Keyword {
        from: usize,
    },
    /// Behind an error, where everything is skipped up to a bracket, separator or control character.
    Skip,
}

impl Framer {
    /// The framer of a stream that has not begun.
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            at: 0,
            lexer: Lexer::Between,
            braces: 0,
            brackets: 0,
            tokens: 0,
            non_ascii: false,
            escapes: false,
            not_json: false,
            utf8: Checked::default(),
            escaped: Checked::default(),
            dropped: None,
            in_run: false,
            grammar: Grammar::new(),
        }
    }

    /// Forgets everything: the stream has a new writer.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// The buffer to append what is read to, with room for more. It doubles as the message under way grows, so that few reads
    /// are needed for a large one and small ones cost nothing each, up to `most` bytes. Fails where that is not enough, or
    /// where there is no memory.
    pub fn room(&mut self, most: usize) -> Result<&mut Vec<u8>, NoRoom> {
        let free = |buffer: &Vec<u8>| buffer.capacity() - buffer.len();
        if free(&self.buffer) < MIN_ROOM / 2 {
            let (full, gone) = (self.buffer.len(), self.start);
            self.drop_consumed();
            // Otherwise the same bytes would be moved again soon.
            if gone < full / 2 || free(&self.buffer) < MIN_ROOM / 2 {
                self.grow(most.max(MIN_ROOM))?;
            }
        }
        if free(&self.buffer) == 0 { Err(NoRoom) } else { Ok(&mut self.buffer) }
    }

    /// Makes the buffer larger, up to `most` bytes. Doubling what is large would hold up the event loop by the copy, while room that
    /// nothing was written to costs nothing yet: from [`LARGE`] on the rest is taken at once, if it can be had.
    fn grow(&mut self, most: usize) -> Result<(), NoRoom> {
        let (length, doubled) = (self.buffer.len(), self.buffer.capacity().saturating_mul(2).clamp(MIN_ROOM, most));
        let at_once =
            doubled > LARGE && self.buffer.try_reserve_exact(most.min(MAX_ROOM).saturating_sub(length)).is_ok();
        if at_once && self.buffer.capacity() > length {
            return Ok(());
        }
        self.buffer.try_reserve_exact(doubled.saturating_sub(length)).map_err(|_| NoRoom)
    }

    /// The buffer with as much room as any message needs: for those who have the bytes already.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.room(usize::MAX).is_err() {
            self.discard();
        }
        &mut self.buffer
    }

    /// Whether the room for more has grown to `most`, so that [`Self::room`] would need more than that.
    pub fn is_full(&self, most: usize) -> bool {
        let free = self.buffer.capacity() - self.buffer.len();
        free < MIN_ROOM / 2 && self.buffer.capacity() >= most && self.start < self.buffer.len() / 2
    }

    /// The bytes that the buffer takes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives back room that is not needed, at the end of a turn.
    pub fn tidy(&mut self) {
        if self.start == self.buffer.len() {
            self.drop_consumed();
        }
        if self.buffer.capacity() > 2 * BIG && self.pending() < BIG {
            self.drop_consumed();
            self.buffer.shrink_to(BIG);
        }
    }

    /// Goes on with the message under way without keeping it, since there is no room: an error comes in its place, and
    /// what follows is understood.
    pub fn discard(&mut self) {
        self.dropped.get_or_insert(0);
        self.drop_seen();
        self.tidy();
    }

    /// How many bytes of unfinished messages wait here.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether a message has begun and not ended.
    pub fn has_half(&self) -> bool {
        self.pending() > 0 || self.dropped.is_some()
    }

    /// The next message or error in what was read so far.
    pub fn next_frame(&mut self) -> Option<Frame> {
        while let Some(&byte) = self.buffer.get(self.at) {
            let before = self.at;
            let frame = self.step(byte);
            steps::count(1 + self.at.saturating_sub(before));
            if frame.is_some() {
                return frame;
            }
        }
        let size = self.buffer.len() - self.start + self.dropped.unwrap_or(0);
        if size > MAX_BYTES {
            return self.fail("JSON token size limit exceeded", Lexer::Skip);
        }
        if self.dropped.is_some() {
            self.drop_seen();
        } else {
            self.check_text(false);
        }
        None
    }

    /// Drops what was looked at of a message that is not kept.
    fn drop_seen(&mut self) {
        if let Some(dropped) = &mut self.dropped {
            *dropped += self.at - self.start;
            self.start = self.at;
        }
    }

    /// Has a closer look at the text that has come since the last one; with `whole` the message is complete.
    fn check_text(&mut self, whole: bool) {
        let text = self.buffer.get(self.start..self.at).unwrap_or_default();
        if self.non_ascii && self.utf8.problem.is_none() {
            let rest = text.get(self.utf8.bytes..).unwrap_or_default();
            steps::count(rest.len());
            self.utf8.bytes += match std::str::from_utf8(rest) {
                Ok(_) => rest.len(),
                Err(error) => {
                    if whole || error.error_len().is_some() {
                        self.utf8.problem = Some("invalid UTF-8 sequence in string".to_owned());
                    }
                    error.valid_up_to()
                }
            };
        }
        if self.escapes && self.escaped.problem.is_none() {
            let rest = text.get(self.escaped.bytes..).unwrap_or_default();
            steps::count(rest.len());
            match strings::check_escapes(rest, whole) {
                Ok(seen) => self.escaped.bytes += seen,
                Err(problem) => self.escaped.problem = Some(problem),
            }
        }
    }

    /// Looks at the byte at `self.at`, and moves on behind what it understood.
    fn step(&mut self, byte: u8) -> Option<Frame> {
        match self.lexer {
            Lexer::Between => self.between(byte),
            Lexer::String { from, quote } => self.in_string(from, quote),
            Lexer::Escape { from, quote } => {
                if !(0x20..0xFE).contains(&byte) {
                    return self.stray(from, byte);
                }
                self.not_json |= byte == b'\'';
                self.non_ascii |= byte >= 0x80;
                self.at += 1;
                self.lexer = Lexer::String { from, quote };
                None
            }
            Lexer::Number { from, number } => self.in_number(from, number, byte),
            Lexer::Keyword { from } => {
                if byte.is_ascii_lowercase() {
                    self.at += 1;
                    return None;
                }
                self.end_keyword(from)
            }
            Lexer::Skip => {
                let ends = ends_skipping(byte);
                if ends {
                    self.lexer = Lexer::Between;
                } else {
                    self.at += 1;
                    self.start = self.at;
                }
                None
            }
        }
    }

    fn between(&mut self, byte: u8) -> Option<Frame> {
        let from = self.at;
        match byte {
            // Each would be an error of its own.
            b'}' | b']' | b':' | b',' if self.in_run && self.tokens == 0 => {
                self.at += 1;
                self.start = self.at;
                None
            }
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.at += 1;
                if self.tokens == 0 {
                    self.start = self.at;
                    self.in_run &= byte != b'\n';
                }
                None
            }
            b'{' => {
                self.in_run &= self.tokens != 0;
                self.open(Token::OpenObject)
            }
            b'[' => self.open(Token::OpenArray),
            b'}' => {
                self.braces -= 1;
                self.punctuation(Token::CloseObject)
            }
            b']' => {
                self.brackets -= 1;
                self.punctuation(Token::CloseArray)
            }
            b':' => self.punctuation(Token::Colon),
            b',' => self.punctuation(Token::Comma),
            b'"' | b'\'' => {
                self.not_json |= byte == b'\'';
                self.at += 1;
                self.lexer = Lexer::String { from, quote: byte };
                None
            }
            b'a'..=b'z' => {
                self.at += 1;
                self.lexer = Lexer::Keyword { from };
                None
            }
            _ => match Number::begin(byte) {
                Some(number) => {
                    self.at += 1;
                    self.lexer = Lexer::Number { from, number };
                    None
                }
                None => self.stray(from, byte),
            },
        }
    }

    fn in_string(&mut self, from: usize, quote: u8) -> Option<Frame> {
        let plain = plain_content(self.buffer.get(self.at..).unwrap_or_default(), quote);
        self.at += plain.length;
        self.non_ascii |= plain.non_ascii;
        let &byte = self.buffer.get(self.at)?;
        if byte == quote {
            self.at += 1;
            return self.end_token(Token::String, from..self.at);
        }
        if byte == b'\\' {
            self.escapes = true;
            self.at += 1;
            self.lexer = Lexer::Escape { from, quote };
            return None;
        }
        self.stray(from, byte)
    }

    fn in_number(&mut self, from: usize, number: Number, byte: u8) -> Option<Frame> {
        match number.step(byte) {
            Step::Goes(number) => {
                self.at += 1;
                self.lexer = Lexer::Number { from, number };
                None
            }
            Step::Ends => self.end_token(Token::Scalar, from..self.at),
            Step::Fails => self.stray(from, byte),
        }
    }

    fn end_keyword(&mut self, from: usize) -> Option<Frame> {
        let word = self.buffer.get(from..self.at).unwrap_or_default();
        let known = matches!(word, b"true" | b"false" | b"null");
        self.end_token(if known { Token::Scalar } else { Token::Unknown }, from..self.at)
    }

    fn open(&mut self, token: Token) -> Option<Frame> {
        if self.braces + self.brackets >= MAX_NESTING {
            self.at += 1;
            return self.fail("JSON nesting depth limit exceeded", Lexer::Between);
        }
        match token {
            Token::OpenObject => self.braces += 1,
            _ => self.brackets += 1,
        }
        self.punctuation(token)
    }

    fn punctuation(&mut self, token: Token) -> Option<Frame> {
        self.at += 1;
        self.end_token(token, self.at - 1..self.at)
    }

    /// A token is complete; with it the message may be.
    fn end_token(&mut self, token: Token, place: Range<usize>) -> Option<Frame> {
        self.lexer = Lexer::Between;
        self.tokens += 1;
        if self.tokens > MAX_TOKENS {
            return self.fail("JSON token count limit exceeded", Lexer::Between);
        }
        let offset = |at: usize| at.saturating_sub(self.start);
        self.grammar.token(token, offset(place.start)..offset(place.end));
        // One of them below zero ends the message at once, as QEMU's parser has it.
        let unfinished = self.braces >= 0 && self.brackets >= 0 && self.braces + self.brackets > 0;
        if unfinished {
            return None;
        }
        self.end_message()
    }

    fn end_message(&mut self) -> Option<Frame> {
        if self.dropped.is_some() {
            return self.fail("JSON message too large for the memory that is left", Lexer::Between);
        }
        self.check_text(true);
        let text = self.buffer.get(self.start..self.at).unwrap_or_default();
        if text.len() > MAX_BYTES {
            return self.fail("JSON token size limit exceeded", Lexer::Between);
        }
        if let Some(error) = self.grammar.error() {
            return self.fail_to_parse(error, Lexer::Between);
        }
        if let Some(error) = self.utf8.problem.take().or(self.escaped.problem.take()) {
            return self.fail_to_parse(&error, Lexer::Between);
        }
        if !self.grammar.is_object() {
            self.in_run = false;
            self.consume_message();
            return Some(Frame::Broken("QMP input must be a JSON object".to_owned()));
        }
        if self.not_json {
            return self.end_message_of_another_spelling();
        }
        let members = self.grammar.members().to_vec();
        let Some(text) = self.take_text() else {
            return self.fail("JSON message too large for the memory that is left", Lexer::Between);
        };
        self.in_run = false;
        self.consume_message();
        Some(Frame::Message(Message { text, members }))
    }

    /// Rare: what has QEMU's additions is lexed once more as JSON, so that the members lie where the text has them.
    fn end_message_of_another_spelling(&mut self) -> Option<Frame> {
        let json = strings::to_json(self.buffer.get(self.start..self.at).unwrap_or_default());
        let Some(json) = json else {
            return self.fail("JSON message too large for the memory that is left", Lexer::Between);
        };
        let frame = Self { buffer: json, ..Self::new() }.next_frame();
        self.in_run = false;
        self.consume_message();
        Some(frame.unwrap_or_else(|| Frame::Broken("JSON parse error, expecting value".to_owned())))
    }

    /// The text of the message that ends at `self.at`, without copying a big one that is most of the buffer. `None`: there is no
    /// memory for a copy.
    fn take_text(&mut self) -> Option<Vec<u8>> {
        let length = self.at - self.start;
        let rest = self.buffer.len() - self.at;
        let copy = |bytes: &[u8]| {
            let mut copy = Vec::new();
            copy.try_reserve_exact(bytes.len()).ok()?;
            copy.extend_from_slice(bytes);
            Some(copy)
        };
        steps::count(length.min(BIG));
        if length < BIG || length < rest || length < self.start {
            return copy(self.buffer.get(self.start..self.at).unwrap_or_default());
        }
        let rest = copy(self.buffer.get(self.at..).unwrap_or_default())?;
        steps::count(rest.len());
        let mut text = std::mem::replace(&mut self.buffer, rest);
        text.truncate(self.at);
        text.drain(..self.start);
        if text.capacity() - text.len() > text.len() / 4 {
            text.shrink_to_fit();
        }
        (self.start, self.at) = (0, 0);
        Some(text)
    }

    /// An error in the lexer at the token that began at `from`: `byte` cannot follow.
    fn stray(&mut self, from: usize, byte: u8) -> Option<Frame> {
        if byte == 0xFF {
            return self.flush();
        }
        let shown = self.buffer.get(from..=self.at).unwrap_or_default();
        let text = match self.in_run {
            true => String::new(),
            false => format!("stray '{}'", String::from_utf8_lossy(shown.get(..64).unwrap_or(shown))),
        };
        // What Skip would stop at is looked at again, unless it can only be an error once more.
        if !matches!(byte, b'[' | b']' | b'{' | b'}' | b':' | b',' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.fail_to_parse(&text, Lexer::Skip)
    }

    /// The byte 0xFF: a client starts afresh. A number or keyword that it ends is complete and is answered; anything else
    /// that was under way is dropped in silence.
    fn flush(&mut self) -> Option<Frame> {
        self.at += 1;
        self.lexer = Lexer::Between;
        self.in_run = false;
        self.consume_message();
        None
    }

    /// What is wrong is answered, once in a run of broken bytes: the rest of a broken message would draw an error for
    /// every other byte of it.
    fn fail(&mut self, text: &str, lexer: Lexer) -> Option<Frame> {
        let frame = (!std::mem::replace(&mut self.in_run, true)).then(|| Frame::Broken(text.to_owned()));
        self.lexer = lexer;
        self.consume_message();
        frame
    }

    /// The same for what JSON does not allow.
    fn fail_to_parse(&mut self, error: &str, lexer: Lexer) -> Option<Frame> {
        if self.in_run {
            return self.fail(error, lexer);
        }
        self.fail(&format!("JSON parse error, {error}"), lexer)
    }

    /// The message under way ends at `self.at`.
    fn consume_message(&mut self) {
        self.start = self.at;
        self.forget_message();
    }

    fn forget_message(&mut self) {
        (self.braces, self.brackets, self.tokens) = (0, 0, 0);
        (self.non_ascii, self.escapes, self.not_json) = (false, false, false);
        (self.utf8, self.escaped, self.dropped) = (Checked::default(), Checked::default(), None);
        self.grammar.reset();
    }

    /// Gives the room of what was handed on to the next read.
    fn drop_consumed(&mut self) {
        let gone = self.start;
        if gone == 0 {
            return;
        }
        steps::count(self.buffer.len() - gone);
        self.buffer.drain(..gone);
        self.start = 0;
        self.at -= gone;
        match &mut self.lexer {
            Lexer::String { from, .. }
            | Lexer::Escape { from, .. }
            | Lexer::Number { from, .. }
            | Lexer::Keyword { from } => {
                *from = from.saturating_sub(gone);
            }
            Lexer::Between | Lexer::Skip => {}
        }
    }
}

/// Whether a byte ends the search for what comes after an error.
fn ends_skipping(byte: u8) -> bool {
    matches!(byte, b'[' | b']' | b'{' | b'}' | b':' | b',' | 0xFF) || (byte < 0x20 && byte != b'\t')
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "framer_tests.rs"]
mod tests;
