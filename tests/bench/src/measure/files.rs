//! Reading and writing a file on tmpfs.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Subject;
use crate::client::Client;
use crate::commands::request;
use crate::floor;
use crate::server::Kind;

/// A block size.
pub struct Size {
    /// For people, and for the names of rows.
    pub name: &'static str,
    pub bytes: usize,
    /// How many blocks are read and written; the first is not counted.
    blocks: usize,
}

/// The block sizes.
pub const SIZES: [Size; 4] = [
    Size { name: "4 KiB", bytes: 4 << 10, blocks: 1000 },
    Size { name: "64 KiB", bytes: 64 << 10, blocks: 200 },
    Size { name: "1 MiB", bytes: 1 << 20, blocks: 25 },
    Size { name: "16 MiB", bytes: FILE, blocks: 4 },
];

/// The size of the file, in bytes: the longest block.
const FILE: usize = 16 << 20;

/// Reads and writes blocks of all sizes; the floor moves as many bytes as they are on the wire.
pub fn measure(subject: &mut Subject<'_>) -> Result<()> {
    if subject.kind == Kind::Floor {
        for size in &SIZES {
            let encoded = encoded_length(size.bytes);
            let read = through(subject, size, &floor::send(encoded), |_, _| Ok(()))?;
            subject.add(&format!("read {}", size.name), read);
        }
        return Ok(());
    }
    let path = subject.server.path("data");
    fs::write(&path, content(FILE)).context("the file to read")?;
    let handle = open(&mut subject.client, &json!({"path": path, "mode": "r"}))?;
    for size in &SIZES {
        let read = request("guest-file-read", &json!({"handle": handle, "count": size.bytes}));
        let value = through(subject, size, &read, |client, block| rewind(client, &handle, size, block))?;
        subject.add(&format!("read {}", size.name), value);
    }
    close(&mut subject.client, &handle)?;
    let handle = open(&mut subject.client, &json!({"path": path, "mode": "r+"}))?;
    for size in &SIZES {
        let write = request("guest-file-write", &json!({"handle": handle, "buf-b64": encoded(size.bytes)}));
        let value = through(subject, size, &write, |client, block| rewind(client, &handle, size, block))?;
        subject.add(&format!("write {}", size.name), value);
    }
    close(&mut subject.client, &handle)
}

/// The throughput of a request that moves a block: the size through the time it takes, in megabytes a second.
fn through(
    subject: &mut Subject<'_>,
    size: &Size,
    request: &[u8],
    before: impl Fn(&mut Client, usize) -> Result<()>,
) -> Result<f64> {
    let is_agent = subject.kind != Kind::Floor;
    let client = &mut subject.client;
    let mut times = Vec::with_capacity(size.blocks);
    for block in 0..size.blocks {
        before(client, block)?;
        let began = Instant::now();
        if is_agent {
            client.succeed(request)?;
        } else {
            client.ask(request)?;
        }
        if block != 0 {
            times.push(began.elapsed().as_secs_f64());
        }
    }
    Ok(size.bytes as f64 / 1e6 / subject.typical.of(times))
}

/// Moves to the file's beginning where the block would go past its end.
fn rewind(client: &mut Client, handle: &Value, size: &Size, block: usize) -> Result<()> {
    if block.is_multiple_of(FILE / size.bytes) {
        client.succeed(&request("guest-file-seek", &json!({"handle": handle, "offset": 0, "whence": 0})))?;
    }
    Ok(())
}

pub fn open(client: &mut Client, arguments: &Value) -> Result<Value> {
    client.call("guest-file-open", arguments)
}

pub fn close(client: &mut Client, handle: &Value) -> Result<()> {
    client.call("guest-file-close", &json!({"handle": handle})).map(drop)
}

/// Bytes that do not repeat soon, and are the same every time.
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        // Xorshift (Marsaglia, "Xorshift RNGs", 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes
}

/// The base64 of that many bytes (RFC 4648, section 4).
fn encoded(length: usize) -> String {
    base64_simd::STANDARD.encode_to_string(content(length))
}

fn encoded_length(length: usize) -> usize {
    base64_simd::STANDARD.encoded_length(length)
}
