//! The measuring client. It must not be what is measured: it has its buffers from the start and looks at no byte twice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::commands::request;

/// Room for the longest reply: 16 MiB in base64, and what is around it.
const ROOM: usize = 24 << 20;
/// A server that says nothing for this long is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a server.
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    /// The buffer of a client, every page of which has been written to, so that none is missing later. It takes longer to
    /// make than an agent to start.
    pub fn buffer() -> Vec<u8> {
        vec![1; ROOM]
    }

    /// Connects to a socket that may not be there yet; it is tried about every 20 us.
    pub fn connect(path: &Path, buffer: Vec<u8>) -> Result<Self> {
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => return Err(error).context("the server does not listen"),
                Err(_) => std::thread::sleep(Duration::from_micros(20)),
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer })
    }

    /// Sends a request and returns the line of its reply.
    pub fn ask(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request)?;
        let mut length = 0;
        loop {
            let room = self.buffer.get_mut(length..).unwrap_or_default();
            ensure!(!room.is_empty(), "a reply of more than {ROOM} bytes");
            let count = self.stream.read(room).context("no reply")?;
            ensure!(count != 0, "the server is gone");
            length += count;
            let line = self.buffer.get(..length).unwrap_or_default();
            // A reply is one line, and none follows it.
            if line.ends_with(b"\n") {
                break;
            }
        }
        Ok(self.buffer.get(..length).unwrap_or_default())
    }

    /// Sends a request whose reply must be a success.
    pub fn succeed(&mut self, request: &[u8]) -> Result<()> {
        let reply = self.ask(request)?;
        let reply = reply.strip_prefix(b"\xFF").unwrap_or(reply);
        if !reply.starts_with(b"{\"return\"") {
            bail!("{}: {}", shown(request), shown(reply));
        }
        Ok(())
    }

    /// Carries out a command and returns what it returns.
    pub fn call(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = request(command, arguments);
        let mut reply: Value = serde_json::from_slice(self.ask(&request)?)?;
        match reply.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => bail!("{}: {reply}", shown(&request)),
        }
    }

    /// Whether the server has a command and carries it out: else the row has no figure.
    pub fn can(&mut self, request: &[u8]) -> Result<bool> {
        let reply = self.ask(request)?;
        Ok(reply.starts_with(b"{\"return\""))
    }

    /// Sends `batches` times the text of `each` requests with never more than two batches under way.
    pub fn pipeline(&mut self, batch: &[u8], each: usize, batches: usize) -> Result<()> {
        self.stream.write_all(batch)?;
        let mut received = 0;
        for sent in 1..=batches {
            if sent < batches {
                self.stream.write_all(batch)?;
            }
            while received < sent * each {
                let count = self.stream.read(&mut self.buffer)?;
                ensure!(count != 0, "the server is gone");
                received += memchr::memchr_iter(b'\n', self.buffer.get(..count).unwrap_or_default()).count();
            }
        }
        Ok(())
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..200).unwrap_or(text)).trim_end().to_owned()
}
