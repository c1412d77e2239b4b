//! A client that sends bytes and reads lines.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::PATIENCE;

/// A connection to a daemon.
pub struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects to a socket, which may not be there yet.
    pub fn connect(path: &Path) -> Self {
        let until = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Self { stream, received: Vec::new() },
                Err(error) => assert!(Instant::now() < until, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A second handle on the connection, for a thread that sends.
    #[must_use]
    pub fn second(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), received: Vec::new() }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what is taken, and gives the rest up when nothing more is for a while.
    pub fn send_until_full(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let _ = self.stream.write_all(bytes.as_ref());
        self.stream.set_write_timeout(None).unwrap();
    }

    /// The next line within `limit`, without its end; `None`: there is none. An end of the stream is an empty line.
    pub fn line_within(&mut self, limit: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + limit;
        let mut seen = 0;
        loop {
            let fresh = self.received.get(seen..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', fresh).map(|place| seen + place) {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.pop();
                return Some(line);
            }
            seen = self.received.len();
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut room = vec![0; 1 << 16];
            match self.stream.read(&mut room) {
                Ok(0) => return Some(std::mem::take(&mut self.received)),
                Ok(count) => self.received.extend_from_slice(&room[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next reply.
    pub fn reply(&mut self) -> Value {
        self.reply_within(PATIENCE).expect("there is no reply")
    }

    /// The next reply within `limit`.
    pub fn reply_within(&mut self, limit: Duration) -> Option<Value> {
        let line = self.line_within(limit)?;
        let text = line.strip_prefix(b"\xFF").unwrap_or(&line);
        Some(serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text))))
    }

    /// Sends a request without waiting for its reply.
    pub fn request(&mut self, command: &str, arguments: Value) {
        self.send(json!({"execute": command, "arguments": arguments}).to_string());
    }

    /// Sends a request and returns its reply.
    pub fn ask(&mut self, command: &str, arguments: Value) -> Value {
        self.request(command, arguments);
        self.reply()
    }

    /// Sends a request and returns what it returns.
    pub fn call(&mut self, command: &str, arguments: Value) -> Value {
        let reply = self.ask(command, arguments);
        reply.get("return").unwrap_or_else(|| panic!("{command}: {reply}")).clone()
    }

    /// Sends a request and returns its error's text.
    pub fn error(&mut self, command: &str, arguments: Value) -> String {
        let reply = self.ask(command, arguments);
        reply["error"]["desc"].as_str().unwrap_or_else(|| panic!("{command}: {reply}")).to_owned()
    }

    /// Says that no more is sent.
    pub fn end(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
}
