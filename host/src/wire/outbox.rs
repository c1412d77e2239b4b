//! Replies on their way out: framed, in order, and written with as few system calls as they allow.

use std::collections::VecDeque;
use std::io::IoSlice;

use guestd_abi::{RVec, Reply, reply_flags};
use guestd_sdk::answer::to_json;

/// A body of at least this size is written from where it lies; a smaller one is copied, so that the replies to a
/// batch of requests leave in one piece.
const BIG: usize = 8 << 10;
/// The most pieces that are offered to one system call; more than two large replies seldom wait.
pub const MAX_SLICES: usize = 16;
/// The longest text of an error, in bytes. Those of the protocol are a sentence; a path in one may have 4096 bytes.
const MAX_DESC: usize = 8 << 10;

/// Replies that have not been written yet.
#[derive(Default)]
pub struct Outbox {
    /// What comes before `tail`: large bodies and what lies between them.
    pieces: VecDeque<RVec<u8>>,
    /// Small replies, and the frame of large ones; its room is used again and again.
    tail: Vec<u8>,
    /// How much of the first piece is written already.
    written: usize,
}

impl Outbox {
    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    /// Whether so much waits that it should be written before more is made.
    pub fn is_large(&self) -> bool {
        !self.pieces.is_empty() || self.tail.len() >= 64 * BIG
    }

    /// The bytes that it takes by itself, without large bodies.
    pub fn capacity(&self) -> usize {
        self.tail.capacity() + self.pieces.iter().map(RVec::len).filter(|length| *length < BIG).sum::<usize>()
    }

    /// Forgets everything: there is nobody to read it.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds the reply of a command.
    pub fn push_reply(&mut self, reply: Reply, id: Option<&[u8]>) {
        if reply.flags & reply_flags::DELIMITED != 0 {
            self.tail.push(0xFF);
        }
        self.tail.extend_from_slice(b"{\"return\": ");
        if reply.body.len() >= BIG {
            self.pieces.push_back(RVec::from(std::mem::take(&mut self.tail)));
            self.pieces.push_back(reply.body);
        } else {
            self.tail.extend_from_slice(&reply.body);
        }
        self.finish(id);
    }

    /// Adds an error.
    pub fn push_error(&mut self, class: &str, desc: &str, id: Option<&[u8]>) {
        let text = |text: &str| to_json(&text).unwrap_or_else(|_| b"\"\"".to_vec());
        let desc = guestd_sdk::head(desc, MAX_DESC);
        let (class, desc) = (text(class), text(desc));
        let small = &mut self.tail;
        small.extend_from_slice(b"{\"error\": {\"class\": ");
        small.extend_from_slice(&class);
        small.extend_from_slice(b", \"desc\": ");
        small.extend_from_slice(&desc);
        small.push(b'}');
        self.finish(id);
    }

    fn finish(&mut self, id: Option<&[u8]>) {
        if let Some(id) = id {
            self.tail.extend_from_slice(b", \"id\": ");
            self.tail.extend_from_slice(id);
        }
        self.tail.extend_from_slice(b"}\n");
    }

    /// What to write next, in order; returns how many of the slots were filled.
    pub fn slices<'a>(&'a self, room: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let pieces = self.pieces.iter().map(RVec::as_slice).chain([self.tail.as_slice()]);
        let mut skip = self.written;
        let mut count = 0;
        for (slot, piece) in room.iter_mut().zip(pieces) {
            *slot = IoSlice::new(piece.get(skip..).unwrap_or_default());
            skip = 0;
            count += 1;
        }
        count
    }

    /// Says how many bytes of the slices were written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        while let Some(piece) = self.pieces.front() {
            if self.written < piece.len() {
                return;
            }
            self.written -= piece.len();
            self.pieces.pop_front();
        }
        if self.written >= self.tail.len() {
            self.written = 0;
            self.tail.clear();
            self.tail.shrink_to(4 * BIG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &[u8], flags: u32) -> Reply {
        Reply { body: RVec::from(body.to_vec()), flags }
    }

    /// Writes everything, `step` bytes a call, and returns the calls' texts.
    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let mut room = [IoSlice::new(&[]); MAX_SLICES];
            let count = outbox.slices(&mut room);
            let offered: Vec<u8> = room[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            assert!(!offered.is_empty());
            let taken = step.min(offered.len());
            all.extend_from_slice(&offered[..taken]);
            outbox.advance(taken);
        }
        all
    }

    fn fill(outbox: &mut Outbox) -> Vec<u8> {
        let big = vec![b'1'; BIG];
        outbox.push_reply(reply(b"{}", 0), None);
        outbox.push_reply(reply(b"5", reply_flags::DELIMITED), Some(b"\"i\""));
        outbox.push_reply(reply(&big, 0), Some(b"7"));
        outbox.push_error("GenericError", "it's \"é\"", Some(b"[1]"));
        [
            b"{\"return\": {}}\n\xFF{\"return\": 5, \"id\": \"i\"}\n{\"return\": ".as_slice(),
            &big,
            b", \"id\": 7}\n",
            br#"{"error": {"class": "GenericError", "desc": "it's \"\u00E9\""}, "id": [1]}"#,
            b"\n",
        ]
        .concat()
    }

    #[test]
    fn replies_leave_in_order_whatever_a_write_takes() {
        for step in [1, 2, 100, BIG, usize::MAX] {
            let mut outbox = Outbox::default();
            let expected = fill(&mut outbox);
            assert_eq!(drain(&mut outbox, step), expected);
        }
    }

    #[test]
    fn an_error_is_a_sentence() {
        let mut outbox = Outbox::default();
        outbox.push_error("GenericError", &"x".repeat(1 << 20), None);
        assert!(drain(&mut outbox, usize::MAX).len() < MAX_DESC + 100);
    }

    #[test]
    fn small_replies_are_one_piece_and_a_large_body_is_not_copied() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            outbox.push_reply(reply(b"{}", 0), None);
        }
        assert!(outbox.pieces.is_empty());
        let big = reply(&vec![b'1'; BIG], 0);
        let address = big.body.as_ptr();
        outbox.push_reply(big, None);
        assert!(outbox.pieces.iter().any(|piece| piece.as_ptr() == address));
    }
}
