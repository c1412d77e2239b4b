//! Changing an input: libFuzzer's changes are bytes here and there; these are pieces, and many of them.

use crate::{Rng, Target};

/// Bytes that mean something to one of the readers.
const WORDS: [&[u8]; 30] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"'",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"\xFF",
    b"\xFE",
    b"\0",
    b"\n",
    b"\r",
    b"\t",
    b" ",
    b"=",
    b"-",
    b" - ",
    b"0",
    b"1e999",
    b"-0",
    b"null",
    b"\xC3\xA9",
    b"\xED\xA0\x80",
    b"\\040",
    b"\x1B[",
];

/// The most bytes that an input grows to.
const MAX_BYTES: usize = 64 << 10;

/// A changed copy of an input: some pieces of it are gone, doubled, moved, or have others between them.
#[must_use]
pub fn mutate(target: &Target, rng: &mut Rng, input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.usize(1..=4) {
        let (from, to) = piece(rng, bytes.len());
        match rng.u8(0..9) {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let copy = bytes[from..to].to_vec();
                let place = rng.usize(0..=bytes.len());
                insert(&mut bytes, place, &copy, 1);
            }
            2 => {
                let copy = bytes[from..to].to_vec();
                let times = if rng.u8(0..8) == 0 { rng.usize(1..5000) } else { rng.usize(1..8) };
                insert(&mut bytes, to, &copy, times);
            }
            3 | 4 => insert(&mut bytes, from, rng.choice(WORDS).unwrap(), 1),
            5 => {
                let times = rng.usize(1..2000);
                insert(&mut bytes, from, rng.choice(WORDS).unwrap(), times);
            }
            6 => {
                let other = (target.make)(rng);
                let (start, end) = piece(rng, other.len());
                insert(&mut bytes, from, &other[start..end], 1);
            }
            7 => bytes.truncate(to),
            _ => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = rng.u8(..);
                }
            }
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

/// A short piece, as a rule, of something of that length.
fn piece(rng: &mut Rng, length: usize) -> (usize, usize) {
    let from = rng.usize(0..=length);
    let most = if rng.bool() { 16 } else { length };
    (from, from + rng.usize(0..=most.min(length - from)))
}

fn insert(bytes: &mut Vec<u8>, place: usize, piece: &[u8], times: usize) {
    let room = MAX_BYTES.saturating_sub(bytes.len());
    let times = times.min(room / piece.len().max(1));
    drop(bytes.splice(place..place, piece.repeat(times)));
}
