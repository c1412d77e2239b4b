//! From bytes to an envelope, and from a reply to bytes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::IoSlice;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use guestd::wire::{Envelope, Frame, Framer, MAX_SLICES, Message, Outbox};
use guestd_abi::{RVec, Reply};

fn main() {
    divan::main();
}

const PING: &[u8] = b"{\"execute\":\"guest-ping\"}\n";
const SIZES: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 16 << 20];

/// A write request with that many bytes of base64.
fn write_request(size: usize) -> Vec<u8> {
    let head = br#"{"execute":"guest-file-write","arguments":{"handle":1000,"buf-b64":""#;
    [head.as_slice(), &vec![b'Q'; size], b"\"}}\n"].concat()
}

fn message(framer: &mut Framer) -> Message {
    match framer.next_frame() {
        Some(Frame::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[divan::bench]
fn framer_1000_pings(bencher: Bencher<'_, '_>) {
    let text = PING.repeat(1000);
    let mut framer = Framer::new();
    bencher.counter(ItemsCount::new(1000usize)).bench_local(|| {
        framer.space().extend_from_slice(&text);
        for _ in 0..1000 {
            black_box(message(&mut framer));
        }
    });
}

/// The bytes come in pieces, as from a socket.
#[divan::bench(args = SIZES)]
fn framer_large_request(bencher: Bencher<'_, '_>, size: usize) {
    let text = write_request(size);
    bencher.counter(BytesCount::new(text.len())).bench_local(|| {
        let mut framer = Framer::new();
        let mut rest = text.as_slice();
        loop {
            let space = framer.space();
            let room = (space.capacity() - space.len()).min(208 << 10).min(rest.len());
            let (piece, behind) = rest.split_at(room);
            space.extend_from_slice(piece);
            rest = behind;
            if let Some(frame) = framer.next_frame() {
                break frame;
            }
        }
    });
}

#[divan::bench]
fn envelope_of_a_ping(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| {
            let mut framer = Framer::new();
            framer.space().extend_from_slice(PING);
            message(&mut framer)
        })
        .bench_values(|message| Envelope::read(message).unwrap());
}

#[divan::bench]
fn outbox_1000_small_replies(bencher: Bencher<'_, '_>) {
    let mut outbox = Outbox::default();
    bencher.counter(ItemsCount::new(1000usize)).bench_local(|| {
        for _ in 0..1000 {
            outbox.push_reply(Reply { body: RVec::from(b"{}".to_vec()), flags: 0 }, None);
        }
        drain(&mut outbox);
    });
}

fn drain(outbox: &mut Outbox) {
    while !outbox.is_empty() {
        let mut room = [IoSlice::new(&[]); MAX_SLICES];
        let count = outbox.slices(&mut room);
        let bytes = room[..count].iter().map(|slice| slice.len()).sum();
        outbox.advance(black_box(bytes));
    }
}
