//! The floor: a server that does nothing but read and write, blocking, in one thread. No agent can be faster.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};

/// What it answers.
const REPLY: &[u8] = b"{\"return\": {}}\n";
/// A line that begins with this is answered with as many bytes as the number behind it says.
const SEND: &[u8] = b"send ";
/// The most that it sends.
const MOST: usize = 32 << 20;

/// The request for a reply of that many bytes.
pub fn send(bytes: usize) -> Vec<u8> {
    format!("send {bytes}\n").into_bytes()
}

/// Listens on a socket and serves one client, to its end.
pub fn serve(path: &Path) -> Result<()> {
    let listener = UnixListener::bind(path).with_context(|| path.display().to_string())?;
    let (mut stream, _) = listener.accept()?;
    let mut room = vec![1; 256 << 10];
    let mut sent = Vec::new();
    loop {
        let count = stream.read(&mut room)?;
        let Some(read) = room.get(..count).filter(|read| !read.is_empty()) else { return Ok(()) };
        match read.strip_prefix(SEND) {
            Some(number) => {
                if sent.is_empty() {
                    sent = vec![b'x'; MOST];
                }
                send_to(&mut stream, &sent, number)?;
            }
            None => stream.write_all(&REPLY.repeat(memchr::memchr_iter(b'\n', read).count()))?,
        }
    }
}

fn send_to(stream: &mut UnixStream, bytes: &[u8], number: &[u8]) -> Result<()> {
    let count: usize = str::from_utf8(number)?.trim().parse()?;
    stream.write_all(bytes.get(1..count).context("too much is asked for")?)?;
    Ok(stream.write_all(b"\n")?)
}
