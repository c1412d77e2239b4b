//! Checks that a stream of tokens is one JSON value, and notes where the members of its object lie.

use std::ops::Range;

/// A token, as the grammar sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// `{`
    OpenObject,
    /// `}`
    CloseObject,
    /// `[`
    OpenArray,
    /// `]`
    CloseArray,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// A string, which may be a key.
    String,
    /// A number, or one of the keywords of JSON.
    Scalar,
    /// A word that is no keyword.
    Unknown,
}

/// A member of the outermost object: where its key (in quotes) and its value lie in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key, with its quotes.
    pub key: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

/// More members than this are not noted: a request has three, so the fifth is already one too many.
const MEMBERS_NOTED: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Nothing,
}

/// The state of a message's grammar.
#[derive(Debug)]
pub struct Grammar {
    /// The open containers, outermost first: true for an object.
    open: Vec<bool>,
    expect: Expect,
    members: Vec<Member>,
    error: Option<&'static str>,
    is_object: bool,
}

impl Grammar {
    /// The grammar of a message that has not begun.
    pub fn new() -> Self {
        Self { open: Vec::new(), expect: Expect::Value, members: Vec::new(), error: None, is_object: false }
    }

    /// Forgets the message.
    pub fn reset(&mut self) {
        self.open.clear();
        self.expect = Expect::Value;
        self.members.clear();
        self.error = None;
        self.is_object = false;
    }

    /// Whether the value that was read is an object.
    pub fn is_object(&self) -> bool {
        self.is_object
    }

    /// What is wrong, in QEMU's words, once the message has ended.
    pub fn error(&self) -> Option<&'static str> {
        match (self.error, self.expect) {
            (None, Expect::Nothing) => None,
            (None, _) => Some("expecting value"),
            (error, _) => error,
        }
    }

    /// Whether something was wrong already, so that what follows does not matter.
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// The first members of the outermost object.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes the next token, which lies at `place` in the message.
    pub fn token(&mut self, token: Token, place: Range<usize>) {
        if self.error.is_none()
            && let Err(text) = self.step(token, place)
        {
            self.error = Some(text);
        }
    }

    fn step(&mut self, token: Token, place: Range<usize>) -> Result<(), &'static str> {
        use Expect as E;
        use Token as T;
        match (self.expect, token) {
            (E::Key | E::KeyOrEnd, T::String) => {
                if self.open.len() == 1 && self.members.len() < MEMBERS_NOTED {
                    self.members.push(Member { key: place, value: 0..0 });
                }
                self.expect = E::Colon;
            }
            (E::KeyOrEnd | E::CommaOrEnd, T::CloseObject) if self.in_object() => self.close(place.end),
            (E::ValueOrEnd | E::CommaOrEnd, T::CloseArray) if !self.in_object() => self.close(place.end),
            (E::Key | E::KeyOrEnd, T::OpenObject | T::OpenArray | T::Scalar) => {
                return Err("key is not a string in object");
            }
            (E::Colon, T::Colon) => self.expect = E::Value,
            (E::Colon, _) => return Err("missing : in object pair"),
            (E::CommaOrEnd, T::Comma) => self.expect = if self.in_object() { E::Key } else { E::Value },
            (E::CommaOrEnd, _) if self.in_object() => return Err("expected separator in dict"),
            (E::CommaOrEnd, _) => return Err("expected separator in list"),
            (E::Value | E::ValueOrEnd, T::String | T::Scalar) => {
                self.begin_value(place.start);
                self.end_value(place.end);
            }
            (E::Value | E::ValueOrEnd, T::OpenObject) => {
                self.is_object |= self.open.is_empty();
                self.begin_value(place.start);
                self.open.push(true);
                self.expect = E::KeyOrEnd;
            }
            (E::Value | E::ValueOrEnd, T::OpenArray) => {
                self.begin_value(place.start);
                self.open.push(false);
                self.expect = E::ValueOrEnd;
            }
            (E::Value | E::ValueOrEnd, T::Unknown) => return Err("invalid keyword"),
            _ => return Err("expecting value"),
        }
        Ok(())
    }

    fn in_object(&self) -> bool {
        self.open.last().copied().unwrap_or(false)
    }

    fn close(&mut self, end: usize) {
        self.open.pop();
        self.end_value(end);
    }

    fn begin_value(&mut self, start: usize) {
        if self.is_object
            && self.open.len() == 1
            && let Some(member) = self.members.last_mut()
            && member.value.end == 0
        {
            member.value.start = start;
        }
    }

    fn end_value(&mut self, end: usize) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
        if self.is_object
            && self.open.len() == 1
            && let Some(member) = self.members.last_mut()
            && member.value.end == 0
        {
            member.value.end = end;
        }
    }
}

impl Default for Grammar {
    fn default() -> Self {
        Self::new()
    }
}
