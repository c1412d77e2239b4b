//! Reading and writing a file on tmpfs.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use super::Subject;
use crate::client::Client;
use crate::commands::request;
use crate::floor;
use crate::home::{Home, content};
use crate::server::Kind;

/// A block size.
pub struct Size {
    /// For people, and for the names of rows.
    pub name: &'static str,
    pub bytes: usize,
}

/// The block sizes.
pub const SIZES: [Size; 4] = [
    Size { name: "4 KiB", bytes: 4 << 10 },
    Size { name: "64 KiB", bytes: 64 << 10 },
    Size { name: "1 MiB", bytes: 1 << 20 },
    Size { name: "16 MiB", bytes: FILE },
];

/// The size of the file, in bytes: the longest block.
const FILE: usize = 16 << 20;

/// Reads and writes blocks of all sizes; the floor moves as many bytes as they are on the wire.
pub fn measure<H: Home>(subject: &mut Subject<'_, H>) -> Result<()> {
    let counts = subject.counts;
    let sizes = || SIZES.iter().zip(counts.blocks);
    if subject.kind == Kind::Floor {
        for (size, blocks) in sizes() {
            let encoded = encoded_length(size.bytes);
            let read = through(subject, size, blocks, &floor::send(encoded), |_, _| Ok(()))?;
            subject.add(&format!("read {}", size.name), read);
        }
        return Ok(());
    }
    let path = subject.home.make_file(FILE)?;
    let handle = open(&mut subject.client, &json!({"path": path, "mode": "r"}))?;
    for (size, blocks) in sizes() {
        let read = request("guest-file-read", &json!({"handle": handle, "count": size.bytes}));
        let value = through(subject, size, blocks, &read, |client, block| rewind(client, &handle, size, block))?;
        subject.add(&format!("read {}", size.name), value);
    }
    close(&mut subject.client, &handle)?;
    let handle = open(&mut subject.client, &json!({"path": path, "mode": "r+"}))?;
    for (size, blocks) in sizes() {
        let write = request("guest-file-write", &json!({"handle": handle, "buf-b64": encoded(size.bytes)}));
        let value = through(subject, size, blocks, &write, |client, block| rewind(client, &handle, size, block))?;
        subject.add(&format!("write {}", size.name), value);
    }
    close(&mut subject.client, &handle)
}

/// The throughput of a request that moves a block: the size through the time it takes, in megabytes a second.
fn through<H: Home>(
    subject: &mut Subject<'_, H>,
    size: &Size,
    blocks: usize,
    request: &[u8],
    before: impl Fn(&mut Client, usize) -> Result<()>,
) -> Result<f64> {
    let is_agent = subject.kind != Kind::Floor;
    let client = &mut subject.client;
    let mut times = Vec::with_capacity(blocks);
    for block in 0..blocks {
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

/// The base64 of that many bytes (RFC 4648, section 4).
fn encoded(length: usize) -> String {
    base64_simd::STANDARD.encode_to_string(content(length))
}

fn encoded_length(length: usize) -> usize {
    base64_simd::STANDARD.encoded_length(length)
}
