//! The agent's channel as raw bytes.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lines::{LineError, Lines};

/// Why a conversation with the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent answered with an error.
    #[error("{class}: {desc}")]
    Refused {
        /// QEMU's error class.
        class: String,
        /// The agent's words.
        desc: String,
    },
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The host's side of the channel was closed.
    #[error("the channel was closed")]
    Closed,
    /// An answer that is not as it should be.
    #[error("unexpected: {0}")]
    Unexpected(String),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl AgentError {
    /// Class and words of an answered error.
    #[must_use]
    pub fn refused(&self) -> Option<(&str, &str)> {
        match self {
            Self::Refused { class, desc } => Some((class, desc)),
            _ => None,
        }
    }
}

/// A line that the agent sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Whether a 0xFF byte preceded it.
    pub sentinel: bool,
    /// The message.
    pub json: Value,
}

/// What [`AgentConn::send_until_stuck`] got rid of.
#[derive(Debug)]
pub struct Flood {
    /// Messages that were sent in full.
    pub complete: usize,
    /// The end of one more message, still to be sent.
    pub rest: Vec<u8>,
    /// False if the channel never became full.
    pub stuck: bool,
}

/// One connection to the agent's channel. QEMU serves one at a time; a new one waits for the drop of
/// the last.
#[derive(Debug)]
pub struct AgentConn {
    lines: Lines,
    timeout: Duration,
}

impl AgentConn {
    /// Connects to QEMU's socket of the channel.
    ///
    /// # Errors
    ///
    /// If QEMU is gone.
    pub fn connect(path: &Path) -> Result<Self, AgentError> {
        let lines = Lines::connect(path)?;
        Ok(Self { lines, timeout: Duration::from_secs(20) })
    }

    /// How long each answer may take; 20 s at first.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// How long each answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// If the channel takes no more for 20 s.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        Ok(self.lines.send(bytes)?)
    }

    /// Sends bytes one by one, with a pause after each, so that each arrives alone.
    ///
    /// # Errors
    ///
    /// As [`AgentConn::send`].
    pub fn send_bytewise(&mut self, bytes: &[u8], pause: Duration) -> Result<(), AgentError> {
        for byte in bytes {
            self.lines.send(&[*byte])?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Sends a message over and over, reading nothing, until the channel takes no more for `patience`
    /// or `most` messages are sent.
    ///
    /// # Errors
    ///
    /// If the socket fails otherwise.
    pub fn send_until_stuck(&mut self, message: &[u8], most: usize, patience: Duration) -> Result<Flood, AgentError> {
        let stream = &mut self.lines.stream;
        stream.set_nonblocking(true)?;
        let mut flood = Flood { complete: 0, rest: Vec::new(), stuck: false };
        let mut rest = message;
        let mut since = Instant::now();
        while flood.complete < most {
            match stream.write(rest) {
                Ok(count) => {
                    since = Instant::now();
                    rest = rest.get(count..).unwrap_or_default();
                    if rest.is_empty() {
                        flood.complete += 1;
                        rest = message;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if since.elapsed() > patience {
                        flood.stuck = true;
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if rest.len() < message.len() {
            flood.rest = rest.to_vec();
        }
        stream.set_nonblocking(false)?;
        Ok(flood)
    }

    /// The next line of the agent.
    ///
    /// # Errors
    ///
    /// If none comes in time, or it is no JSON.
    pub fn line(&mut self) -> Result<Line, AgentError> {
        self.line_within(self.timeout)
    }

    fn line_within(&mut self, limit: Duration) -> Result<Line, AgentError> {
        let line = self.lines.line(Instant::now() + limit);
        let line = line.map_err(|error| match error {
            LineError::Timeout => AgentError::Timeout(limit),
            LineError::Closed => AgentError::Closed,
            LineError::Io(error) => AgentError::Io(error),
        })?;
        let (sentinel, text) = match line.as_slice() {
            [0xFF, text @ ..] => (true, text),
            text => (false, text),
        };
        let json = serde_json::from_slice(text)
            .map_err(|_| AgentError::Unexpected(String::from_utf8_lossy(&line).into_owned()))?;
        Ok(Line { sentinel, json })
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    ///
    /// [`AgentError::Refused`] if the agent answers with an error.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        self.send(&request(command, arguments))?;
        self.reply()
    }

    /// The next line as the answer to a request.
    ///
    /// # Errors
    ///
    /// As [`AgentConn::call`].
    pub fn reply(&mut self) -> Result<Value, AgentError> {
        let mut line = self.line()?;
        if let Some(value) = line.json.get_mut("return") {
            return Ok(value.take());
        }
        let member = |name| line.json.pointer(name).and_then(Value::as_str);
        match (member("/error/class"), member("/error/desc")) {
            (Some(class), Some(desc)) => Err(AgentError::Refused { class: class.to_owned(), desc: desc.to_owned() }),
            _ => Err(AgentError::Unexpected(line.json.to_string())),
        }
    }

    /// Brings both sides in step: 0xFF and `guest-sync-delimited` with a fresh id, then everything up
    /// to its answer is skipped. Sent once: an agent that loses it fails the call.
    ///
    /// # Errors
    ///
    /// If the answer does not come in time, or comes without the 0xFF byte before it.
    pub fn sync(&mut self) -> Result<(), AgentError> {
        let id = fresh_id();
        let mut bytes = vec![0xFF];
        bytes.extend(request("guest-sync-delimited", json!({"id": id})));
        self.send(&bytes)?;
        self.wait_for_sync(id)
    }

    /// Skips everything up to the answer of a `guest-sync-delimited` with this id.
    ///
    /// # Errors
    ///
    /// As [`AgentConn::sync`].
    pub fn wait_for_sync(&mut self, id: i64) -> Result<(), AgentError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.line_within(left) {
                Ok(line) if line.json == json!({"return": id}) => {
                    return match line.sentinel {
                        true => Ok(()),
                        false => Err(AgentError::Unexpected("no 0xFF before the answer".into())),
                    };
                }
                // Old answers, also cut-off ones.
                Ok(_) | Err(AgentError::Unexpected(_)) => {}
                Err(AgentError::Timeout(_)) => return Err(AgentError::Timeout(self.timeout)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks that nothing comes for a while. A closed channel is silent too.
    ///
    /// # Errors
    ///
    /// [`AgentError::Unexpected`] with what came.
    pub fn expect_silence(&mut self, length: Duration) -> Result<(), AgentError> {
        match self.line_within(length) {
            Ok(line) => Err(AgentError::Unexpected(line.json.to_string())),
            Err(AgentError::Timeout(_) | AgentError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The bytes of a request, with a newline.
#[must_use]
pub fn request(command: &str, arguments: Value) -> Vec<u8> {
    format!("{}\n", json!({"execute": command, "arguments": arguments})).into_bytes()
}

/// An id that no earlier conversation has used.
#[must_use]
pub fn fresh_id() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    (i64::from(std::process::id()) << 24) + LAST.fetch_add(1, Ordering::Relaxed)
}
