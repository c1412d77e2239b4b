//! The members of an object and the items of an array whose text the daemon has checked, without looking at what
//! is in them.
//!
//! Text that is not JSON after all is an error or a wrong answer here, never a panic.

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memchr2;

use super::error::{ArgError, Problem, duplicate_key, too_many};
use crate::steps;

/// A member of an object: its key and the text of its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, without its quotes and escapes.
    pub key: Cow<'a, str>,
    /// The value's JSON text, without white space around it.
    pub value: &'a [u8],
}

/// The most members of an object among the arguments, and of the arguments themselves. No command takes a fifth as many; what has
/// more is refused before it is looked at.
pub const MAX_MEMBERS: usize = 64;

/// Below this many keys each is compared with all others, which takes less time than to hash them.
const FEW: usize = 8;

/// The members of an object in a request, in the order in which they stand there: for a command that takes the
/// request as it came. `None` where the text is no object, or one of more than [`MAX_MEMBERS`] members.
pub fn members(object: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut rest = Text::open(object, b'{', b'}')?;
    let mut found = Vec::with_capacity(4);
    while !rest.at_end() {
        if found.len() == MAX_MEMBERS {
            return None;
        }
        let key = rest.value()?;
        rest.skip_one(b':')?;
        let value = rest.value()?;
        rest.skip_comma()?;
        found.push(Member { key: string(std::str::from_utf8(key).ok()?)?, value });
    }
    Some(found)
}

/// Where in `text`, a string in its quotes, its content lies: `1 .. len - 1`. `None` where it is no string.
pub fn string_bounds(text: &[u8]) -> Option<std::ops::Range<usize>> {
    match text {
        [b'"', inner @ .., b'"'] => Some(1..inner.len() + 1),
        _ => None,
    }
}

/// The members of an object, each key once.
pub(super) fn read(object: &str) -> Result<Vec<Member<'_>>, ArgError> {
    let Some(found) = members(object.as_bytes()) else {
        return Err(match object.starts_with('{') {
            true if has_too_many(object.as_bytes()) => too_many(),
            true => not_json(),
            false => ArgError::expected("object"),
        });
    };
    if has_duplicates(&found) { Err(duplicate_key()) } else { Ok(found) }
}

fn has_duplicates(members: &[Member<'_>]) -> bool {
    if members.len() <= FEW {
        let is_new =
            |(index, member): (usize, &Member<'_>)| members.iter().take(index).all(|earlier| earlier.key != member.key);
        return !members.iter().enumerate().all(is_new);
    }
    let mut keys = HashSet::with_capacity(members.len());
    !members.iter().all(|member| keys.insert(member.key.as_ref()))
}

/// Whether an object that [`members`] refuses has more of them than it may, and is in order up to there.
fn has_too_many(object: &[u8]) -> bool {
    fn count(object: &[u8]) -> Option<bool> {
        let mut rest = Text::open(object, b'{', b'}')?;
        for _ in 0..MAX_MEMBERS {
            rest.value()?;
            rest.skip_one(b':')?;
            rest.value()?;
            rest.skip_comma()?;
        }
        Some(!rest.at_end())
    }
    count(object).unwrap_or(false)
}

/// The texts of the items of an array, one after the other.
pub(super) fn items(array: &str) -> Result<Items<'_>, ArgError> {
    Text::open(array.as_bytes(), b'[', b']').map(Items).ok_or_else(not_json)
}

/// What is left of an array.
pub(super) struct Items<'a>(Text<'a>);

impl<'a> Items<'a> {
    /// The text of the next item.
    pub fn next(&mut self) -> Result<Option<&'a [u8]>, ArgError> {
        if self.0.at_end() {
            return Ok(None);
        }
        let item = self.0.value();
        let item = item.filter(|_| self.0.skip_comma().is_some());
        item.map(Some).ok_or_else(not_json)
    }
}

pub(super) fn not_json() -> ArgError {
    ArgError::new(Problem::Other("JSON parse error, expecting value".to_owned()))
}

/// The content of a string in its quotes; borrowed where it has no escapes.
pub(super) fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    match memchr::memchr(b'\\', inner.as_bytes()) {
        None => Some(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(text).ok().map(Cow::Owned),
    }
}

/// What is left of a container's content.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn open(text: &'a [u8], first: u8, last: u8) -> Option<Self> {
        let inner = text.trim_ascii().strip_prefix(&[first])?.strip_suffix(&[last])?;
        Some(Self(inner.trim_ascii()))
    }

    fn at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn skip_one(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(&[byte])?.trim_ascii_start();
        Some(())
    }

    /// Skips the comma behind an item; there is one unless it was the last.
    fn skip_comma(&mut self) -> Option<()> {
        self.0 = self.0.trim_ascii_start();
        if self.at_end() { Some(()) } else { self.skip_one(b',') }
    }

    /// Takes the text of a value.
    fn value(&mut self) -> Option<&'a [u8]> {
        let length = match self.0.first()? {
            b'"' => string_length(self.0)?,
            b'{' | b'[' => container_length(self.0)?,
            _ => self.0.iter().position(|byte| b",:]} \t\r\n".contains(byte)).unwrap_or(self.0.len()),
        };
        steps::count(length);
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}

/// The length of the string that `text` begins with, quotes included.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        match text.get(found)? {
            b'"' => return Some(found + 1),
            _ => at = found + 2,
        }
    }
}

/// The length of the object or array that `text` begins with.
fn container_length(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0usize);
    loop {
        match text.get(at)? {
            b'"' => at += string_length(text.get(at..)?)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}
