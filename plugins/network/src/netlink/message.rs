//! The form of netlink messages: netlink(7), rtnetlink(7) and the kernel's `linux/netlink.h`.
//!
//! All that is read here comes from the kernel, but is taken apart as if it did not: what is cut off or claims to be
//! longer than it is is an error, never a panic.

use std::io;

/// The types of `linux/rtnetlink.h` that are asked for; the answers' are two less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `RTM_GETLINK`: interfaces.
    Link = 18,
    /// `RTM_GETADDR`: addresses.
    Address = 22,
}

/// `NLM_F_DUMP`: all that there is.
pub(super) const DUMP: u16 = 0x300;

const REQUEST: u16 = 0x1;
/// `NLM_F_DUMP_INTR`: something changed while the dump was made.
const DUMP_INTERRUPTED: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The size of `struct nlmsghdr` and of `struct nlattr`, in bytes.
const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;

/// The bits of an attribute's type that are not flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3FFF;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    kind: u16,
    pub interrupted: bool,
    pub sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Its content, if it is an answer to a request of this kind: what comes first, of `N` bytes, and the attributes.
    pub(crate) fn parts<const N: usize>(&self, kind: Kind) -> Option<([u8; N], Attributes<'a>)> {
        if self.kind != kind as u16 - 2 {
            return None;
        }
        let (first, rest) = self.body.split_first_chunk::<N>()?;
        Some((*first, Attributes(rest)))
    }

    /// The kernel's answer to a request of this kind.
    #[cfg(test)]
    pub(crate) fn answer(kind: Kind, body: &'a [u8]) -> Self {
        Self { kind: kind as u16 - 2, interrupted: false, sequence: 1, body }
    }

    /// Whether the message ends the answer, and how; `None` where it does not.
    pub(super) fn error(&self) -> Option<io::Result<()>> {
        match self.kind {
            ERROR | DONE => {}
            _ => return None,
        }
        // Both carry an errno with its sign turned; the end of a dump, from kernels before 3.2, may carry nothing.
        Some(match self.body.first_chunk() {
            Some(number) => match i32::from_ne_bytes(*number) {
                0 => Ok(()),
                number => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
            },
            None if self.kind == DONE => Ok(()),
            None => Err(cut_off()),
        })
    }
}

/// The attributes behind a message's first part, or within another attribute. What is left of one that is cut off is
/// passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A request's text.
pub(super) fn request(kind: Kind, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(HEADER + body.len());
    text.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    text.extend((kind as u16).to_ne_bytes());
    text.extend((REQUEST | flags).to_ne_bytes());
    text.extend(sequence.to_ne_bytes());
    text.extend(0_u32.to_ne_bytes());
    text.extend(body);
    text
}

/// An attribute's text, for a request.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = ATTRIBUTE_HEADER + value.len();
    let mut text = Vec::with_capacity(aligned(length));
    text.extend((length as u16).to_ne_bytes());
    text.extend(kind.to_ne_bytes());
    text.extend(value);
    text.resize(aligned(length), 0);
    text
}

/// The messages of a datagram.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = io::Result<Message<'_>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = first_message(&mut rest);
        if message.is_none() {
            rest = &[];
        }
        Some(message.ok_or_else(cut_off))
    })
}

fn first_message<'a>(rest: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = u32_at(rest, 0)? as usize;
    let flags = u16_at(rest, 6)?;
    let message = Message {
        kind: u16_at(rest, 4)?,
        interrupted: flags & DUMP_INTERRUPTED != 0,
        sequence: u32_at(rest, 8)?,
        body: rest.get(HEADER..length)?,
    };
    *rest = rest.get(aligned(length)..).unwrap_or_default();
    Some(message)
}

/// What an answer that has no end is.
pub(super) fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel's answer is cut off")
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The number at a place, in the machine's byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut text = request(Kind::Link, flags, 7, body);
        text[4..6].copy_from_slice(&kind.to_ne_bytes());
        text.resize(aligned(text.len()), 0);
        text
    }

    fn link() -> Vec<u8> {
        [b"12345678".as_slice(), &attribute(1, b"abcde"), &attribute(0x8002, b""), &attribute(3, b"xy")].concat()
    }

    #[test]
    fn a_datagram_is_taken_apart() {
        let datagram = [message(16, 0, &link()), message(3, DUMP_INTERRUPTED, &0_i32.to_ne_bytes())].concat();
        let found: Vec<_> = messages(&datagram).map(Result::unwrap).collect();
        let [first, last] = found.as_slice() else { panic!("{found:?}") };
        let (head, attributes) = first.parts::<8>(Kind::Link).unwrap();
        assert_eq!(&head, b"12345678");
        let expected = [(1, b"abcde".as_slice()), (2, b""), (3, b"xy")];
        assert_eq!(attributes.collect::<Vec<_>>(), expected);
        assert!(first.parts::<8>(Kind::Address).is_none() && first.error().is_none() && !first.interrupted);
        assert!(last.error().unwrap().is_ok() && last.interrupted && last.sequence == 7);
    }

    #[test]
    fn an_error_is_an_errno() {
        let error = |body: &[u8]| messages(&message(2, 0, body)).next().unwrap().unwrap().error().unwrap();
        assert_eq!(error(&(-101_i32).to_ne_bytes()).unwrap_err().raw_os_error(), Some(101));
        assert!(error(&0_i32.to_ne_bytes()).is_ok());
        assert!(error(&i32::MIN.to_ne_bytes()).is_err());
        assert_eq!(error(b"abc").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_cut_off_is_an_error_and_never_a_panic() {
        let datagram = message(16, 0, &link());
        for end in 1..datagram.len() - 2 {
            let found: Vec<_> = messages(&datagram[..end]).collect();
            assert!(matches!(found.as_slice(), [Err(_)]), "{end}: {found:?}");
        }
        let body = link();
        for end in 0..body.len() {
            let whole = [17, 24, 30].into_iter().filter(|&attribute_end| attribute_end <= end).count();
            let found = Message::answer(Kind::Link, &body[..end]).parts::<8>(Kind::Link);
            assert_eq!(found.map_or(0, |(_, attributes)| attributes.count()), whole, "{end}");
        }
    }

    #[test]
    fn lengths_that_lie_are_errors_and_end_the_datagram() {
        for length in [0, 1, 15, 1000, u32::MAX] {
            let mut datagram = [message(16, 0, &link()), message(16, 0, &link())].concat();
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            let found: Vec<_> = messages(&datagram).collect();
            assert!(matches!(found.as_slice(), [Err(_)]), "{length}: {found:?}");
        }
        for length in [0_u16, 3, 9, u16::MAX] {
            let mut attribute = attribute(1, b"abcd");
            attribute[..2].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(Attributes(&attribute).count(), 0, "{length}");
        }
    }
}
