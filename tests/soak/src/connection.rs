//! A client that does not panic when the daemon closes its connection, which it may.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long any answer may take: nothing here is timed, but a run must end.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A socket's buffer takes as much, whoever reads.
const SENT_AT_ONCE: usize = 16 << 10;

/// A connection to a daemon.
pub struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to a socket.
    ///
    /// # Panics
    ///
    /// If nothing listens for a while.
    pub fn new(path: &Path) -> Self {
        let until = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    return Self { stream, received: Vec::new() };
                }
                Err(error) => assert!(Instant::now() < until, "{}: {error}", path.display()),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A second handle on it, for a thread that sends.
    pub fn second(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap(), received: Vec::new() }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends what is taken at once, and returns whether all of it was.
    pub fn send_some(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let sent = self.stream.write_all(bytes).is_ok();
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// The next line, without its end and the mark of a delimited sync.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.received[looked..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=looked + end).collect();
                line.pop();
                return Ok(line);
            }
            looked = self.received.len();
            let mut room = vec![0; 1 << 16];
            match self.stream.read(&mut room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&room[..count]),
            }
        }
    }

    /// The next reply.
    pub fn reply(&mut self) -> io::Result<Value> {
        let line = self.line()?;
        let text = line.strip_prefix(b"\xFF").unwrap_or(&line);
        Ok(serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text))))
    }

    /// Sends a request and returns its reply.
    pub fn ask(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        self.send(json!({"execute": command, "arguments": arguments}).to_string().as_bytes())?;
        self.reply()
    }

    /// Sends a sync, and reads up to its answer; returns how many answers came before it.
    pub fn sync(&mut self, id: u64) -> io::Result<usize> {
        self.send(format!("\u{a}{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{id}}}}}").as_bytes())?;
        self.sync_answer(id)
    }

    /// Sends bytes that may draw any number of answers, and a sync behind them; reads up to its answer. Who does not read while it sends
    /// waits for a daemon that waits for it.
    pub fn send_and_sync(&mut self, bytes: &[u8], id: u64) -> io::Result<usize> {
        let mut sender = self.second();
        let sync = format!("\u{a}{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{id}}}}}");
        let mut send = move || sender.send(bytes).and_then(|()| sender.send(sync.as_bytes()));
        if bytes.len() < SENT_AT_ONCE {
            send()?;
            return self.sync_answer(id);
        }
        thread::scope(|scope| {
            scope.spawn(send);
            self.sync_answer(id)
        })
    }

    /// Reads up to the answer of a sync that has been sent.
    pub fn sync_answer(&mut self, id: u64) -> io::Result<usize> {
        let mut before = 0;
        while self.reply()? != json!({"return": id}) {
            before += 1;
        }
        Ok(before)
    }
}
