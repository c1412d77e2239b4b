//! From the bytes of a channel to messages.
//!
//! Messages are told apart by the balance of their brackets, as QEMU's parser does it: no line break is needed, and
//! several may follow each other. Everything is done in one pass over the bytes as they come: the lexer's state and
//! the grammar's survive between reads, so that a message of megabytes is looked at once.

use std::ops::Range;

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
/// The least room that a read is offered, and the most by which the buffer grows at a time.
const MIN_READ: usize = 8 << 10;
const MAX_READ: usize = 4 << 20;

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
    /// What the message has that needs a closer look at its end.
    non_ascii: bool,
    escapes: bool,
    not_json: bool,
    grammar: Grammar,
}

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
            grammar: Grammar::new(),
        }
    }

    /// Forgets everything: the stream has a new writer.
    pub fn reset(&mut self) {
        self.buffer = Vec::new();
        (self.start, self.at) = (0, 0);
        self.lexer = Lexer::Between;
        self.forget_message();
    }

    /// The buffer to append what is read to, with room for more. It grows with the message under way, so that few
    /// reads are needed for a large one.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.drop_consumed();
        let pending = self.buffer.len();
        self.buffer.reserve_exact(pending.clamp(MIN_READ, MAX_READ));
        &mut self.buffer
    }

    /// How many bytes of unfinished messages wait here.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next message or error in what was read so far.
    pub fn next_frame(&mut self) -> Option<Frame> {
        while let Some(&byte) = self.buffer.get(self.at) {
            if let Some(frame) = self.step(byte) {
                return Some(frame);
            }
        }
        let size = self.buffer.len() - self.start;
        (size > MAX_BYTES).then(|| self.fail("JSON token size limit exceeded".to_owned(), Lexer::Skip))
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
                let ends = matches!(byte, b'[' | b']' | b'{' | b'}' | b':' | b',' | 0xFF);
                if ends || (byte < 0x20 && byte != b'\t') {
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
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.at += 1;
                if self.tokens == 0 {
                    self.start = self.at;
                }
                None
            }
            b'{' => self.open(Token::OpenObject),
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
            return Some(self.fail("JSON nesting depth limit exceeded".to_owned(), Lexer::Between));
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
            return Some(self.fail("JSON token count limit exceeded".to_owned(), Lexer::Between));
        }
        self.grammar.token(token, place.start - self.start..place.end - self.start);
        // One of them below zero ends the message at once, as QEMU's parser has it.
        let unfinished = self.braces >= 0 && self.brackets >= 0 && self.braces + self.brackets > 0;
        if unfinished {
            return None;
        }
        Some(self.end_message())
    }

    fn end_message(&mut self) -> Frame {
        let text = self.buffer.get(self.start..self.at).unwrap_or_default();
        let problem = match self.grammar.error() {
            _ if text.len() > MAX_BYTES => Some("JSON token size limit exceeded".to_owned()),
            Some(error) => Some(format!("JSON parse error, {error}")),
            None if self.non_ascii && std::str::from_utf8(text).is_err() => {
                Some("JSON parse error, invalid UTF-8 sequence in string".to_owned())
            }
            None if self.escapes => {
                strings::check_escapes(text).err().map(|error| format!("JSON parse error, {error}"))
            }
            None => None,
        };
        if let Some(text) = problem {
            return self.fail(text, Lexer::Between);
        }
        if !self.grammar.is_object() {
            return self.fail("QMP input must be a JSON object".to_owned(), Lexer::Between);
        }
        if self.not_json {
            // Rare: lexed once more as JSON, so that the members lie where the text has them.
            let mut json = Self { buffer: strings::to_json(text), ..Self::new() };
            let frame = json.next_frame();
            self.consume_message();
            return frame.unwrap_or_else(|| Frame::Broken("JSON parse error, expecting value".to_owned()));
        }
        let members = self.grammar.members().to_vec();
        let text = self.take_text();
        self.consume_message();
        Frame::Message(Message { text, members })
    }

    /// The text of the message that ends at `self.at`, without copying a big one.
    fn take_text(&mut self) -> Vec<u8> {
        if self.at - self.start < BIG {
            return self.buffer.get(self.start..self.at).unwrap_or_default().to_vec();
        }
        let rest = self.buffer.get(self.at..).unwrap_or_default().to_vec();
        let mut text = std::mem::replace(&mut self.buffer, rest);
        text.truncate(self.at);
        text.drain(..self.start);
        (self.start, self.at) = (0, 0);
        text
    }

    /// An error in the lexer at the token that began at `from`: `byte` cannot follow.
    fn stray(&mut self, from: usize, byte: u8) -> Option<Frame> {
        if byte == 0xFF {
            return self.flush();
        }
        let shown = self.buffer.get(from..=self.at).unwrap_or_default();
        let text = format!("JSON parse error, stray '{}'", String::from_utf8_lossy(shown.get(..64).unwrap_or(shown)));
        // What Skip would stop at is looked at again, unless it can only be an error once more.
        if !matches!(byte, b'[' | b']' | b'{' | b'}' | b':' | b',' | b'\n' | b'\r') {
            self.at += 1;
        }
        Some(self.fail(text, Lexer::Skip))
    }

    /// The byte 0xFF: a client starts afresh. A number or keyword that it ends is complete and is answered; anything else
    /// that was under way is dropped in silence.
    fn flush(&mut self) -> Option<Frame> {
        self.at += 1;
        self.lexer = Lexer::Between;
        self.consume_message();
        None
    }

    fn fail(&mut self, text: String, lexer: Lexer) -> Frame {
        self.lexer = lexer;
        self.consume_message();
        Frame::Broken(text)
    }

    /// The message under way ends at `self.at`.
    fn consume_message(&mut self) {
        self.start = self.at;
        self.forget_message();
    }

    fn forget_message(&mut self) {
        (self.braces, self.brackets, self.tokens) = (0, 0, 0);
        (self.non_ascii, self.escapes, self.not_json) = (false, false, false);
        self.grammar.reset();
    }

    /// Gives the room of what was handed on to the next read.
    fn drop_consumed(&mut self) {
        let gone = self.start;
        if gone == 0 {
            return;
        }
        self.buffer.drain(..gone);
        if self.buffer.capacity() > 2 * BIG && self.buffer.len() < BIG {
            self.buffer.shrink_to(BIG);
        }
        self.start = 0;
        self.at -= gone;
        match &mut self.lexer {
            Lexer::String { from, .. }
            | Lexer::Escape { from, .. }
            | Lexer::Number { from, .. }
            | Lexer::Keyword { from } => {
                *from -= gone;
            }
            Lexer::Between | Lexer::Skip => {}
        }
    }
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "framer_tests.rs"]
mod tests;
